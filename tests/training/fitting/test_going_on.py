"""Trainings that go on from a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cellcam_training.fitting.initial_model import continue_from, initial_model
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.trainer import read_all_crops, train_model
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from cellcam_training.tables.crops import read_crops
from support.cell_tables import QUICK, write_images, write_table
from support.models import untrained_model

from cellcam.errors import UsageError
from cellcam.models.bundle import save_model
from cellcam.models.registry import build_network


def test_before_its_first_step_a_training_that_goes_on_is_the_model_it_goes_on_from(
    table: CellTable, tmp_path: Path
) -> None:
    start = train_model(table, QUICK, tmp_path / "start", "cpu")
    crops = read_crops(table, QUICK.crop_settings())
    recipe = QUICK.model_copy(
        update={"start_from": tmp_path / "start", "network": start.spec.network}
    )
    measured = np.zeros(len(crops.pixels), bool)  # nothing is measured: its normalisation is kept
    model = initial_model(table.classes, recipe, crops, measured, "cpu")
    torch.testing.assert_close(model.logits(crops.pixels), start.logits(crops.pixels))


def test_classes_are_matched_by_name_and_new_ones_begin_at_random() -> None:
    start = untrained_model(classes=("G1", "S", "M"))
    classes = ("new", "M", "G1")
    spec = start.spec.model_copy(update={"classes": classes})
    network = build_network(spec.network, 2, 2, 3).eval()
    before = network(torch.ones(2, 2, 16, 16))
    continue_from(start, spec, network)
    x = torch.rand(2, 2, 16, 16)
    old, now = start.network(x), network(x)
    torch.testing.assert_close(now[:, 1], old[:, 2])
    torch.testing.assert_close(now[:, 2], old[:, 0])
    assert not torch.allclose(now[:, 0], old[:, 1])
    assert before.shape == now.shape


def test_hidden_layers_as_wide_as_the_classes_are_many_are_copied_whole() -> None:
    """The output is told from the hidden layers by what grows with the classes."""
    classes = tuple(f"c{i}" for i in range(16))  # small_cnn has layers of 16 features
    start = untrained_model(classes=classes)
    turned = classes[::-1]
    spec = start.spec.model_copy(update={"classes": turned})
    network = build_network(spec.network, 2, 2, 16).eval()
    continue_from(start, spec, network)
    x = torch.rand(3, 2, 16, 16)
    torch.testing.assert_close(network(x), start.network(x).flip(1))


def test_a_model_that_sees_something_else_is_refused_with_the_difference(
    table: CellTable, tmp_path: Path
) -> None:
    save_model(untrained_model(), tmp_path / "other")
    recipe = QUICK.model_copy(update={"start_from": tmp_path / "other"})
    with pytest.raises(UsageError, match=r"channels \('DNA', 'actin'\), these cells have"):
        train_model(table, recipe, tmp_path / "m", "cpu")


def test_going_on_remembers_what_the_cells_at_hand_do_not_show(
    table: CellTable, tmp_path: Path
) -> None:
    """On few cells a training that goes on is better than one from nothing."""
    start = train_model(table, QUICK, tmp_path / "start", "cpu")
    rows = table.rows.groupby("cls").head(3)["row"].to_numpy(int)
    few = pd.read_csv(tmp_path / "cells.csv").iloc[sorted(rows)]
    few.to_csv(tmp_path / "few.csv", index=False)
    small = read_cell_table(tmp_path / "few.csv", "cls")
    crops = read_crops(table, QUICK.crop_settings())
    truth = table.truth()

    def accuracy(**changes: object) -> float:
        recipe = Recipe.model_validate(QUICK.model_dump() | changes)
        model = train_model(small, recipe, tmp_path / f"m{len(changes)}", "cpu")
        order = [model.spec.classes.index(name) for name in table.classes]
        return float((model.probabilities(crops.pixels)[:, order].argmax(1) == truth).mean())

    assert accuracy(start_from=tmp_path / "start", network=start.spec.network) > accuracy() + 0.05


def test_fields_are_seen_as_the_model_sees_them_that_a_training_goes_on_from(
    tmp_path: Path,
) -> None:
    write_images(tmp_path)
    save_model(untrained_model(crop_size=(24, 24), pixel_size_um=(1.0, 1.0)), tmp_path / "start")
    path = write_table(
        tmp_path, image="field.ome.tif", x=[20, 40], y=[11, 31], z=[0, 1], cls=["a", "b"]
    )
    recipe = Recipe(start_from=tmp_path / "start")
    crops = read_all_crops(read_cell_table(path, to_train=False), recipe, tmp_path / "scratch")
    assert (crops.crop_size, crops.pixel_size_um) == ((24, 24), (1.0, 1.0))
    assert crops.why_size == "as start, which it goes on from, sees cells"
