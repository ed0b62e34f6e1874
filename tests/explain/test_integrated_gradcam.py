from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.brute_force import integrated_gradcam
from torch import Tensor, nn

from cellcam import IntegratedGradCAM
from cellcam.models.registry import build_network, network_entry, network_names

REGISTRY = [(name, d) for d in (2, 3) for name in network_names(d)]
CROP = {2: 64, 3: 33}
# From the output of the layer to (N, C, *space), where it is not that already.
ARRANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "timm/vit_small_patch16_224": lambda output: output[:, 1:].mT.unflatten(2, (14, 14)),
    "timm/swin_tiny_patch4_window7_224": lambda output: output.movedim(-1, 1),
}


def network_and_images(
    name: str, spatial_dims: int, dtype: torch.dtype, n: int = 2
) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(7)
    network = build_network(name, spatial_dims, 3, 4).to(dtype)
    shape = (3, *[CROP[spatial_dims]] * spatial_dims)
    # Batch statistics as after training: with the initial ones signals fade to rounding noise.
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.rand(4, *shape, dtype=dtype))
    return network.eval(), torch.rand(n, *shape, dtype=dtype)


def small_network(spatial_dims: int = 2, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(3)
    return build_network("small_cnn", spatial_dims, 2, 3).to(dtype).eval()


def relative_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("name", "spatial_dims"), REGISTRY)
def test_equals_the_formula_on_every_network_in_float64(name: str, spatial_dims: int) -> None:
    network, x = network_and_images(name, spatial_dims, torch.float64, n=1)
    layer = network_entry(name).target_layer
    m = 5 if spatial_dims == 2 and not name.startswith("timm/") else 2
    ours = IntegratedGradCAM(network, layer)(
        x, "all", method="riemann_right", n_steps=m, baselines=-0.4
    )
    shown = [k for k in range(4) if ours.maps[0, k].any()]  # a map may be zero behind its ReLU
    arranged = ARRANGED.get(name, lambda output: output)
    brute = integrated_gradcam(network, layer, x, torch.full_like(x, -0.4), shown[0], m, arranged)
    assert relative_difference(ours.maps[0, shown[0]], brute) < 1e-9


@pytest.mark.parametrize("name", ["small_cnn", "densenet121", "tv_convnext_tiny"])
def test_equals_the_formula_in_float32(name: str) -> None:
    network, x = network_and_images(name, 2, torch.float32)
    layer = network_entry(name).target_layer
    ours = IntegratedGradCAM(network, layer, method="riemann_right", n_steps=20)(x, 1)
    for i in range(len(x)):
        brute = integrated_gradcam(network, layer, x[i : i + 1], torch.zeros_like(x[:1]), 1, 20)
        assert relative_difference(ours.maps[i, 0], brute) < 1e-3


@pytest.mark.parametrize("layer", ["features.0", "features.3", "features"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_equals_the_formula_at_earlier_layers(layer: str, spatial_dims: int) -> None:
    network = small_network(spatial_dims, torch.float64)
    x = torch.rand(1, 2, *[12, 16, 20][:spatial_dims], dtype=torch.float64)
    ours = IntegratedGradCAM(network, layer)(x, 0, n_steps=5)
    brute = integrated_gradcam(network, layer, x, torch.zeros_like(x), 0, 5)
    assert relative_difference(ours.maps[0, 0], brute) < 1e-12


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_one_step_from_zero_activations_is_monai_gradcam(spatial_dims: int) -> None:
    from monai.visualize import GradCAM

    # Without biases a black image has zero activations.
    torch.manual_seed(0)
    convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    pool = nn.AdaptiveAvgPool2d if spatial_dims == 2 else nn.AdaptiveAvgPool3d
    network = nn.Sequential(
        convolution(2, 8, 3, stride=2, bias=False),
        nn.ReLU(),
        pool(3),
        nn.Flatten(),
        nn.Linear(8 * 3**spatial_dims, 16),
        nn.ReLU(),
        nn.Linear(16, 4),
    )
    x = torch.rand(3, 2, *[20] * spatial_dims)
    ours = IntegratedGradCAM(network, "1", n_steps=1)(x)
    monai = GradCAM(network, "1", postprocessing=lambda maps: maps)
    for i in range(len(x)):
        expected = monai(x[i : i + 1], class_idx=int(ours.class_idx[i, 0]))
        # MONAI upsamples with align_corners=True or False by version; compare at the layer.
        torch.testing.assert_close(ours.maps[i : i + 1], expected, rtol=1e-4, atol=1e-7)


def test_by_hand() -> None:
    """One pixel, one feature: A(x) = relu(x), y = A^2, x' = 0, x = 2.

    w(a) = 2 A = 4a and Delta(a) = 2a, so the integrand is 8 a^2 and its right sum with two
    steps (8/4 + 8) / 2 = 5.
    """

    class Square(nn.Module):
        def forward(self, activations: Tensor) -> Tensor:
            return activations.flatten(1) ** 2

    x = torch.full((1, 1, 1, 1), 2.0)
    maps = IntegratedGradCAM(nn.Sequential(nn.ReLU(), Square()), "0")(x, 1, n_steps=2).maps
    assert maps.item() == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("riemann_left", 8 * (0 + 1 / 4) / 2),
        ("riemann_middle", 8 * (1 / 16 + 9 / 16) / 2),
        ("riemann_trapezoid", 8 * (0 / 2 + 1 / 4 + 1 / 2) / 2),
        ("gausslegendre", 8 / 3),  # two nodes are exact for a parabola
    ],
)
def test_other_rules_by_hand(method: str, expected: float) -> None:
    network = nn.Sequential(nn.ReLU(), nn.Flatten(), _Power())
    x = torch.full((1, 1, 1, 1), 2.0)
    explanation = IntegratedGradCAM(network, "0")(x, 1, n_steps=2, method=method)
    assert explanation.maps.item() == pytest.approx(expected)


class _Power(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**2


def test_each_image_of_a_mixed_batch_equals_itself_alone() -> None:
    network = small_network(dtype=torch.float64)
    x = torch.randn(7, 2, 24, 24, dtype=torch.float64)
    with torch.no_grad():
        network.head[-1].bias -= network(x).median(0).values
    together = IntegratedGradCAM(network)(x, internal_batch_size=3)
    assert len(together.class_idx.unique()) > 1
    for i in range(len(x)):
        alone = IntegratedGradCAM(network)(x[i : i + 1])
        torch.testing.assert_close(together.maps[i : i + 1], alone.maps, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 5, 1000])
def test_internal_batch_size_changes_no_map(batch: int) -> None:
    network = small_network(dtype=torch.float64)
    x = torch.randn(4, 2, 16, 16, dtype=torch.float64)
    reference = IntegratedGradCAM(network)(x, "all", n_steps=6).maps
    chunked = IntegratedGradCAM(network)(x, "all", n_steps=6, internal_batch_size=batch).maps
    torch.testing.assert_close(chunked, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (1, [[1], [1]]),
        ([2, 0], [[2, 0], [2, 0]]),
        (torch.tensor([2, 0]), [[2], [0]]),
        (torch.tensor([[2, 1], [0, 1]]), [[2, 1], [0, 1]]),
        ("all", [[0, 1, 2], [0, 1, 2]]),
    ],
)
def test_classes_can_be_chosen(choice: object, expected: list[list[int]]) -> None:
    explanation = IntegratedGradCAM(small_network())(torch.rand(2, 2, 16, 16), choice, n_steps=2)
    assert explanation.class_idx.tolist() == expected
    assert explanation.maps.shape == (2, len(expected[0]), 16, 16)


def test_argmax_is_the_default_class() -> None:
    explanation = IntegratedGradCAM(small_network())(torch.randn(5, 2, 16, 16), n_steps=2)
    np.testing.assert_array_equal(explanation.class_idx[:, 0], explanation.logits.argmax(1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_idx": 3}, "between 0 and 2"),
        ({"class_idx": -1}, "between 0 and 2"),
        ({"class_idx": torch.tensor([0, 1, 2])}, "does not fit 2 images"),
        ({"class_idx": "best"}, "only word"),
        ({"n_steps": 0}, "at least 1"),
        ({"method": "simpson"}, "riemann_right"),
        ({"baselines": torch.zeros(3)}, "broadcast"),
    ],
)
def test_wrong_arguments_say_what_to_do(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntegratedGradCAM(small_network())(torch.rand(2, 2, 16, 16), **arguments)


@pytest.mark.parametrize(
    ("layer", "message"),
    [("nowhere", "last layers are"), ("head.1", "convolutional"), ("unused", "does not run")],
)
def test_wrong_layers_say_what_to_do(layer: str, message: str) -> None:
    network = small_network()
    network.unused = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match=message):
        IntegratedGradCAM(network, layer)(torch.rand(1, 2, 16, 16))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(TypeError, match=r"no setting steps. Did you mean n_steps\?"):
        IntegratedGradCAM(small_network(), steps=3)


def test_what_belongs_to_the_network_is_not_a_setting_of_a_call() -> None:
    cam = IntegratedGradCAM(small_network())
    with pytest.raises(TypeError, match=r"write IntegratedGradCAM\(network, black=...\)"):
        cam(torch.rand(1, 2, 16, 16), black=0.5)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_layer_is_found_and_named(spatial_dims: int) -> None:
    network = small_network(spatial_dims)
    x = torch.rand(1, 2, *[16] * spatial_dims)
    assert IntegratedGradCAM(network)(x, n_steps=1).target_layer == "features"
    by_module = IntegratedGradCAM(network, network.features)(x, n_steps=1)
    assert by_module.target_layer == "features"


class TestTheNetworkIsLeftAsItWas:
    def state(self, network: nn.Module) -> dict[str, object]:
        return {
            "modes": [module.training for module in network.modules()],
            "in place": [getattr(module, "inplace", None) for module in network.modules()],
            "hooks": [
                len(module._forward_hooks) + len(module._backward_hooks)
                for module in network.modules()
            ],
            "grads": [None if p.grad is None else p.grad.clone() for p in network.parameters()],
            "requires_grad": [p.requires_grad for p in network.parameters()],
            "bits": [t.clone() for t in network.state_dict().values()],
        }

    def assert_same(self, before: dict[str, object], network: nn.Module) -> None:
        after = self.state(network)
        for name in ("modes", "in place", "hooks", "requires_grad"):
            assert before[name] == after[name], name
        for old, new in zip(before["grads"], after["grads"], strict=True):
            assert (old is None) == (new is None)
            assert old is None or torch.equal(old, new)
        assert all(torch.equal(a, b) for a, b in zip(before["bits"], after["bits"], strict=True))

    def half_frozen(self) -> nn.Module:
        network = build_network("densenet121", 2, 2, 3).train()
        network.features.denseblock1.eval()
        for number, parameter in enumerate(network.parameters()):
            parameter.requires_grad_(number % 2 == 0)
            if number % 4 == 0:
                parameter.grad = torch.ones_like(parameter)
        return network

    def test_after_a_call(self) -> None:
        network = self.half_frozen()
        before = self.state(network)
        IntegratedGradCAM(network, "class_layers.relu")(torch.rand(2, 2, 64, 64), "all", n_steps=2)
        self.assert_same(before, network)

    @pytest.mark.parametrize("call", [{"class_idx": 99}, {"baselines": torch.zeros(9, 9)}])
    def test_after_an_error(self, call: dict[str, object]) -> None:
        network = self.half_frozen()
        before = self.state(network)
        with pytest.raises(ValueError, match=r".+"):
            IntegratedGradCAM(network)(torch.rand(2, 2, 64, 64), **call)
        self.assert_same(before, network)

    def test_after_an_interrupt_in_the_head(self) -> None:
        network = self.half_frozen()
        before = self.state(network)
        calls = []

        def interrupt(*_: object) -> None:
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt

        handle = network.class_layers.out.register_forward_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            IntegratedGradCAM(network, "class_layers.relu", internal_batch_size=1)(
                torch.rand(1, 2, 64, 64)
            )
        handle.remove()
        self.assert_same(before, network)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_grad_mode_changes_nothing(context: Callable[[], object]) -> None:
    network = small_network()
    x = torch.rand(2, 2, 16, 16)
    expected = IntegratedGradCAM(network)(x, n_steps=3).maps
    with context():
        inside = IntegratedGradCAM(network)(x * 1, n_steps=3)
        assert torch.is_grad_enabled() == (context is torch.enable_grad)
    assert not inside.maps.requires_grad
    torch.testing.assert_close(inside.maps, expected)


def test_works_with_frozen_parameters_and_inputs_that_require_grad() -> None:
    network = small_network().requires_grad_(False)
    x = torch.rand(1, 2, 16, 16, requires_grad=True)
    explanation = IntegratedGradCAM(network)(x, n_steps=2)
    assert explanation.maps.sum() > 0
    assert x.grad is None


def test_maps_keep_their_scale() -> None:
    """Doubling the scores doubles the maps: nothing is normalised away."""
    network = small_network(dtype=torch.float64)
    x = torch.rand(1, 2, 16, 16, dtype=torch.float64)
    once = IntegratedGradCAM(network)(x, 0).maps
    with torch.no_grad():
        network.head[-1].weight *= 2
    torch.testing.assert_close(IntegratedGradCAM(network)(x, 0).maps, 2 * once)
