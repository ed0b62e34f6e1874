"""Why this class and not that: the difference map, its sentence, and the card as a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from napari_cellcam.explain_dock.card import CellCardView, ClassMaps, StainMaps, Why, why_text
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.state.cell_card import (
    CellCard,
    Difference,
    compared_card,
    completed_card,
    difference_map,
    explained_card,
    stain_difference_maps,
)
from PIL import Image
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication, QComboBox, QToolButton, QWidget
from support.brute_force import complete_difference
from support.models import untrained_model
from support.window import Until, classified
from torch.nn.functional import interpolate

from cellcam.explain.baselines import baseline_images
from cellcam.reporting.colours import AGAINST, FOR, class_colours

pytestmark = pytest.mark.gui

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"


def silent(*_: object) -> None:
    """Progress that nobody sees."""


def one_crop() -> np.ndarray:
    """Counts of two stains, (1, 2, 16, 16)."""
    random = np.random.default_rng(3)
    crop = random.poisson(100 + 50 * random.random((1, 2, 16, 16)))
    crop[:, 0, 4:9, 4:9] += 200
    crop[:, 1, 8:14, 2:7] += 150
    return crop.astype(np.uint16)


@pytest.mark.parametrize("formula", ["complete", "paper"])
def test_the_difference_map_is_that_of_the_difference_of_the_scores(formula: str) -> None:
    model, crop = untrained_model(formula=formula), one_crop()
    why = difference_map(model, crop, ("M", "G1"), silent)
    x = model.normalised(crop)
    start = baseline_images("background", x, model.black()).expand_as(x)
    truth = complete_difference(
        model.network, "features.1", start.double(), x.double(), (2, 0), 300
    )
    whole = interpolate(truth[None, None], (16, 16), mode="bilinear", align_corners=False)[0, 0]
    error = np.linalg.norm(why.map - whole.numpy()) / float(whole.norm())
    assert error <= why.error <= 0.1
    logits = model.logits(crop)[0]
    assert why.lead == pytest.approx(float(logits[2] - logits[0]), rel=1e-4)
    assert why.rather_than == "G1"
    # A stain's loss: the lead, less that of the crop in which it is background.
    for i, name in enumerate(("DNA", "actin")):
        without = x.clone()
        without[:, i] = start[:, i]
        with torch.no_grad():
            left = model.network(without)[0]
        assert why.stain_losses[name] == pytest.approx(
            why.lead - float(left[2] - left[0]), rel=1e-3, abs=1e-5
        )


def test_the_map_of_a_stain_is_that_of_the_path_on_which_it_moves_alone() -> None:
    model, crop = untrained_model(), one_crop()
    found = stain_difference_maps(model, crop, ("M", "G1"), silent)
    x = model.normalised(crop).double()
    start = baseline_images("background", x, model.black().double()).expand_as(x)
    for i, name in enumerate(("DNA", "actin")):
        without = x.clone()
        without[:, i] = start[:, i]
        truth = complete_difference(model.network, "features.1", without, x, (2, 0), 150)
        whole = interpolate(truth[None, None], (16, 16), mode="bilinear", align_corners=False)
        whole = whole[0, 0].numpy()
        assert np.linalg.norm(found[name] - whole) <= 0.1 * np.linalg.norm(whole)


def test_the_difference_comes_first_and_the_other_maps_later(
    widget: ExplainWidget, until: Until
) -> None:
    session = classified(widget, until)
    first = explained_card(session, 0, None, silent)
    assert not first.class_maps
    assert not first.difference.stain_maps
    card = completed_card(session, first, silent)
    assert card.difference.map is first.difference.map
    assert set(card.difference.stain_maps) == {"DNA", "actin"}
    assert set(card.class_maps) == set(session.spec.classes)
    # With two classes, each against the mean is half of the difference.
    called = card.class_maps[card.predicted]
    np.testing.assert_allclose(called, card.difference.map / 2, atol=0.1 * np.abs(called).max())
    other = compared_card(session, card, card.runner_up, silent)
    assert not other.difference.stain_maps
    again = completed_card(session, other, silent)
    assert again.class_maps is card.class_maps  # they are about all classes


def card_with(losses: dict[str, float], lead: float = 3.0) -> CellCard:
    """An explained card of a cell called A rather than B."""
    nothing = np.zeros((4, 4), np.float32)
    signed = nothing.copy()
    signed[0, 0], signed[3, 3] = 2, -1
    why = Difference("B", lead, signed, losses, 0.02, dict.fromkeys(losses, signed))
    return CellCard(
        0, 7, "plate.tif", "model 12ab", "A", 0.75, "", np.zeros((len(losses), 4, 4)),
        tuple(losses), {"A": 0.75, "B": 0.2, "C": 0.05}, why,
        {"A": signed, "B": -signed, "C": nothing}, 0.01,
    )  # fmt: skip


def without_maps(card: CellCard) -> CellCard:
    """The card of the same cell at once after the click."""
    return replace(card, difference=None, class_maps={}, class_error=float("nan"))


def shown_view(card: CellCard) -> CellCardView:
    """A window that shows a card."""
    view = CellCardView()
    view.resize(340, 900)
    view.show_card(card, class_colours(["A", "B", "C"]))
    view.show()
    QApplication.processEvents()
    return view


def panel(view: CellCardView, kind: type) -> QWidget:
    return view.findChild(kind)


def test_the_sentence_says_which_stain_decided() -> None:
    text = why_text(card_with({"DNA": 2.5, "actin": 0.3}))
    assert "A (75 %) rather than B (20 %)" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Mostly DNA: without it the lead of A falls from 3.0 to 0.5." in text
    assert "so that B would win" in why_text(card_with({"DNA": 3.4, "actin": 0.3}))
    assert "No single stain" in why_text(card_with({"DNA": -0.4, "actin": -0.1}))


def test_a_single_stain_is_not_called_the_most_important(qtbot: object) -> None:
    assert "Mostly" not in why_text(card_with({"DNA": 2.5}))
    assert panel(shown_view(card_with({"DNA": 2.5})), StainMaps).captions == []


def test_for_is_orange_and_against_is_blue_in_the_large_picture(qtbot: object) -> None:
    view = shown_view(card_with({"DNA": 2.5, "actin": 0.3}))
    picture = panel(view, Why).difference.grab().toImage()
    ratio = picture.devicePixelRatio()
    first = picture.pixelColor(round(15 * ratio), round(15 * ratio))
    corner = round((panel(view, Why).difference.size_of_pictures - 2) * ratio)
    last = picture.pixelColor(corner, corner)
    assert first == QColor(FOR)
    against = QColor(AGAINST)
    assert last.hue() == pytest.approx(against.hue(), abs=3)
    assert panel(view, Why).bar.largest == 2


def test_the_difference_is_larger_than_all_other_pictures(qtbot: object) -> None:
    view = shown_view(card_with({"DNA": 2.5, "actin": 0.3}))
    sizes = [p.size_of_pictures for p in (panel(view, StainMaps), panel(view, ClassMaps))]
    assert panel(view, Why).difference.size_of_pictures > 2 * max(sizes)


def test_the_card_is_no_wider_than_the_dock(qtbot: object) -> None:
    names = ["A", "B", *(f"a class with a long name {i}" for i in range(20))]
    card = replace(
        card_with({"DNA": 2.5, "actin": 0.3, "a stain with a long name": 0.1}),
        probabilities=dict.fromkeys(names, 0.05),
        class_maps={},
    )
    view = CellCardView()
    view.show_card(card, class_colours(names))
    assert view.minimumSizeHint().width() <= 300
    assert max(panel(view, kind).sizeHint().width() for kind in (Why, StainMaps, ClassMaps)) <= 300


def test_nothing_jumps_when_the_maps_come(qtbot: object) -> None:
    card = card_with({"DNA": 2.5, "actin": 0.3})
    view = shown_view(without_maps(card))
    before = [p.geometry() for p in view.panels]
    captions = panel(view, ClassMaps).captions
    view.show_card(card, class_colours(["A", "B", "C"]))
    QApplication.processEvents()
    assert [p.geometry() for p in view.panels] == before
    # A picture without its map says that it has none yet.
    assert captions == ["A ...", "B ...", "C ..."]
    assert panel(view, ClassMaps).captions == ["A", "B", "C"]
    assert panel(view, StainMaps).captions == ["DNA  +2.5", "actin  +0.3"]


def test_everything_on_the_card_says_what_it_is(qtbot: object) -> None:
    view = shown_view(card_with({"DNA": 2.5, "actin": 0.3}))
    silent_parts = [
        part
        for part in [*view.panels, *view.findChildren(QToolButton), *view.findChildren(QComboBox)]
        if not part.toolTip() and not any(p.toolTip() for p in part.findChildren(QWidget))
    ]
    assert silent_parts == []


def test_another_class_can_be_chosen_to_compare_with(widget: ExplainWidget, until: Until) -> None:
    session = classified(widget, until)
    widget.go_to_cell(0)
    until(lambda: not widget.busy)
    other = widget.card.shown.difference.rather_than
    assert other == next(n for n in session.spec.classes if n != widget.card.shown.predicted)
    widget.card.compared.emit(other)
    until(lambda: not widget.busy)
    assert widget.card.shown.difference.rather_than == other


def test_a_card_is_saved_as_png_and_as_svg_with_text(qtbot: object, tmp_path: Path) -> None:
    view = shown_view(card_with({"DNA": 2.5, "actin": 0.3}))
    view.export.save(tmp_path / "cell.png")
    with Image.open(tmp_path / "cell.png") as picture:
        width = picture.size[0]
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert width >= 2 * 300  # sharp enough for print
    for colour in (FOR, AGAINST):
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(pixels - np.array(rgb)).max(1) < 40).any()
    view.export.save(tmp_path / "cell.svg")
    drawing = ET.parse(tmp_path / "cell.svg").getroot()
    texts = " ".join(text for element in drawing.iter(f"{SVG}text") for text in element.itertext())
    for word in ("rather", "DNA", "plate.tif", "Probability"):
        assert word in texts
    links = [element.get(LINK, "") for element in drawing.iter(f"{SVG}image")]
    # The cell, the difference, two stains and three classes.
    assert len(links) >= 7
    assert all(link.startswith("data:image/") for link in links)


def test_a_card_that_cannot_be_saved_leaves_no_file(qtbot: object, tmp_path: Path) -> None:
    view = shown_view(card_with({"DNA": 2.5}))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        view.export.save(tmp_path / "file" / "cell.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_card_is_copied_and_says_so(qtbot: object) -> None:
    view = shown_view(card_with({"DNA": 2.5}))
    said: list[str] = []
    view.export.message.connect(said.append)
    view.export.copy_button.click()
    copied = QApplication.clipboard().image()
    assert copied.width() >= 600
    assert said == ["The card was copied as a picture."]


def test_a_pinned_card_stays_beside_the_next(qtbot: object) -> None:
    view = shown_view(card_with({"DNA": 2.5}))
    pinned = view.export.pin()
    before = pinned.pixmap().toImage()
    assert pinned.isVisible()
    assert pinned.windowTitle() == "Cell 7 of plate.tif"
    view.show_card(replace(card_with({"DNA": 0.1}), label=8), class_colours(["A", "B", "C"]))
    QApplication.processEvents()
    assert pinned.isVisible()
    assert pinned.pixmap().toImage() == before
    screen = pinned.screen().availableGeometry()
    assert screen.contains(pinned.geometry())
    second = view.export.pin()
    assert second.windowTitle() == "Cell 8 of plate.tif"
    assert second.pos() != pinned.pos()
    assert second.pixmap().toImage() != before
    pinned.close()
    second.close()
