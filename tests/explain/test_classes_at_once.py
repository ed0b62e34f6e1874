"""One backward pass for all classes, against torch's own class by class."""

from __future__ import annotations

import warnings

import pytest
import torch
from brute_force import integrated_gradcam
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cellcam import IntegratedGradCAM
from cellcam.explain.classes_at_once import HeadForClassesAtOnce, runs_quietly
from cellcam.explain.scores import gradients
from cellcam.explain.settings import Settings
from cellcam.models.registry import build_network


def bottlenecks() -> tuple[nn.Module, Tensor]:
    """ResNet-50, whose stages begin with 1 x 1 convolutions, and two images."""
    torch.manual_seed(0)
    network = build_network("tv_resnet50", 2, 2, 4).double()
    x = torch.rand(2, 2, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        network.train()(torch.rand(4, 2, 64, 64, dtype=torch.float64))
    return network.eval(), x


def test_ends_before_the_convolutions_that_begin_the_head() -> None:
    network, x = bottlenecks()
    cam = IntegratedGradCAM(network, "layer3", n_steps=3)
    ours = cam(x, "all")
    split = cam._known_about("layer3", x, Settings(n_steps=3)).split
    assert split.at_once
    assert not split.head_sees_activations
    with torch.no_grad():
        leaves = split.scores(x, means_only=True).leaves
    assert [leaf.values.shape[1] for leaf in leaves] == [512, 2048]
    for k in (0, 3):
        brute = integrated_gradcam(network, "layer3", x[1:], torch.zeros_like(x[1:]), k, 3)
        assert (ours.maps[1, k] - brute).norm() < 1e-9 * brute.norm()


@pytest.mark.parametrize("method", ["n_steps", "rtol"])
def test_the_gap_is_that_of_gradients_by_the_activations(method: str) -> None:
    network, x = bottlenecks()
    how: dict[str, object] = {method: 6 if method == "n_steps" else 0.3}
    cam = IntegratedGradCAM(network, "layer3", **how)
    at_once = cam(x, "all")
    cam._known_about("layer3", x, Settings()).split.at_once = False
    cam._known_about("layer3", x, Settings()).remembered.clear()
    by_class = cam(x, "all")
    torch.testing.assert_close(at_once.completeness_gap, by_class.completeness_gap)
    torch.testing.assert_close(at_once.maps, by_class.maps)
    torch.testing.assert_close(at_once.error, by_class.error)


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_convolutions_pass_gradients_as_torch_does(data: st.DataObject) -> None:
    draw = data.draw
    dims, groups = draw(st.sampled_from([2, 3])), draw(st.sampled_from([1, 2]))
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    padding, dilation = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    size = [draw(st.integers(3, 8)) for _ in range(dims)]
    assume(all(n + 2 * padding > dilation * (kernel - 1) for n in size))
    torch.manual_seed(draw(st.integers(0, 99)))
    conv = (nn.Conv2d if dims == 2 else nn.Conv3d)(
        4, 6, kernel, stride, padding, dilation, groups, bias=draw(st.booleans())
    ).double()
    norm = (nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d)(6, affine=draw(st.booleans()))
    norm = norm.double()
    norm.train()(torch.randn(5, 6, *[3] * dims).double())
    network = nn.Sequential(conv, norm.eval(), nn.ReLU(), nn.Flatten())
    x = torch.randn(3, 4, *size, dtype=torch.float64).requires_grad_()
    with HeadForClassesAtOnce(means_only=False) as mode:
        scores = network(mode.begin(x))
    classes = torch.randint(0, scores.shape[1], (3, 5))
    (ours,) = gradients(scores, classes, [x], at_once=True)
    for k in range(5):
        chosen = network(x).gather(1, classes[:, k : k + 1]).sum()
        torch.testing.assert_close(ours[:, k], torch.autograd.grad(chosen, x)[0])


def test_what_was_written_into_is_not_taken_for_the_activations() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.pointwise = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 1)
            self.last = nn.Conv2d(6, 3, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.pointwise(self.trunk(x).relu_()).relu()).flatten(1)

    torch.manual_seed(2)
    network, x = InPlace().double(), torch.rand(1, 1, 8, 8, dtype=torch.float64)
    ours = IntegratedGradCAM(network, "trunk", n_steps=4)(x, "all")
    for k in range(3):
        brute = integrated_gradcam(network, "trunk", x, torch.zeros_like(x), k, 4)
        torch.testing.assert_close(ours.maps[0, k], brute, rtol=1e-9, atol=1e-12)


def test_warnings_and_errors_are_noticed() -> None:
    def fail() -> None:
        raise RuntimeError

    assert runs_quietly(lambda: None)
    assert not runs_quietly(fail)
    assert not runs_quietly(lambda: warnings.warn("A performance drop.", stacklevel=1))


@pytest.mark.parametrize("dims", [2, 3])
def test_norms_with_fixed_statistics_are_a_factor_and_an_offset(dims: int) -> None:
    norm = (nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d)(3).eval()
    x = torch.rand(2, 3, *[4] * dims).requires_grad_()
    with HeadForClassesAtOnce(means_only=False) as mode:
        ours = norm(mode.begin(x))
    assert "Addcmul" in type(ours.grad_fn).__name__  # torch's own is looped, class by class
    torch.testing.assert_close(ours, norm(x))
