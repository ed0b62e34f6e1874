"""Why this and not that on the canvas: maps of all cells, computed when they are asked for."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari_cellcam.explain_dock import difference_tasks
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.state.cell_card import completed_card, explained_card
from napari_cellcam.state.differences import (
    DIFFERENCE,
    calls_and_runners_up,
    difference_maps,
    difference_names,
    stain_difference,
)
from napari_cellcam.state.session import Session
from support.brute_force import complete_difference
from support.window import Until, classified, explain
from torch.nn.functional import interpolate

from cellcam.cells.cropping import crop_windows
from cellcam.explain.baselines import baseline_images
from cellcam.reporting.colours import difference_picture

pytestmark = pytest.mark.gui


def silent(*_: object) -> None:
    """Progress that nobody sees."""


@pytest.fixture
def explained(widget: ExplainWidget, until: Until) -> ExplainWidget:
    """The widget with the evidence for each cell's call."""
    classified(widget, until)
    explain(widget, until)
    return widget


def choose(widget: ExplainWidget, until: Until, name: str) -> None:
    """Choose what is drawn, and wait for it."""
    widget.evidence.choice.setCurrentText(name)
    until(lambda: not widget.busy and widget.results.evidence.shown == name)


def inside(session: Session, row: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Pixels of a cell in the field, and the same pixels in its crop (no scale between them)."""
    field, index = session.locate(row)
    found = session.found[field]
    start = crop_windows(found.cells_at_scale, found.spec.crop_size)[index]
    pixels = np.nonzero(session.cells_image == row + 1)
    within = tuple(axis - first for axis, first in zip(pixels, start, strict=True))
    reached = np.all([(w >= 0) & (w < 16) for w in within], axis=0)
    return tuple(p[reached] for p in pixels), tuple(w[reached] for w in within)


def test_the_canvas_shows_the_map_of_the_card_inside_each_cell(
    explained: ExplainWidget, until: Until
) -> None:
    session = explained.session
    for name in difference_names(session.spec.channels):
        choose(explained, until, name)
    maps = explained.results.evidence.maps
    for row in range(len(session.table)):
        card = completed_card(session, explained_card(session, row, None, silent), silent)
        pixels, crop = inside(session, row)
        assert len(pixels[0]) > 50
        scale = np.abs(card.difference.map).max()
        np.testing.assert_allclose(
            maps[DIFFERENCE][pixels], card.difference.map[crop], atol=1e-3 * scale
        )
        for stain, image in card.difference.stain_maps.items():
            np.testing.assert_allclose(
                maps[stain_difference(stain)][pixels], image[crop], atol=1e-3 * scale
            )


def test_the_canvas_shows_the_brute_force_map_within_the_error_of_a_card(
    explained: ExplainWidget, until: Until
) -> None:
    session = explained.session
    model, called = session.model, session.probabilities()
    found = difference_maps(session, None, False, silent)
    assert found.errors.shape == (2,)
    assert (found.errors <= 0.1).all()
    for row in range(2):
        first, second = np.argsort(-called[row])[:2]
        x = model.normalised(session.crop(row)[None]).double()
        start = baseline_images("background", x, model.black().double()).expand_as(x)
        pair = int(first), int(second)
        truth = complete_difference(model.network, "features.1", start, x, pair, 300)
        whole = interpolate(truth[None, None], (16, 16), mode="bilinear", align_corners=False)
        whole = whole[0, 0].numpy()
        pixels, crop = inside(session, row)
        error = np.linalg.norm(found.maps[DIFFERENCE][pixels] - whole[crop])
        assert error <= 0.1 * np.linalg.norm(whole)
        assert np.linalg.norm(whole[crop]) > 0.3 * np.linalg.norm(whole)  # something is compared


def test_the_runner_up_is_the_second_most_probable() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]], np.float32)
    assert calls_and_runners_up(probabilities).tolist() == [[1, 2], [0, 1], [2, 0]]


def test_a_difference_is_computed_only_when_it_is_chosen(
    explained: ExplainWidget, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def counted(session: Session, rows: object, by_stain: bool, progress: object) -> object:
        assert threading.current_thread() is not threading.main_thread()
        asked.append(by_stain)
        return difference_maps(session, rows, by_stain, progress)

    monkeypatch.setattr(difference_tasks, "difference_maps", counted)
    evidence = explained.results.evidence
    assert evidence.names[-3:] == [DIFFERENCE, "why, DNA alone", "why, actin alone"]
    assert DIFFERENCE not in evidence.maps
    choose(explained, until, DIFFERENCE)
    choose(explained, until, "why, actin alone")
    choose(explained, until, "why, DNA alone")  # came with the other stain
    choose(explained, until, evidence.names[0])
    choose(explained, until, DIFFERENCE)
    assert asked == [False, True]
    assert "Estimated error" in explained.status.text()


def test_for_is_orange_and_against_blue_on_a_scale_with_two_ends(
    explained: ExplainWidget, until: Until
) -> None:
    panel, evidence = explained.evidence, explained.results.evidence
    assert (panel.bar.isHidden(), panel.difference_bar.isHidden()) == (False, True)
    choose(explained, until, DIFFERENCE)
    session = explained.session
    cards = [explained_card(session, row, None, silent).difference.map for row in range(2)]
    end = float(np.median([np.abs(image).max() for image in cards]))
    assert tuple(evidence.layer.contrast_limits) == pytest.approx((-end, end), rel=1e-3)
    assert panel.difference_bar.largest == pytest.approx(end, rel=1e-3)
    assert (panel.bar.isHidden(), panel.difference_bar.isHidden()) == (True, False)
    assert evidence.layer.gamma == 1
    assert evidence.layer.metadata["cellcam"]["unit"] == "score difference"
    # The same colours as on the card, drawn over the same grey.
    strength = np.linspace(-1, 1, 41, dtype=np.float32)
    rgba = evidence.layer.colormap.map((strength + 1) / 2)
    grey = np.full((1, 41, 1), 0.2, np.float32)
    drawn = grey[0] * (1 - rgba[:, 3:]) + rgba[:, :3] * rgba[:, 3:]
    np.testing.assert_allclose(drawn, difference_picture(grey, strength[None])[0], atol=0.02)
    choose(explained, until, evidence.names[0])
    assert evidence.layer.contrast_limits[0] == 0
    assert evidence.layer.colormap.name == "importance"
    assert (panel.bar.isHidden(), panel.difference_bar.isHidden()) == (False, True)


def test_while_a_difference_is_computed_no_other_map_is_shown_in_its_name(
    explained: ExplainWidget, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def paused(*arguments: object) -> object:
        go_on.wait(30)
        return difference_maps(*arguments)

    monkeypatch.setattr(difference_tasks, "difference_maps", paused)
    panel, evidence = explained.evidence, explained.results.evidence
    before = evidence.shown
    panel.choice.setCurrentText(DIFFERENCE)
    assert not evidence.layer.visible
    panel.toggle()
    panel.toggle()
    assert not evidence.layer.visible
    explained.cancel_button.click()
    until(lambda: panel.choice.currentText() == before)
    assert evidence.layer.visible
    assert not evidence.is_signed
    panel.choice.setCurrentText(DIFFERENCE)
    go_on.set()
    until(lambda: evidence.is_signed and not explained.busy)
    assert evidence.layer.visible
    assert panel.choice.currentText() == DIFFERENCE
