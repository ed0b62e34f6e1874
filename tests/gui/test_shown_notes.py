"""What the window says about an image whose cells the model cannot know."""

from __future__ import annotations

from pathlib import Path

import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from support.models import knowing_other_cells, untrained_model
from support.window import Until, classified

from cellcam.models.bundle import save_model
from cellcam.models.spec import Finding

pytestmark = pytest.mark.gui


def test_notes_stand_under_the_results_and_in_the_card(
    widget: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    classified(widget, until)
    assert not widget.notes.text()
    described = {"classes": ("G1", "M"), "finding": Finding(channel="DNA", diameter_um=6.0)}
    model = knowing_other_cells(untrained_model(note="Knows simulated cells only.", **described))
    save_model(model, tmp_path / "other")
    widget.choices.choose_model(str(tmp_path / "other"))
    session = classified(widget, until)
    assert widget.notes.isVisibleTo(widget)
    shown = widget.notes.text()
    assert "Knows simulated cells only." in shown
    assert "2 of 2 cells look unlike" in shown
    widget.go_to_cell(0)
    until(lambda: widget.card.shown is not None and not widget.busy)
    assert "unlike the training cells (" in widget.card.shown.flags
    # Results that are put away take their notes with them.
    widget.viewer.layers.remove("DNA")
    until(lambda: widget.session is not session)
    assert not widget.notes.text()
