"""Facts about an image that stop nothing are said where people look."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.models import knowing_other_cells, two_discs, untrained_model

from cellcam import Request, ThresholdFinder
from cellcam.models.spec import KnownCells, KnownImages
from cellcam.pipeline.explain_stack import explain_stack
from cellcam.pipeline.notes import image_notes, stretched_notes, unlike_image_notes, unlike_notes

IN_DNA = Request(finder=ThresholdFinder("DNA", diameter_um=6))


@pytest.mark.fault(
    "image of cells unlike those of the training", "a note on the image, and a flag on each cell"
)
def test_an_image_of_unlike_cells_has_a_note(tmp_path: Path) -> None:
    model = knowing_other_cells(untrained_model(note="Knows simulated cells only."))
    stack = replace(two_discs(), notes=("Plane 3 is missing.",))
    done = explain_stack(stack, model, tmp_path, IN_DNA)
    written = json.loads((tmp_path / "run.json").read_text())["notes"]
    assert written == list(done.notes)
    assert written[:2] == ["Knows simulated cells only.", "Plane 3 is missing."]
    assert written[2].startswith("2 of 2 cells look unlike those the model was trained on")
    assert (done.cells["unlike"] > 1).all()
    assert done.cells["flags"].str.contains(r"\bunlike\b").all()


def test_a_model_that_does_not_say_leaves_the_columns_empty(tmp_path: Path) -> None:
    done = explain_stack(two_discs(), untrained_model(), tmp_path, IN_DNA)
    assert done.cells["unlike"].isna().all()
    assert not done.cells["flags"].str.contains("unlike").any()
    assert done.notes == ()


def cells(unlike: list[float], differs: str = "DNA brightness", by: float = 16.0) -> pd.DataFrame:
    above = [value > 1 for value in unlike]
    return pd.DataFrame(
        {
            "unlike": unlike,
            "differs": [differs if so else "" for so in above],
            "differs_by": [by if so else np.nan for so in above],
        }
    )


def test_the_note_names_the_main_difference() -> None:
    (note,) = unlike_notes(cells([5.0] * 30 + [0.5] * 70))
    assert note.startswith("30 of 100 cells")
    assert "DNA is 16 times as bright as in training" in note


@pytest.mark.parametrize("unlike", [[], [0.5] * 10, [5.0] + [0.5] * 99, [np.nan] * 5])
def test_few_unlike_cells_are_no_note(unlike: list[float]) -> None:
    assert not unlike_notes(cells(unlike))


def test_one_cell_alone_can_be_unlike() -> None:
    assert unlike_notes(cells([5.0]))


def of_images(n: int = 19, fewest_cells: int = 5, missing: float = 0.0) -> KnownCells:
    """A model's knowledge of images with the values 0.01, 0.02, ..."""
    images = KnownImages(
        values=tuple(0.01 * (i + 1) for i in range(n)),
        fewest_cells=fewest_cells,
        false_alarms=0.05,
        missing_counts=(missing, 0.0),
    )
    return KnownCells(farthest=1, sparsest=1, false_alarms=0.01, sha256="", images=images)


def test_an_image_farther_off_than_the_training_images_has_a_note() -> None:
    # 0.5 is the median; the largest value of a training image is 0.19.
    (note,) = unlike_image_notes(cells([0.1, 0.1, 0.5, 0.6, 1.5]), of_images())
    assert "unlike those of the training images" in note
    assert "DNA is 16 times as bright as in training" in note
    assert "About 1 in 20 images of the training's kind gets this warning by mistake" in note
    (without,) = unlike_image_notes(cells([0.5] * 5), of_images())
    assert "no single cell is striking" in without


def test_an_image_is_judged_by_its_middle_cell_and_by_cells_with_a_call_alone() -> None:
    assert not unlike_image_notes(cells([0.1, 0.1, 0.1, 9.0, 9.0]), of_images())
    assert not unlike_image_notes(cells([0.5] * 4 + [np.nan] * 9), of_images())  # of 5 cells
    assert unlike_image_notes(cells([0.5] * 5 + [np.nan] * 9), of_images())


@pytest.mark.parametrize("known", [None, of_images().model_copy(update={"images": None})])
def test_a_model_without_training_images_says_nothing(known: KnownCells | None) -> None:
    assert not unlike_image_notes(cells([0.9] * 50), known)


def test_an_image_of_unlike_cells_has_one_note() -> None:
    spec = untrained_model(known_cells=of_images()).spec
    (note,) = image_notes([], cells([5.0] * 30), spec)
    assert note.startswith("30 of 30 cells")


def evenly(step: int) -> np.ndarray:
    """Crops (4, 2, 200, 25): in DNA, each ``step``-th count is equally frequent; actin has all."""
    channels = [np.repeat(each * np.arange(200), 100).reshape(4, 200, 25) for each in (step, 1)]
    return np.stack(channels, 1).astype(np.float32)


@pytest.mark.fault(
    "image of which the contrast was stretched before it was saved",
    "a note names the channel, unless the training images were stretched, too",
)
def test_a_stretched_image_has_a_note() -> None:
    spec = untrained_model(known_cells=of_images()).spec
    (note,) = stretched_notes(evenly(2), spec)
    assert note.startswith("50 % of the counts of DNA occur in no pixel")
    assert not list(stretched_notes(evenly(1), spec))
    stretched_too = untrained_model(known_cells=of_images(missing=0.5)).spec
    assert not list(stretched_notes(evenly(2), stretched_too))
    assert not list(stretched_notes(evenly(2), untrained_model().spec))
    assert not list(stretched_notes(evenly(2)[:0], spec))
