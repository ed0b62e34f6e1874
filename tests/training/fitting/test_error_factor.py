"""The error factor, against maps of many equal steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from cellcam_training.fitting import error_factor
from cellcam_training.fitting.error_factor import measured_error_factor
from numpy.typing import NDArray

from cellcam.models.model import CellModel
from cellcam.request import DEFAULT_RTOL

MakeModel = Callable[..., CellModel]


@pytest.fixture(autouse=True)
def _as_many_cells_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_factor, "_MOST", 80)


@pytest.fixture
def model(make_model: MakeModel) -> CellModel:
    torch.manual_seed(0)
    made = make_model(formula="complete", baseline="background", target_layer="features.1")
    with torch.no_grad():  # other weights than those of a new network, with many ReLUs switching
        made.network.train()(made.normalised(cells(made, 64, seed=9)))
    made.network.eval()
    return made


def cells(model: CellModel, n: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, 50.0, (n, *model.spec.input_shape)).astype(np.float32)


def test_errors_of_other_cells_are_covered_but_not_by_far(model: CellModel) -> None:
    factor = measured_error_factor(model, cells(model, 60, seed=1))
    others = cells(model, 40, seed=2)
    truth = model.explain(others, method="riemann_trapezoid", n_steps=200, upsample=False).maps
    found = model.with_spec(error_factor=factor).explain(others, rtol=DEFAULT_RTOL, upsample=False)
    made = (found.maps - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    ratios = found.error[:, 0] / made
    assert (ratios >= 1).float().mean() > 0.85
    assert ratios.median() < 1.9
    assert factor < 0.95  # with which fewer points are enough
    plain = model.explain(others, rtol=DEFAULT_RTOL, upsample=False)
    assert found.n_evaluations.sum() < plain.n_evaluations.sum()


def test_few_cells_show_nothing(model: CellModel) -> None:
    assert measured_error_factor(model, cells(model, 18, seed=1)) == 1.0
    assert measured_error_factor(model, cells(model, 19, seed=1)) != 1.0


def test_empty_maps_show_nothing(model: CellModel) -> None:
    assert measured_error_factor(model, np.zeros((30, *model.spec.input_shape))) == 1.0


def test_it_holds_only_for_the_explanations_it_was_measured_on(model: CellModel) -> None:
    measured = model.with_spec(error_factor=0.5)
    assert measured.with_spec(temperature=2.0).spec.error_factor == 0.5
    for change in ({"formula": "paper"}, {"baseline": "blur"}, {"target_layer": "features"}):
        assert measured.with_spec(**change).spec.error_factor == 1.0
