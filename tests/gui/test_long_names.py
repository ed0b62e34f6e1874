"""Names of people's files, stains and classes are long; the dock stays as narrow as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.widgets.labels import WrappedLabel
from qtpy.QtWidgets import QLabel
from support.models import untrained_model
from support.window import Until, classified, explain

from cellcam.models.bundle import save_model
from cellcam.models.spec import Finding

pytestmark = pytest.mark.gui

LONG = "AS_09125_050116030001_D03f00d0_maximum_projection"


def test_long_names_do_not_widen_the_dock(
    widget: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    names = [f"{LONG}_{channel}" for channel in ("DNA", "actin")]
    for layer, name in zip(list(widget.viewer.layers), names, strict=True):
        layer.name = name
    classes = (f"{LONG}_G1", f"{LONG}_M")
    finding = Finding(channel=names[0], diameter_um=6.0)
    model = untrained_model(channels=tuple(names), classes=classes, finding=finding)
    save_model(model, tmp_path / LONG)
    widget.choices.choose_model(str(tmp_path / LONG))
    classified(widget, until)
    explain(widget, until)
    widget.go_to_cell(0)
    until(lambda: not widget.busy)
    assert LONG in widget.about.text()
    widget.choices_toggle.setChecked(True)
    until(lambda: not widget.choices.isHidden())
    assert widget.widget().minimumSizeHint().width() <= widget.minimumWidth()


def test_text_of_a_label_is_what_was_given_and_markup_stays_whole() -> None:
    text = f"<b style='font-size: large'>{LONG}</b> &amp; {LONG}"
    label = WrappedLabel(text)
    assert label.text() == text
    shown = QLabel.text(label)
    assert "<b style='font-size: large'>" in shown
    assert max(map(len, re.split(r"[\s\u200b]|<[^>]*>", shown))) <= 12
