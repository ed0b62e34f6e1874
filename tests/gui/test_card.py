"""Why this class and not that: the difference map, its sentence, and the card as a file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from napari_cellcam.explain_dock.card import why_text
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from napari_cellcam.state.cell_card import CellCard, Difference, explained_card, with_stain_maps
from PIL import Image
from support.window import Until, classified

from cellcam.explain.baselines import baseline_images
from cellcam.models.model import CellModel

pytestmark = pytest.mark.gui


def brute_force(model: CellModel, crop: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
    """Complete map of class 0 less class 1 at the layer in float64, by the trapezoid rule."""
    network = model.network.double()
    kept: list[torch.Tensor] = []
    layer = network.get_submodule(model.spec.target_layer)
    handle = layer.register_forward_hook(lambda _module, _inputs, out: kept.append(out))
    values = []
    for t in np.linspace(0, 1, steps + 1):
        point = torch.from_numpy(start + t * (crop - start)).requires_grad_()
        scores = network(point)[0]
        (gradient,) = torch.autograd.grad(scores[0] - scores[1], kept[-1])
        values.append((kept[-1].detach().numpy()[0], gradient.numpy()[0]))
    handle.remove()
    network.float()
    total = np.zeros(values[0][0].shape[1:])
    for (a0, g0), (a1, g1) in pairwise(values):
        total += ((g0 + g1) / 2 * (a1 - a0)).sum(0)
    return total


@pytest.mark.parametrize("formula", ["complete", "paper"])
def test_the_difference_map_is_that_of_the_difference_of_the_scores(
    widget: ExplainWidget, until: Until, formula: str
) -> None:
    session = classified(widget, until)
    assert session.model is not None
    session.model = session.model.with_spec(formula=formula)
    card = explained_card(session, 0, None, lambda *_: None)
    why = card.difference
    x = session.model.normalised(session.crop(0)[None])
    explainer = session.model.explainer
    sign = 1 if card.predicted == session.spec.classes[0] else -1
    start = baseline_images("background", x, session.model.black()).expand_as(x)
    truth = sign * brute_force(session.model, x.double().numpy(), start.double().numpy(), 2000)
    small = explainer(
        x, [0, 1], formula="complete", upsample=False, rtol=0.1, rtol_of="strongest"
    ).maps[0]
    mine = sign * (small[0] - small[1]).numpy()
    assert np.linalg.norm(mine - truth) <= 0.1 * np.linalg.norm(truth)
    # Upsampled as every map is.
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(truth)[None, None], why.map.shape, mode="bilinear", align_corners=False
    )[0, 0].numpy()
    assert np.linalg.norm(why.map - whole) <= 0.1 * np.linalg.norm(whole)
    logits = session.model.logits(session.crop(0)[None])[0]
    assert why.lead == pytest.approx(sign * float(logits[0] - logits[1]), rel=1e-4)
    assert why.lead > 0


def test_maps_of_single_stains_come_with_their_losses(widget: ExplainWidget, until: Until) -> None:
    session = classified(widget, until)
    card = with_stain_maps(
        session, explained_card(session, 0, None, lambda *_: None), lambda *_: None
    )
    why = card.difference
    assert set(why.stain_maps) == set(why.stain_losses) == {"DNA", "actin"}
    for image in why.stain_maps.values():
        assert image.shape == why.map.shape
        assert image.any()


def card_with(losses: dict[str, float], lead: float = 3.0) -> CellCard:
    """A card of a cell called A rather than B."""
    nothing = np.zeros((4, 4), np.float32)
    why = Difference("B", lead, nothing, losses, 0.02)
    return CellCard(
        0, 7, "A", 0.75, "", np.zeros((2, 4, 4)), tuple(losses), {"A": 0.75, "B": 0.2, "C": 0.05},
        {"A": nothing}, why, 0.01,
    )  # fmt: skip


def test_the_sentence_says_which_stain_decided() -> None:
    text = why_text(card_with({"DNA": 2.5, "actin": 0.3}))
    assert "A (75%) rather than B (20%)" in text
    assert "Mostly DNA: without it the lead of A falls from 3.0 to 0.5." in text
    assert "so that B would win" in why_text(card_with({"DNA": 3.4, "actin": 0.3}))
    assert "No single stain" in why_text(card_with({"DNA": -0.4, "actin": -0.1}))


def test_another_class_can_be_chosen_to_compare_with(widget: ExplainWidget, until: Until) -> None:
    session = classified(widget, until)
    widget.go_to_cell(0)
    until(lambda: not widget.busy)
    other = widget.card.shown.difference.rather_than
    assert other == next(n for n in session.spec.classes if n != widget.card.shown.predicted)
    widget.card.compared.emit(other)
    until(lambda: not widget.busy)
    assert widget.card.shown.difference.rather_than == other


def test_a_card_is_saved_as_png_and_as_svg_with_text(
    widget: ExplainWidget, until: Until, tmp_path: Path
) -> None:
    classified(widget, until)
    widget.go_to_cell(0)
    until(lambda: not widget.busy)
    export = widget.card.export
    export.save(tmp_path / "cell.png")
    with Image.open(tmp_path / "cell.png") as picture:
        assert picture.size[0] > 200
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    export.save(tmp_path / "cell.svg")
    drawing = ET.parse(tmp_path / "cell.svg").getroot()
    texts = " ".join(drawing.itertext())
    assert widget.card.shown.predicted in texts
    assert any(element.tag.endswith("image") for element in drawing.iter())
    kept = export.keep()
    assert kept.isVisible()
    kept.close()
