"""Slopes between points in place of derivatives: hand-worked, complete, against many steps."""

from __future__ import annotations

import pytest
import torch
from support.brute_force import complete_difference
from torch import Tensor, nn

from cellcam import IntegratedGradCAM
from cellcam.explain.integration import secant_steps
from cellcam.explain.integration.secant_steps import _worst
from cellcam.explain.network.slopes import Ends, SlopePass, handed_over_at, has_known_slopes, slope
from cellcam.explain.network.target import Target, split_network
from cellcam.models.registry import build_network


def small_network(name: str = "small_cnn", dims: int = 2) -> nn.Module:
    torch.manual_seed(3)
    network = build_network(name, dims, 2, 3).double()
    with torch.no_grad():
        network.train()(torch.randn(16, 2, *[16] * dims, dtype=torch.float64) * 2 + 0.5)
    return network.eval()


def images(n: int = 2, dims: int = 2) -> Tensor:
    torch.manual_seed(5)
    return torch.rand(n, 2, *[16] * dims, dtype=torch.float64) * 3


def complete(network: nn.Module, layer: str, **settings: object) -> IntegratedGradCAM:
    return IntegratedGradCAM(network, layer, formula="complete", upsample=False, **settings)


def test_slope_of_a_relu_by_hand() -> None:
    before, after = torch.tensor([-1.0, 2, -2, 1, 0]), torch.tensor([3.0, -2, -1, 2, 0])
    found = slope(Ends(before, before.relu()), Ends(after, after.relu()))
    assert found.tolist() == [0.75, 0.5, 0, 1, 0]


def test_max_pooling_hands_over_where_the_lines_cross() -> None:
    """From (4, 1) to (5, 9): 4 + t = 1 + 8 t at t = 3 / 7, where the second input takes over."""
    pool = nn.MaxPool2d(2, return_indices=True)

    def ends(*values: float) -> Ends:
        x = torch.tensor(values, dtype=torch.float64).view(1, 1, 2, 2)
        return Ends(x, *pool(x))

    handed = handed_over_at(ends(4, 1, 0, 0), ends(5, 9, 0, 0))
    assert handed.item() == pytest.approx(3 / 7)
    # 3/7 of the first one's change and 4/7 of the second one's make the change from 4 to 9.
    assert handed.item() * (5 - 4) + (1 - handed.item()) * (9 - 1) == pytest.approx(9 - 4)


def test_relu_behind_the_layer_is_exact_in_closed_form() -> None:
    """Activations on straight lines, a ReLU, their mean, a linear layer: the integral is known."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).double()
    x = images() - 1
    found = complete(network, "0", rtol=0.1)(x, "all")
    with torch.no_grad():
        first, last = network[0](torch.zeros_like(x)).relu(), network[0](x).relu()
        expected = torch.einsum("kc,ncyx->nkyx", network[4].weight, last - first) / 14**2
    torch.testing.assert_close(found.maps, expected)
    assert found.error.max() < 1e-12
    assert (found.n_evaluations <= 8).all()


@pytest.mark.parametrize(
    ("name", "layer", "dims"),
    [
        ("small_cnn", "features.1", 2),
        ("small_cnn", "features.3", 2),
        ("small_cnn", "features", 2),
        ("small_cnn", "features.1", 3),
        ("cell_cnn", "features.1", 2),
        ("resnet18", "layer1", 2),
    ],
)
def test_maps_add_up_to_the_score_difference(name: str, layer: str, dims: int) -> None:
    network, x = small_network(name, dims), images(dims=dims)
    found = complete(network, layer, rtol=0.3)(x, "all")
    with torch.no_grad():
        difference = network(x) - network(torch.zeros_like(x))
    torch.testing.assert_close(found.maps.flatten(2).sum(2), difference)
    assert found.completeness_gap.max() < 1e-6
    assert found.weights_vary.all()


@pytest.mark.parametrize("layer", ["features.1", "features.3", "features"])
def test_agrees_with_many_steps(layer: str) -> None:
    network, x = small_network(), images(1)
    found = complete(network, layer, rtol=0.005)(x, [0, 2])
    brute = complete_difference(network, layer, torch.zeros_like(x), x, (0, 2), 3000)
    ours = found.maps[0, 0] - found.maps[0, 1]
    assert (ours - brute).norm() < 0.01 * brute.norm()


def test_parts_of_a_path_need_not_fit_into_a_batch() -> None:
    passes: list[int] = []
    network, x = small_network(), images()
    cam = complete(network, "features.1", rtol=0.05)
    together = cam(x, "all")
    network.register_forward_pre_hook(lambda _m, args: passes.append(len(args[0])))
    apart = cam(x, "all", internal_batch_size=1)
    assert max(passes) == 1
    torch.testing.assert_close(apart.maps, together.maps)
    assert torch.equal(apart.n_evaluations, together.n_evaluations)


def test_passes_are_no_larger_than_a_batch() -> None:
    passes: list[int] = []
    network, x = small_network(), images(6)
    cam = complete(network, "features.1", rtol=0.02, internal_batch_size=8)
    cam(x)
    network.register_forward_pre_hook(lambda _m, args: passes.append(len(args[0])))
    cam(x, "all")
    assert max(passes) <= 8


def test_maps_do_not_depend_on_how_many_paths_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    cam, x = complete(small_network(), "features.1", rtol=0.05), images(3)
    together = cam(x, "all")
    monkeypatch.setattr(secant_steps, "MOST_KEPT", 1)
    torch.testing.assert_close(cam(x, "all").maps, together.maps)


@pytest.mark.parametrize("bend", [nn.ReLU(inplace=True), nn.MaxPool2d(3, 1, 1), nn.Identity()])
def test_functions_with_known_slopes(bend: nn.Module) -> None:
    assert has_known_slopes(*_with(bend))


@pytest.mark.parametrize("bend", [nn.GELU(), nn.Softmax(1), nn.GroupNorm(2, 4), nn.ReLU6()])
def test_other_functions_are_differentiated_at_points(bend: nn.Module) -> None:
    split, x = _with(bend)
    assert not has_known_slopes(split, x)
    cam = complete(split.network, "0", rtol=0.02)
    found = cam(x, "all")
    many = cam(x, "all", method="riemann_trapezoid", n_steps=300)
    assert (found.maps - many.maps).flatten(2).norm(dim=2).max() < 0.05 * many.maps.norm()


def _with(bend: nn.Module) -> tuple:
    torch.manual_seed(1)
    network = (
        nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.Conv2d(4, 4, 3),
            bend,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )
        .double()
        .eval()
    )
    x = images(1)
    return split_network(network, Target("0"), x), x


def test_a_function_that_runs_twice_keeps_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3)
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.second(self.relu(self.first(x))))
            return x.mean((2, 3))

    torch.manual_seed(0)
    network = Twice().double()
    done = SlopePass(split_network(network, Target("first"), images()), images())
    assert len(done.ends) == 2


def test_the_fewest_panels_that_suffice_are_halved() -> None:
    """Squared doubts 8, 4, 1 and an aim of 7: halving the first leaves 1 + 4 + 1."""
    path = torch.tensor([0, 1, 0, 0, 1])
    doubt = torch.tensor([[1.0], [0.5], [8.0], [4.0], [0.25]], dtype=torch.float64)
    assert _worst(path, doubt, 7).tolist() == [False, False, True, False, False]
    # For 2, halving two leaves 1 + 0.5 + 1, and all are halved; the other path has enough.
    assert _worst(path, doubt, 2).tolist() == [True, False, True, True, False]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_gives_no_numbers_ends(value: float) -> None:
    network, x = small_network(), images(2)
    cam = complete(network, "features.1", rtol=0.05)
    x[1] = value
    found = cam(x, 0)
    torch.testing.assert_close(found.maps[:1], cam(x[:1], 0).maps)
    assert not found.maps[1].isfinite().all()


def test_a_path_of_no_length_has_an_empty_map() -> None:
    network = small_network()
    found = complete(network, "features.1", rtol=0.05)(torch.zeros(1, 2, 16, 16).double(), "all")
    assert (found.maps == 0).all()
    assert (found.error == 0).all()
