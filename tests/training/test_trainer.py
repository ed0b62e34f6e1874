from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import yaml
from cellcam_training.fitting import training_loop as fitting
from cellcam_training.fitting.augmentation import augmented
from cellcam_training.fitting.cross_validation import cross_validate
from cellcam_training.fitting.data_loader import Cells, batch_loader
from cellcam_training.fitting.data_split import fold_numbers
from cellcam_training.fitting.initial_model import measured_normalisation
from cellcam_training.fitting.recipe import Augmentation, Recipe, read_recipe, schedule_of
from cellcam_training.fitting.trainer import fit_model, train_model
from cellcam_training.simulated.fields import CLASSES, EVIDENCE_CHANNEL, simulate_field
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from cellcam_training.tables.crops import read_crops
from sklearn.metrics import log_loss

from cellcam import load_model
from cellcam.errors import InputError, UsageError
from cellcam.models.model import CellModel


@pytest.fixture
def table(tmp_path: Path) -> CellTable:
    """Cells that differ in nothing but the total intensity of one channel."""
    random = np.random.default_rng(0)
    bright = np.arange(80) % 2
    crops = random.poisson(100, (80, 2, 12, 12))
    crops[:, 1, 3:9, 3:9] += random.poisson(40 * (1 + bright))[:, None, None]
    tifffile.imwrite(tmp_path / "crops.tif", crops.astype(np.uint16), metadata={"axes": "QCYX"})
    cells = {"file": "crops.tif", "index": range(80), "cls": np.array(["G1", "G2"])[bright]}
    pd.DataFrame(cells).to_csv(tmp_path / "cells.csv", index=False)
    return read_cell_table(tmp_path / "cells.csv")


STILL = Augmentation(flips=False, rotation_degrees=0, scaling=0, shift=0, brightness=0, noise=0)
QUICK = Recipe(epochs=8, batch_size=16, channels=("light", "DNA"), seed=3)


def test_total_intensity_is_learnt(table: CellTable, tmp_path: Path) -> None:
    seen = []
    model = train_model(table, QUICK, tmp_path / "m", "cpu", lambda *now: seen.append(now))
    assert model.spec.training["validation"]["balanced_accuracy"] > 0.85
    assert seen[-1][0] <= 2 * 8  # two networks, one after the other
    again = load_model(tmp_path / "m", "cpu")
    assert again.spec == model.spec
    assert again.spec.channels == ("light", "DNA")
    assert again.spec.crop_size == (12, 12)


def test_the_same_seed_gives_the_same_weights(table: CellTable, tmp_path: Path) -> None:
    recipe = QUICK.model_copy(update={"epochs": 2})
    one = train_model(table, recipe, tmp_path / "a", "cpu")
    other = train_model(table, recipe, tmp_path / "b", "cpu")
    assert one.spec.weights_sha256 == other.spec.weights_sha256


@pytest.mark.parametrize("batches", [18, 38])  # in the middle of an epoch of either network
def test_a_killed_training_goes_on_to_the_same_weights(
    table: CellTable, tmp_path: Path, batches: int
) -> None:
    whole = train_model(table, QUICK, tmp_path / "whole", "cpu")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "cells.csv", tmp_path / "killed", str(batches)],
        cwd=Path(__file__).parent,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "killed.training" / "final" / "judged" / "checkpoint.pt").is_file()
    seen = []
    rest = train_model(table, QUICK, tmp_path / "killed", "cpu", lambda *now: seen.append(now[0]))
    assert len(seen) < whole.spec.training["epochs"] + QUICK.epochs - 3
    assert rest.spec.weights_sha256 == whole.spec.weights_sha256
    assert rest.spec.temperature == whole.spec.temperature
    assert not (tmp_path / "killed.training").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from test_trainer import QUICK
import cellcam_training.fitting.training_loop as fitting
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.fitting.trainer import fit_model, train_model

batches, augmented = [], fitting.augmented

def until_killed(*arguments):
    batches.append(1)
    if len(batches) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return augmented(*arguments)

fitting.augmented = until_killed
train_model(read_cell_table(Path(sys.argv[1])), QUICK, Path(sys.argv[2]), "cpu")
"""


def test_the_kept_network_has_seen_all_cells_and_the_judged_one_has_not(
    table: CellTable, tmp_path: Path
) -> None:
    crops = read_crops(table, QUICK)
    fitted = fit_model(table, crops, QUICK, tmp_path / "s", "cpu")
    assert fitted.on_all_cells
    assert fitted.model.spec == fitted.judged.spec
    one, other = (m.network.state_dict() for m in (fitted.model, fitted.judged))
    assert not all(torch.equal(one[name], other[name]) for name in one)
    split = replace(table, rows=table.rows.assign(split=np.where(fitted.held, "val", "train")))
    for its, recipe in [(split, QUICK), (table, QUICK.model_copy(update={"all_cells": False}))]:
        alone = fit_model(its, crops, recipe, tmp_path / "s2", "cpu")
        assert alone.model is alone.judged
        weights = alone.model.network.state_dict()
        assert all(torch.equal(weights[name], other[name]) for name in weights)


@pytest.mark.parametrize("patience", [None, 3])
def test_the_last_weights_are_kept_or_with_patience_the_best(
    table: CellTable, tmp_path: Path, patience: int | None
) -> None:
    by_chance = table.rows.assign(cls=np.random.default_rng(0).permutation(table.rows["cls"]))
    table = replace(table, rows=by_chance)
    recipe = QUICK.model_copy(
        update={"epochs": 12, "patience": patience, "all_cells": False, "augmentation": STILL}
    )
    crops = read_crops(table, recipe)
    fitted = fit_model(table, crops, recipe, tmp_path / "s", "cpu")
    losses = [row["validation_loss"] for row in fitted.history]
    best = int(np.argmin(losses))
    probabilities = fitted.model.probabilities(crops.pixels[fitted.held])
    loss = log_loss(table.truth()[fitted.held], probabilities)
    assert best < 8  # nothing can be learnt
    assert len(losses) == (12 if patience is None else best + 1 + patience)
    assert loss == pytest.approx(losses[-1] if patience is None else losses[best], abs=1e-5)
    assert abs(losses[-1] - losses[best]) > 1e-4


def test_both_networks_are_trained_alike(
    table: CellTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 64 cells train the network that is judged, 80 the one that is kept.
    monkeypatch.setattr("cellcam_training.fitting.recipe._FOR_SMOOTHING", 70)
    monkeypatch.setattr("cellcam_training.fitting.recipe._FOR_LARGE_BATCHES", 70)
    used = []
    fit = fitting.fit

    def recorded(model: CellModel, recipe: Recipe, cells: Cells, *rest: Any) -> Any:
        used.append(schedule_of(recipe, int((~cells.validation).sum())))
        return fit(model, recipe, cells, *rest)

    monkeypatch.setattr("cellcam_training.fitting.trainer.fit", recorded)
    fit_model(table, read_crops(table, Recipe()), Recipe(epochs=1), tmp_path / "s", "cpu")
    assert used[0] == used[1] == (1, None, 32, 0.0)


def test_what_other_cells_left_is_not_gone_on_with(table: CellTable, tmp_path: Path) -> None:
    left = tmp_path / "m.training" / "final"
    left.mkdir(parents=True)
    (left / "fingerprint.txt").write_text("of other cells")
    (left / "checkpoint.pt").write_bytes(b"of another network")
    train_model(table, QUICK.model_copy(update={"epochs": 1}), tmp_path / "m", "cpu")
    assert not left.parent.exists()


def test_two_processes_train_one_model_as_well_as_one(table: CellTable, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("{epochs: 8, batch_size: 16, seed: 3}")
    alone = train_model(table, read_recipe(tmp_path / "recipe.yaml"), tmp_path / "alone", "cpu")
    started = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "cellcam", "train", tmp_path / "cells.csv", "--out", tmp_path / "both",
         "--recipe", tmp_path / "recipe.yaml", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    reported = json.loads(started.stdout)  # one process speaks
    both = load_model(tmp_path / "both", "cpu")
    assert reported["validation"] == both.spec.training["validation"]
    assert both.spec.training["epochs"] <= 8
    accuracies = [m.spec.training["validation"]["balanced_accuracy"] for m in (alone, both)]
    assert accuracies[1] > max(0.85, accuracies[0] - 0.1)
    assert not (tmp_path / "both.training").exists()


def test_processes_share_every_batch_and_draw_alike() -> None:
    cells = Cells(np.arange(77), np.zeros(77, int), np.arange(77) >= 75)
    parts, states = [], []
    for number in range(2):
        random = torch.Generator().manual_seed(1)
        loader = batch_loader(cells, 16, random)
        loader.sampler.processes, loader.sampler.own = 2, number
        parts.append([batch[0].tolist() for batch in loader])
        states.append(random.get_state())
    assert torch.equal(*states)
    assert [len(part) for part in parts[0]] == [len(part) for part in parts[1]] == [8, 8, 7, 7, 7]
    seen = [cell for part in parts for batch in part for cell in batch]
    assert len(set(seen)) == len(seen) == 74  # of 75, which do not go into two equal parts


@pytest.mark.parametrize("counts", [[16], [17], [33, 0, 42], [5, 60, 1], [30, 30, 30], [1, 1]])
def test_classes_come_equally_often_and_no_batch_is_much_smaller(counts: list[int]) -> None:
    truth = np.repeat(np.arange(len(counts)), counts)
    cells = Cells(np.arange(len(truth)), truth, np.zeros(len(truth), bool))
    loader = batch_loader(cells, 16, torch.Generator().manual_seed(1))
    epochs = [[batch[0].tolist() for batch in loader] for _ in range(2)]
    assert epochs[0] != epochs[1] or len(truth) == 2
    for batches in epochs:
        sizes = [len(batch) for batch in batches]
        assert len(sizes) == len(loader)
        assert max(sizes) <= 16
        assert max(sizes) - min(sizes) <= 1
        drawn = np.bincount(np.concatenate(batches).astype(int), minlength=len(truth))
        present = [k for k, count in enumerate(counts) if count]
        assert len({int(drawn[truth == k].sum()) for k in present}) == 1
        for k in present:
            assert np.ptp(drawn[truth == k]) <= 1


def test_the_split_and_the_figures_of_all_epochs_are_in_the_model_folder(
    table: CellTable, tmp_path: Path
) -> None:
    model = train_model(table, QUICK.model_copy(update={"epochs": 3}), tmp_path / "m", "cpu")
    split = pd.read_csv(tmp_path / "m" / "docs" / "split.csv")
    assert (split["split"] == "val").sum() == model.spec.training["validation"]["n"]
    figures = pd.read_csv(tmp_path / "m" / "docs" / "metrics.csv")
    assert figures["epoch"].tolist() == [1, 2, 3]
    assert figures["validation_loss"].notna().all()


def test_cross_validation_keeps_groups_together(table: CellTable, tmp_path: Path) -> None:
    grouped = replace(table, rows=table.rows.assign(group=np.arange(80) // 4))
    fold = fold_numbers(grouped.rows, 4, 0)
    assert all(len(set(fold[grouped.rows["group"] == g])) == 1 for g in range(20))
    crops = read_crops(table, QUICK)
    judged = cross_validate(grouped, crops, QUICK, 4, tmp_path / "s", "cpu")
    summary = judged.summary(table.classes)
    assert summary["pooled"]["n"] == 80
    assert len(summary["folds"]["accuracy"]) == 4
    assert summary["mean"]["accuracy"] == pytest.approx(np.mean(summary["folds"]["accuracy"]))
    assert summary["mean"]["balanced_accuracy"] > 0.8


def test_more_folds_than_groups_are_refused(table: CellTable) -> None:
    grouped = table.rows.assign(group=np.arange(80) // 40)
    with pytest.raises(InputError, match="as many groups"):
        fold_numbers(grouped, 3, 0)


def test_crops_too_small_for_the_network_are_refused(table: CellTable, tmp_path: Path) -> None:
    recipe = QUICK.model_copy(update={"network": "densenet121"})
    with pytest.raises(UsageError, match="too small"):
        train_model(table, recipe, tmp_path / "m", "cpu")
    assert not (tmp_path / "m").exists()


def test_normalisation_is_that_of_the_whole_data_set() -> None:
    crops = np.random.default_rng(0).integers(0, 4000, (7, 3, 9, 9)).astype(np.uint16)
    found = measured_normalisation(crops)
    np.testing.assert_allclose(found.offset, crops.mean((0, 2, 3)))
    np.testing.assert_allclose(found.scale, crops.std((0, 2, 3)))


class TestAugmentation:
    batch = torch.rand(64, 2, 12, 12)

    def changed(self, seed: int = 0, **choice: object) -> torch.Tensor:
        nothing = {"flips": False, "rotation_degrees": 0, "scaling": 0, "shift": 0,
                   "brightness": 0, "background": 0, "blur": 0, "noise": 0}  # fmt: skip
        random = torch.Generator().manual_seed(seed)
        return augmented(self.batch, Augmentation(**{**nothing, **choice}), random)

    def test_nothing_chosen_changes_nothing(self) -> None:
        assert torch.equal(self.changed(), self.batch)

    def test_flips_move_pixels_but_keep_their_values(self) -> None:
        flipped = self.changed(flips=True)
        assert not torch.equal(flipped, self.batch)
        for one, before in zip(flipped.flatten(2), self.batch.flatten(2), strict=True):
            assert torch.equal(one.sort().values, before.sort().values)

    def test_all_eight_turns_and_mirrors_occur(self) -> None:
        image = torch.arange(4.0).view(1, 1, 2, 2)
        self.batch = image.repeat(400, 1, 1, 1)
        assert len({tuple(one.flatten().tolist()) for one in self.changed(flips=True)}) == 8

    def test_turning_by_zero_and_shifting_by_nothing_is_exact(self) -> None:
        turned = self.changed(scaling=0.0, rotation_degrees=1e-6)
        torch.testing.assert_close(turned, self.batch, atol=1e-4, rtol=1e-4)

    def test_brightness_is_one_factor_for_each_channel(self) -> None:
        factor = self.changed(brightness=0.1) / self.batch
        assert factor.amax((2, 3)).allclose(factor.amin((2, 3)), rtol=1e-4)
        assert factor.min() >= 0.9
        assert factor.max() <= 1.1

    def test_background_is_one_shift_for_each_channel(self) -> None:
        shift = self.changed(background=0.5) - self.batch
        assert shift.amax((2, 3)).allclose(shift.amin((2, 3)), atol=1e-6)
        assert 0.3 < shift.abs().max() <= 0.5

    def test_half_of_the_images_are_blurred(self) -> None:
        blurred = self.changed(blur=2.0)
        same = (blurred == self.batch).flatten(1).all(1)
        assert same.sum() == 32
        sharpness = torch.stack([one.std() for one in blurred[~same]])
        assert (sharpness < 0.9 * self.batch.std()).all()
        torch.testing.assert_close(blurred.mean((2, 3)), self.batch.mean((2, 3)), atol=0.1, rtol=0)

    def test_a_missing_stain_is_blank_or_blurred_and_never_all_are_missing(self) -> None:
        changed = self.changed(missing_stain=0.5)
        same = (changed == self.batch).flatten(2).all(2)
        assert 0.6 < same.float().mean() < 0.9  # a quarter misses one of two
        assert same.any(1).all()
        spread = changed.flatten(2).std(2)[~same]
        assert (spread < 0.2).all()  # of noise from 0 to 1, whose spread is 0.29
        assert (spread == 0).any()
        assert (spread > 0).any()

    def test_volumes_are_flipped(self) -> None:
        self.batch = torch.rand(8, 1, 4, 6, 6)
        assert self.changed(flips=True, rotation_degrees=45).shape == self.batch.shape


class TestSimulation:
    field = simulate_field(5)

    def test_the_same_seed_gives_the_same_field(self) -> None:
        np.testing.assert_array_equal(self.field.pixels, simulate_field(5).pixels)

    def test_evidence_is_brighter_than_the_cell_around_it_in_its_channel(self) -> None:
        projected = self.field.pixels.max(1).astype(float)
        for number, name in enumerate(self.field.classes, start=1):
            planted = self.field.evidence == number
            if name == "interphase":
                assert not planted.any()
                continue
            channel = ("DNA", "tubulin", "marker").index(EVIDENCE_CHANNEL[name])
            background = np.median(projected[channel])
            if planted.sum() > 20:
                assert projected[channel][planted].mean() > 1.3 * background

    def test_every_class_occurs(self) -> None:
        assert set(self.field.classes) == set(CLASSES)


class TestRecipes:
    def test_the_default_file_is_the_default(self) -> None:
        folder = Path(__file__).parents[2] / "training" / "recipes"
        assert read_recipe(folder / "default.yaml") == Recipe()
        listed = yaml.safe_load((folder / "default.yaml").read_text("utf-8"))
        named = {"crop_size", "channels", "pixel_size_um", "finding"}  # of a table, not of a taste
        assert set(listed) | named == set(Recipe.model_fields)

    @pytest.mark.parametrize(
        "text", ["epochs: -1", "speed: fast", "augmentation: {smear: 1}", "[", "epochs: many"]
    )
    def test_what_makes_no_sense_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "r.yaml").write_text(text)
        with pytest.raises(UsageError, match="r.yaml"):
            read_recipe(tmp_path / "r.yaml")
