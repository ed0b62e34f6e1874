"""Why one class rather than another: against plain autograd in float64, in 2-D and 3-D."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from support.brute_force import complete_difference
from support.models import untrained_model
from torch.nn.functional import interpolate

from cellcam.explain.baselines import baseline_images
from cellcam.explain.differences import MEAN, ScoreDifferences
from cellcam.explain.explanation import Explanation
from cellcam.models.model import CellModel
from cellcam.models.normalisation import Normalisation


def counts(n: int = 2, shape: tuple[int, ...] = (16, 16)) -> np.ndarray:
    """Random counts of two stains with a bright half, different in each crop."""
    random = np.random.default_rng(7)
    crops = random.poisson(100 + 60 * random.random((n, 2, *shape)))
    crops[..., : shape[-1] // 2] += random.integers(30, 200, (n, 2, *[1] * len(shape)))
    return crops.astype(np.uint16)


def ends(model: CellModel, crops: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Baseline and image of the network's input, float64."""
    x = model.normalised(crops)
    start = baseline_images(model.spec.baseline, x, model.black()).expand_as(x)
    return start.double(), x.double()


def at_layer(model: CellModel, crops: np.ndarray, pair: tuple[int, int]) -> Explanation:
    return model.explain_differences(crops, [pair], rtol=0.02, upsample=False)


@pytest.mark.parametrize("formula", ["complete", "paper"])
@pytest.mark.parametrize("layer", ["features.1", "features"])
def test_a_difference_map_is_that_of_plain_autograd_on_the_difference_of_two_scores(
    formula: str, layer: str
) -> None:
    model = untrained_model(formula=formula, target_layer=layer)
    crops = counts(1)
    start, x = ends(model, crops)
    for pair in ((0, 1), (2, 0)):
        truth = complete_difference(model.network, layer, start, x, pair, 300)
        found = at_layer(model, crops, pair)
        error = float((found.maps[0, 0] - truth).norm() / truth.norm())
        assert error <= 0.02
        whole = interpolate(truth[None, None], (16, 16), mode="bilinear", align_corners=False)
        drawn = model.explain_differences(crops, [pair], rtol=0.02).maps[0, 0]
        assert float((drawn - whole[0, 0]).norm() / whole.norm()) <= 0.02


def test_it_adds_up_to_the_difference_of_the_scores() -> None:
    model = untrained_model()
    crops = counts()
    start, x = ends(model, crops)
    with torch.no_grad():
        change = (model.network(x.float()) - model.network(start.float())).double()
        logits = model.network(x.float())
    for a, b in combinations(range(3), 2):
        found = at_layer(model, crops, (a, b))
        size = found.maps.flatten(1).norm(dim=1)
        gap = found.maps.double().sum((1, 2, 3)) - (change[:, a] - change[:, b])
        # An error of 2 % of the norm, in U positions that may all err in the same direction.
        assert (gap.abs() <= 0.02 * size * found.maps[0].numel() ** 0.5).all()
        lead = found.logits.gather(1, found.class_idx)[:, 0]
        torch.testing.assert_close(lead, logits[:, a] - logits[:, b])


def test_the_error_that_is_asked_for_is_that_of_the_difference_not_of_its_parts() -> None:
    # Two classes whose scores are nearly the same: their maps are close to a hundred times as
    # strong as their difference, so that maps exact to 5 % say nothing about it.
    model = untrained_model()
    last = [m for m in model.network.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight[1] = last.weight[0] + 0.01 * last.weight[1]
    crops = counts(4)
    start, x = ends(model, crops)
    truth = torch.stack(
        [
            complete_difference(
                model.network, "features.1", start[i : i + 1], x[i : i + 1], (0, 1), 300
            )
            for i in range(4)
        ]
    )
    found = model.explain_differences(crops, [(0, 1)], rtol=0.05, upsample=False)
    true_errors = (found.maps[:, 0] - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    assert (found.error <= 0.05).all()
    assert (true_errors <= 0.05).all()
    both = model.explain(crops, [0, 1], rtol=0.05, upsample=False)
    assert both.maps.flatten(2).norm(dim=2).min() > 20 * truth.flatten(1).norm(dim=1).max()


def test_the_mean_of_all_classes_stands_for_a_class_and_differences_are_consistent() -> None:
    model, crops = untrained_model(), counts(1)
    steps = {"method": "riemann_trapezoid", "n_steps": 16}
    scores = model.explain(crops, "all", **steps).maps[0]
    pairs = [(0, MEAN), (1, MEAN), (2, MEAN), (0, 1), (1, 0)]
    maps = model.explain_differences(crops, pairs, **steps).maps[0]
    tolerance = {"rtol": 1e-4, "atol": 1e-5 * float(scores.abs().max())}
    torch.testing.assert_close(maps[:3], scores - scores.mean(0), **tolerance)
    torch.testing.assert_close(maps[3], scores[0] - scores[1], **tolerance)
    torch.testing.assert_close(maps[4], -maps[3], **tolerance)


def test_pairs_can_be_given_crop_by_crop() -> None:
    model, crops = untrained_model(), counts(2)
    together = model.explain_differences(crops, torch.tensor([[[0, 1]], [[2, MEAN]]]), rtol=0.02)
    for i, pair in enumerate([(0, 1), (2, MEAN)]):
        alone = model.explain_differences(crops[i : i + 1], [pair], rtol=0.02)
        torch.testing.assert_close(together.maps[i], alone.maps[0], rtol=1e-4, atol=1e-6)


def test_stains_move_one_by_one() -> None:
    model, crops = untrained_model(), counts(1)
    found = model.explain_differences(crops, [(0, 1)], rtol=0.02, channels="each")
    assert found.maps.shape == (1, 1, 2, 16, 16)
    first, second = (model.channel_shares(crops, k) for k in (0, 1))
    np.testing.assert_allclose(
        found.channel_shares[0, 0], (first - second)[0], rtol=1e-4, atol=1e-6
    )


def test_volumes_have_differences_too() -> None:
    model = untrained_model(
        spatial_dims=3,
        field="volume",
        crop_size=(8, 16, 16),
        normalisation=Normalisation(offset=(100, 100), scale=(50, 50)),
    )
    crops = counts(1, (8, 16, 16))
    start, x = ends(model, crops)
    truth = complete_difference(model.network, "features.1", start, x, (0, 1), 300)
    found = at_layer(model, crops, (0, 1)).maps[0, 0]
    assert float((found - truth).norm() / truth.norm()) <= 0.02


def test_a_pair_of_an_unknown_class_is_refused() -> None:
    network = ScoreDifferences(torch.nn.Identity(), 3)
    for pair in ((3, 0), (0, 3), (MEAN, 0)):
        with pytest.raises(ValueError, match="between 0 and 2"):
            network.index(torch.tensor([pair]))
