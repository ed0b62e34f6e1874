"""Explaining some cells, with other settings; layers that can be explained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cellcam import CellModel, Request, Stack, ThresholdFinder
from cellcam.pipeline.classify_field import CalledCells, classify_fields
from cellcam.pipeline.explain_field import explain_fields
from cellcam.pipeline.find_field import find_field
from cellcam.pipeline.map_canvas import MapCanvas
from cellcam.pipeline.matching import match

Make = Callable[..., CellModel]


@pytest.fixture
def called(stack: Stack, make_model: Make) -> CalledCells:
    """The two called cells of the stack."""
    model = make_model()
    finder = ThresholdFinder(channel="DNA", diameter_um=6)
    matched = match(stack, model.spec, Request(finder=finder))
    return classify_fields([find_field(matched, place) for place in matched.fields()], model)[0]


def test_only_the_chosen_cells_are_explained(called: CalledCells) -> None:
    request = Request(classes="all", rtol=0.001)
    whole = explain_fields([called], called.model, request)[0]
    ticks: list[tuple[int, int]] = []
    some = explain_fields(
        [called],
        called.model,
        request,
        lambda done, total, _note="": ticks.append((done, total)),
        chosen=[np.array([False, True])],
    )[0]
    first, second = (whole.labels == number for number in called.found.cells.numbers)
    assert not some.maps[:, first].any()
    np.testing.assert_allclose(some.maps[:, second], whole.maps[:, second], rtol=1e-2, atol=1e-6)
    assert np.isnan(some.cells["importance_error"]).tolist() == [True, False]
    assert np.isnan(some.cells["share_DNA"]).tolist() == [True, False]
    assert some.cells["class"].tolist() == whole.cells["class"].tolist()
    assert ticks[-1] == (1, 1)


def test_a_number_of_steps_is_the_sum_of_the_paper(called: CalledCells) -> None:
    model = called.model.with_spec(formula="paper", baseline="black")
    for n_steps in (3, 11):
        found = explain_fields([called], model, Request(classes="all"), n_steps=n_steps)[0]
        x = model.normalised(called.found.crops)
        expected = model.explainer(x, "all", method="riemann_right", n_steps=n_steps)
        size = expected.maps.flatten(2).norm(dim=2)
        strongest = size.argmax(1, keepdim=True)
        errors = expected.error.gather(1, strongest)[:, 0].numpy()
        np.testing.assert_allclose(found.cells["importance_error"], errors, rtol=1e-4)


def test_a_canvas_shows_each_cell_its_own_map(called: CalledCells) -> None:
    canvas = MapCanvas.empty(called.found, 2)
    ones = np.ones((1, 16, 16), np.float32)
    canvas.paste(0, ones, np.array([1]))
    canvas.paste(1, 5 * ones, np.array([1]))
    shown = canvas.on_field()
    first, second = (called.found.labels == number for number in called.found.cells.numbers)
    assert not shown[0].any()
    assert set(np.unique(shown[1])) == {0, 1, 5}
    assert (shown[1][first] == 1).all()
    assert (shown[1][second] == 5).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_the_layers_of_each_shape_can_be_explained(make_model: Make, dims: int) -> None:
    volume = {"spatial_dims": 3, "field": "volume", "crop_size": (16, 16, 16)} if dims == 3 else {}
    model = make_model(**volume)
    assert model.spec.target_layer in model.layers
    shapes = list(model.layers.values())
    assert shapes == sorted(shapes, reverse=True)  # the network only coarsens
    crops = np.random.default_rng(0).poisson(100, (1, 2, *model.spec.crop_size)).astype(np.uint16)
    for layer, shape in model.layers.items():
        explained = model.with_spec(target_layer=layer).explain(crops, upsample=False, rtol=0.1)
        assert tuple(explained.maps.shape[2:]) == shape
    with torch.no_grad():
        assert not model.network.training
