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
from cellcam.pipeline.explain_stack import explain_stack
from cellcam.pipeline.notes import unlike_notes

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
