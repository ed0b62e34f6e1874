"""Several layers, wrapped and compiled networks, reduced precision, odd layouts."""

from __future__ import annotations

import pytest
import torch
from support.brute_force import integrated_gradcam
from support.networks import images, small_network
from torch import Tensor, nn

from cellcam import IntegratedGradCAM
from cellcam.explain.network.execution import Execution, prefers_positions, repeatable
from cellcam.explain.network.facts import fingerprint


def test_several_layers_are_averaged_and_kept() -> None:
    network, x = small_network(), images()
    both = IntegratedGradCAM(network, ["features", "features.3"])(x, n_steps=3)
    singles = [
        IntegratedGradCAM(network, layer)(x, n_steps=3) for layer in ("features", "features.3")
    ]
    torch.testing.assert_close(both.maps, (singles[0].maps + singles[1].maps) / 2)
    assert both.target_layer == "features, features.3"
    assert [layer.target_layer for layer in both.layers] == ["features", "features.3"]


def test_wrapped_for_several_devices() -> None:
    network, x = small_network(), images()
    plain = IntegratedGradCAM(network, "features.3")(x, n_steps=3)
    wrapped = IntegratedGradCAM(nn.DataParallel(network), "features.3")(x, n_steps=3)
    torch.testing.assert_close(wrapped.maps, plain.maps)


def test_compiled() -> None:
    network, x = small_network(), images()
    plain = IntegratedGradCAM(network, "features.3")(x, n_steps=3)
    compiled = IntegratedGradCAM(torch.compile(network), "features.3")(x, n_steps=3)
    torch.testing.assert_close(compiled.maps, plain.maps)


def test_weights_in_bfloat16() -> None:
    network, x = small_network(dtype=torch.float32), images(dtype=torch.float32)
    exact = IntegratedGradCAM(network)(x, 0, n_steps=8).maps
    rough = IntegratedGradCAM(network.bfloat16())(x, 0, n_steps=8).maps
    assert rough.dtype == torch.float32
    assert (rough - exact).norm() < 0.1 * exact.norm()


def test_changed_weights_change_the_map() -> None:
    network, x = small_network(), images()
    cam = IntegratedGradCAM(network)
    cam(x, 0, n_steps=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.data.mul_(0.9)  # torch does not count this as a change
    torch.testing.assert_close(
        cam(x, 0, n_steps=3).maps, IntegratedGradCAM(network)(x, 0, n_steps=3).maps
    )


def test_automatic_precision_stays_close() -> None:
    network, x = small_network(dtype=torch.float32), images(dtype=torch.float32)
    plain = IntegratedGradCAM(network)(x, 0, n_steps=8).maps
    auto = IntegratedGradCAM(network, precision="auto")(x, 0, n_steps=8).maps
    assert (auto - plain).norm() < 0.05 * plain.norm()


def test_a_network_that_needs_its_features_side_by_side() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
            self.classify = nn.Linear(4 * 14 * 14, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.classify(self.features(x).view(len(x), -1))

    torch.manual_seed(0)
    network, x = Viewing().double(), images()
    ours = IntegratedGradCAM(network, "features")(x, 1, n_steps=3)
    brute = integrated_gradcam(network, "features", x[:1], torch.zeros_like(x[:1]), 1, 3)
    torch.testing.assert_close(ours.maps[0, 0], brute, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dims", [2, 3])
def test_many_features_over_few_positions_are_convolved_in_the_usual_layout(dims: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(256, 8, 3, 2, 1) if dims == 2 else nn.Conv3d(256, 8, 3, 2, 1)
    seen: list[tuple[int, ...]] = []
    conv.register_forward_hook(lambda _m, given, _out: seen.append(given[0].stride()))
    x = torch.rand(2, 256, *[3] * dims)
    execution = Execution(channels_last=True)
    with execution.active(x.device), torch.no_grad():
        ours = conv(execution.laid_out(x))
    assert prefers_positions(x, conv.weight)
    assert not prefers_positions(x, conv.weight[:, :128])  # in groups
    assert seen[0][1] == ours.stride(1) == 1  # innermost as it came and as it goes on
    torch.testing.assert_close(ours, conv(x))


def test_a_network_that_was_moved_or_cast_is_looked_at_anew() -> None:
    """As after ``network.cuda()``: same parameters, same count of changes, same norm."""
    network = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.ones_(network[0].weight)
    cam, x = IntegratedGradCAM(network), torch.rand(2, 1, 4, 4)
    before, expected = fingerprint(network), cam(x, 0, n_steps=3).maps
    network.double()
    assert fingerprint(network) != before
    torch.testing.assert_close(cam(x, 0, n_steps=3).maps, expected, check_dtype=False)


def test_algorithms_are_repeatable_within_a_call_and_as_before_after_it() -> None:
    cudnn = torch.backends.cudnn
    seen: list[tuple[bool, bool]] = []
    network, x = small_network(), images()
    hook = network.register_forward_pre_hook(
        lambda *_: seen.append((cudnn.deterministic, cudnn.benchmark))
    )
    cudnn.benchmark = True
    try:
        IntegratedGradCAM(network)(x, 0, n_steps=3)
        assert (cudnn.deterministic, cudnn.benchmark) == (False, True)
        with pytest.raises(KeyError), repeatable():
            raise KeyError
        assert (cudnn.deterministic, cudnn.benchmark) == (False, True)
    finally:
        cudnn.benchmark = False
        hook.remove()
    assert set(seen) == {(True, False)}
