"""Certificates of a model that tells cells apart by the light of their DNA alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cellcam_training.fitting.trainer import train_model
from cellcam_training.judging.certificate import certify
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from support.cell_tables import QUICK, dna_content_table, write_table

from cellcam.errors import UsageError
from cellcam.reporting.certificate_page import CertificateItem

CHANNELS = ("light", "DNA")


def other_cells(folder: Path) -> CellTable:
    """Cells like those of `dna_content_table`, of another draw."""
    random = np.random.default_rng(9)
    bright = np.arange(60) % 2
    crops = random.poisson(100, (60, 2, 12, 12))
    crops[:, 1, 3:9, 3:9] += random.poisson(40 * (1 + bright))[:, None, None]
    tifffile.imwrite(folder / "crops.tif", crops.astype(np.uint16), metadata={"axes": "QCYX"})
    classes = np.array(["G1", "G2"])[bright]
    plates = [f"plate {i // 12}" for i in range(60)]
    return read_cell_table(
        write_table(folder, file="crops.tif", index=range(60), cls=classes, group=plates)
    )


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_model(dna_content_table(folder), QUICK, folder / "model", "cpu")
    return folder / "model"


@pytest.fixture(scope="module")
def certified(
    model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[CertificateItem], dict[str, Any], str]:
    """List, JSON and page of a certificate with one statement of the user."""
    out = tmp_path_factory.mktemp("certificate")
    about = {"licence of the model": "CC BY 4.0 <or later>"}
    items = certify(model_folder, other_cells(out), out, about, CHANNELS, "cpu")
    content = json.loads((out / "certificate.json").read_text("utf-8"))
    return items, content, (out / "certificate.html").read_text("utf-8")


def test_what_was_measured_is_answered_and_what_only_people_know_is_missing(
    certified: tuple[list[CertificateItem], dict[str, Any], str],
) -> None:
    items, content, _ = certified
    filled = {item.name: item.is_filled for item in items}
    assert len(filled) == len(items)
    for name in (
        "method", "weights", "training cells", "split", "hyperparameters", "training time",
        "versions at training", "validation at training", "performance on new cells", "calibration",
        "robustness", "cells unlike the training", "explanations", "licence of the model",
    ):  # fmt: skip
        assert filled[name], name
    for name in (
        "model",
        "test data",
        "training data",
        "licence of the training data",
        "container",
    ):
        assert not filled[name], name
    (settings,) = (item.answers[0] for item in items if item.name == "hyperparameters")
    assert "epochs: 8" in settings
    assert "channels: light, DNA" in settings
    assert "note:" not in settings  # an empty text says nothing
    assert {item["name"]: item["filled"] for item in content["items"]} == filled


def test_a_missing_item_says_what_to_type(
    certified: tuple[list[CertificateItem], dict[str, Any], str],
) -> None:
    missing = {item.name: item.missing for item in certified[0]}
    assert '--about "licence of the test data=..."' in missing["licence of the test data"]


def test_the_stain_that_decides_is_the_one_whose_loss_costs_everything(
    certified: tuple[list[CertificateItem], dict[str, Any], str],
) -> None:
    """The classes differ in the light of the DNA only; without it, as well as by chance."""
    points = {point["name"]: point for point in certified[1]["robustness"]}
    usual = points["unchanged"]["balanced_accuracy"]
    assert usual > 0.8
    assert points["without DNA"]["balanced_accuracy"] == pytest.approx(0.5, abs=0.15)
    assert points["without light"]["balanced_accuracy"] > usual - 0.15
    assert points["unchanged"]["same_call"] == 1
    assert points["exposure x 4"]["flagged"] > 0.9


def test_the_page_holds_the_list_and_escapes_what_the_user_wrote(
    certified: tuple[list[CertificateItem], dict[str, Any], str],
) -> None:
    items, _, page = certified
    assert page.count("✗ missing") == sum(not item.is_filled for item in items)
    assert "CC BY 4.0 &lt;or later&gt;" in page
    assert page.count("<svg") == 1 + 4  # calibration, and one chart for each kind of change


def test_cells_of_the_training_do_not_count_as_new(model_folder: Path, tmp_path: Path) -> None:
    table = dna_content_table(tmp_path)
    items = certify(model_folder, table, tmp_path / "out", {}, CHANNELS, "cpu")
    (item,) = (item for item in items if item.name == "performance on new cells")
    assert "trained on 80 of these cells" in item.missing


def test_an_unknown_statement_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    table = replace(other_cells(tmp_path), source=Path("none.csv"))
    with pytest.raises(UsageError, match="--about weather: the names are model, test data"):
        certify(tmp_path / "no_model", table, tmp_path, {"weather": "fine"})
