from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from cellcam.evaluate.sanity import (
    Explain,
    SanityCheck,
    as_volume_network,
    completeness_check,
    dimension_check,
    integrated_gradcam,
    noise_check,
    randomisation_cascade,
    randomisation_check,
    rank_correlation,
)
from cellcam.explain.integrated_gradcam import IntegratedGradCAM
from cellcam.models.registry import build_network

LAYER = "features"


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A network that tells where a bright square lies: upper left or lower right."""
    torch.manual_seed(0)
    network = build_network("small_cnn", 2, 1, 2)
    classes = torch.arange(96) % 2
    x = 0.1 * torch.rand(96, 1, 24, 24)
    for image, k in zip(x, classes, strict=True):
        y, left = (int(torch.randint(2, 8, ())) + 10 * int(k) for _ in range(2))
        image[0, y : y + 5, left : left + 5] += 1
    x[:, 0, :4] += classes.view(-1, 1, 1)  # so that convolutions can tell the classes apart
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(30):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), classes).backward()
        optimiser.step()
    return network.eval(), x[:24], classes[:24]


def by_chance(_network: nn.Module, x: Tensor, _classes: Tensor) -> Tensor:
    return torch.rand(len(x), *x.shape[2:])


def always_the_middle(_network: nn.Module, x: Tensor, _classes: Tensor) -> Tensor:
    axes = [torch.linspace(-1, 1, n) ** 2 for n in x.shape[2:]]
    return torch.exp(-sum(torch.meshgrid(*axes, indexing="ij"))).expand(len(x), *x.shape[2:])


def edges(_network: nn.Module, x: Tensor, _classes: Tensor) -> Tensor:
    return x.diff(dim=-1, append=x[..., :1]).abs().sum(1)


def complete(network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    cam = IntegratedGradCAM(network, LAYER, formula="complete", upsample=False)
    return cam(x, classes).maps[:, 0]


def all_checks(
    explain: Explain, signed: Explain, trained: tuple[nn.Module, Tensor, Tensor]
) -> dict[str, SanityCheck]:
    network, x, classes = trained
    return {
        "randomisation": randomisation_check(explain, network, x, classes),
        "noise": noise_check(explain, network, x, classes),
        "completeness": completeness_check(signed, network, x, classes, torch.zeros_like(x)),
        "dimension": dimension_check(explain, network, x, classes),
    }


def test_integrated_grad_cam_passes_every_check(
    trained: tuple[nn.Module, Tensor, Tensor],
) -> None:
    checks = all_checks(integrated_gradcam(LAYER, 0.0), complete, trained)
    assert {name: check.passed for name, check in checks.items()} == dict.fromkeys(checks, True)


def test_an_explainer_that_ignores_the_network_fails_every_check(
    trained: tuple[nn.Module, Tensor, Tensor],
) -> None:
    checks = all_checks(by_chance, by_chance, trained)
    assert {name: check.passed for name, check in checks.items()} == dict.fromkeys(checks, False)


@pytest.mark.parametrize("broken", [always_the_middle, edges])
def test_a_convincing_picture_that_ignores_the_network_fails(
    broken: Callable[..., Tensor], trained: tuple[nn.Module, Tensor, Tensor]
) -> None:
    network, x, classes = trained
    check = randomisation_check(broken, network, x, classes)
    assert check.figure.value == pytest.approx(0, abs=1e-9)
    assert not check.passed
    assert not completeness_check(broken, network, x, classes, torch.zeros_like(x)).passed


def test_one_picture_for_all_cells_fails_the_noise_check(
    trained: tuple[nn.Module, Tensor, Tensor],
) -> None:
    assert not noise_check(always_the_middle, *trained).passed


def test_the_cascade_goes_from_the_output_down_and_keeps_the_network_unchanged(
    trained: tuple[nn.Module, Tensor, Tensor],
) -> None:
    network, x, classes = trained
    before = {k: v.clone() for k, v in network.state_dict().items()}
    cascade = randomisation_cascade(integrated_gradcam(LAYER, 0.0), network, x, classes)
    names = [name for name, _ in cascade]
    assert names[0] == "head.5"
    assert names[-1].startswith("features.0")
    assert cascade[-1][1].mean() < cascade[0][1].mean() + 0.5
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_rank_correlation_is_scipy_s() -> None:
    a, b = torch.randint(0, 5, (6, 4, 5)).float(), torch.rand(6, 4, 5)
    found = rank_correlation(a, b)
    expected = [spearmanr(p.ravel(), q.ravel()).statistic for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    empty = torch.zeros(1, 3, 3)
    assert rank_correlation(empty, b[:1, :3, :3]).tolist() == [0]
    assert rank_correlation(empty, empty).tolist() == [1]


@pytest.mark.parametrize("name", ["small_cnn", "cell_cnn", "resnet18"])
def test_the_volume_network_gives_the_same_scores_for_equal_planes(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 2, 2, 3).eval()
    x = torch.rand(2, 2, 32, 32)
    volume = x.unsqueeze(2).expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(as_volume_network(network)(volume), network(x), atol=1e-5, rtol=1e-5)


def test_a_layer_without_a_3_d_form_is_named() -> None:
    with pytest.raises(ValueError, match="1 is a AvgPool2d"):
        as_volume_network(nn.Sequential(nn.Conv2d(1, 1, 1), nn.AvgPool2d(2)))
