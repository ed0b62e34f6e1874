"""Which layer is explained by default; layers that scores do not depend on; cut gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.brute_force import integrated_gradcam
from support.networks import images, small_network
from torch import Tensor, nn

from cellcam import IntegratedGradCAM


def convolution(features: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(features, 4, 3, padding=1), nn.Tanh())


class WithDecoder(nn.Module):
    """Class scores of the encoder; a decoder runs last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder, self.classify = convolution(), convolution(4), nn.Linear(4, 2)
        self.double()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(x)
        return self.classify(features.square().mean((2, 3))), self.decoder(features)


def test_a_decoder_that_the_scores_do_not_depend_on_is_passed_over() -> None:
    network, x = WithDecoder(), images()
    ours = IntegratedGradCAM(network)(x, 0, n_steps=3)
    assert ours.target_layer == "encoder"
    with pytest.raises(ValueError, match="do not depend on the values of layer 'decoder'"):
        IntegratedGradCAM(network, "decoder")(x, 0)


class SharedActivation(nn.Module):
    """An activation that runs on features and again on a vector."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.act = nn.Conv2d(3, 4, 3), nn.Softplus()
        self.hidden, self.classify = nn.Linear(4, 5), nn.Linear(5, 2)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.act(self.hidden(self.act(self.features(x)).mean((2, 3)))))


def test_an_activation_that_runs_again_on_a_vector_is_split_where_it_has_space() -> None:
    class Apart(SharedActivation):
        def __init__(self) -> None:
            super().__init__()
            self.again = nn.Softplus()

        def forward(self, x: Tensor) -> Tensor:
            return self.classify(self.again(self.hidden(self.act(self.features(x)).mean((2, 3)))))

    x = images()
    for layer in (None, "act"):
        ours = IntegratedGradCAM(SharedActivation(), layer)(x, 0, n_steps=3)
        assert ours.target_layer == "act"
        brute = integrated_gradcam(Apart(), "act", x[:1], torch.zeros_like(x[:1]), 0, 3)
        torch.testing.assert_close(ours.maps[0, 0], brute, rtol=1e-9, atol=1e-12)


def test_a_module_under_two_names_is_found_under_both() -> None:
    network, x = small_network(), images()
    network.alias = network.features
    expected = IntegratedGradCAM(network, "features")(x, 0, n_steps=3)
    for name in ("alias", "alias.3", network.alias):
        layer = "features.3" if name == "alias.3" else "features"
        ours = IntegratedGradCAM(network, name)(x, 0, n_steps=3)
        assert ours.target_layer == layer
    torch.testing.assert_close(ours.maps, expected.maps)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_torchscript_is_named() -> None:
    x = images()
    scripted = torch.jit.trace(small_network(), x)
    with pytest.raises(ValueError, match="TorchScript"):
        IntegratedGradCAM(scripted)(x, 0)
    with pytest.raises(ValueError, match="TorchScript"):
        IntegratedGradCAM(scripted, "features")(x, 0)
    # As a part it is a layer like others.
    network = small_network()
    expected = IntegratedGradCAM(network, "features")(x, 0, n_steps=3)
    network.features = torch.jit.trace(network.features, x)
    ours = IntegratedGradCAM(network)(x, 0, n_steps=3)
    assert ours.target_layer == "features"
    torch.testing.assert_close(ours.maps, expected.maps)


def test_a_layer_that_nothing_bypasses_is_preferred() -> None:
    class TwoScales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second, self.classify = convolution(), convolution(4), nn.Linear(8, 2)
            self.double()

        def forward(self, x: Tensor) -> Tensor:
            first = self.first(x)
            both = torch.cat([first, self.second(first)], 1)
            return self.classify(both.square().mean((2, 3)))

    network, x = TwoScales(), images()
    ours = IntegratedGradCAM(network)(x, "all")
    assert ours.target_layer == "first"
    assert ours.completeness_gap.max() < 0.03
    assert IntegratedGradCAM(network, "second")(x, "all").completeness_gap.min() > 0.1

    class AlsoTheImage(TwoScales):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x.mean((1, 2, 3)).unsqueeze(1)

    assert IntegratedGradCAM(AlsoTheImage())(x, 0).target_layer == "second"


def detached(network: nn.Module, x: Tensor) -> Tensor:
    return network.head(network.features(x).detach())


def data(network: nn.Module, x: Tensor) -> Tensor:
    return network.head(network.features(x).data)


def no_grad(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        features = network.features(x)
    return network.head(features.tanh())


def no_grad_everywhere(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return network.head(network.features(x))


def inference_mode(network: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        features = network.features(x)
    return network.head(features)


class Through(nn.Module):
    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.through = small_network(), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.through(self.network, x)


@pytest.mark.parametrize("cut", [detached, data, no_grad, no_grad_everywhere, inference_mode])
@pytest.mark.parametrize("layer", [None, "network.features"])
def test_a_backbone_cut_off_from_gradients(
    cut: Callable[[nn.Module, Tensor], Tensor], layer: str | None
) -> None:
    """As if nothing was cut: the function that the network computes is the same."""
    between = (lambda f: f.tanh()) if cut is no_grad else (lambda f: f)
    whole = Through(lambda network, x: network.head(between(network.features(x))))
    x = images()
    ours = IntegratedGradCAM(Through(cut), layer)(x, "all", n_steps=3)
    expected = IntegratedGradCAM(whole, "network.features")(x, "all", n_steps=3)
    assert ours.target_layer == "network.features"
    assert expected.maps.any()
    torch.testing.assert_close(ours.maps, expected.maps)


def test_straight_through_gradients_are_kept() -> None:
    """What a network says about its gradients counts where it leaves any."""

    def rounded(network: nn.Module, x: Tensor) -> Tensor:
        features = network.features(x)
        return network.head(features + ((8 * features).round() / 8 - features).detach())

    network, x = Through(rounded), images()
    ours = IntegratedGradCAM(network, "network.features")(x, 0, n_steps=3)
    brute = integrated_gradcam(network, "network.features", x[:1], torch.zeros_like(x[:1]), 0, 3)
    torch.testing.assert_close(ours.maps[0, 0], brute, rtol=1e-9, atol=1e-12)


def test_a_head_without_gradients_is_refused() -> None:
    def with_numpy(network: nn.Module, x: Tensor) -> Tensor:
        features = network.features(x)
        return network.head(torch.from_numpy(features.detach().clone().numpy(force=True)))

    with pytest.raises(ValueError, match="cannot be differentiated"):
        IntegratedGradCAM(Through(with_numpy), "network.features")(images(), 0)


def test_only_the_class_token_of_the_last_block_is_read() -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=48, depth=2, embed_dim=24, num_heads=2, num_classes=3
    ).eval()
    nn.init.normal_(network.head.weight)
    x = torch.rand(1, 3, 48, 48)
    with pytest.raises(ValueError, match="values with a place of layer 'blocks.1', tokens"):
        IntegratedGradCAM(network, "blocks.1")(x, 0)
    assert IntegratedGradCAM(network)(x, 0, n_steps=2).target_layer == "blocks.0"


def test_dropout_in_evaluation_is_noticed() -> None:
    def dropping(network: nn.Module, x: Tensor) -> Tensor:
        return network.head(nn.functional.dropout(network.features(x), 0.5, training=True))

    with pytest.raises(ValueError, match="other scores each time"):
        IntegratedGradCAM(Through(dropping))(images(), 0)


def test_batch_normalisation_without_statistics_is_noticed() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Tanh()]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 14 * 14, 2)).double()
    x = images()
    with pytest.raises(ValueError, match="internal_batch_size=1"):
        IntegratedGradCAM(network, "2")(x, 0)
    ours = IntegratedGradCAM(network, "2", internal_batch_size=1)(x, 0, n_steps=3)
    for i in range(2):
        brute = integrated_gradcam(network, "2", x[i : i + 1], torch.zeros_like(x[:1]), 0, 3)
        torch.testing.assert_close(ours.maps[i, 0], brute, rtol=1e-6, atol=1e-9)
