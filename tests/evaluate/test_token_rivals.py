"""Rivals of transformers: their tokens are read as places, as users of reshape_transform do."""

from __future__ import annotations

import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor
from torchvision.models import VisionTransformer

from cellcam.evaluate import rivals
from cellcam.evaluate.method import Method
from cellcam.evaluate.rivals import compared_methods
from cellcam.explain.integrated_gradcam import IntegratedGradCAM

LAST, EARLY = "encoder.layers.encoder_layer_0", "encoder.dropout"
CLASSES = torch.tensor([0, 2, 1])


@pytest.fixture(scope="module")
def network() -> VisionTransformer:
    torch.manual_seed(0)
    made = VisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=24,
        num_classes=3,
    )
    torch.nn.init.normal_(made.heads.head.weight)  # zeros at first
    return made.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(3, 3, 32, 32)


def methods(network: VisionTransformer, images: Tensor) -> dict[str, Method]:
    own = IntegratedGradCAM(network, EARLY, formula="complete", rtol=0.1)
    return {method.name: method for method in compared_methods(own, LAST, images)}


def test_all_methods_give_maps_and_leave_the_network_as_it_was(
    network: VisionTransformer, images: Tensor
) -> None:
    found = methods(network, images)
    assert {"LeGrad", "Grad-CAM", "Score-CAM", f"LayerCAM at {EARLY}"} <= set(found)
    for method in found.values():
        maps = method.maps(images, CLASSES)
        assert maps.shape == (3, 32, 32), method.name
        assert (maps >= 0).all(), method.name
        # What weighs features by positive numbers leaves nothing of negative features.
        assert maps.any() or method.name.startswith(("LayerCAM", "Score-CAM")), method.name
        assert not maps.requires_grad
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_grad_cam_is_that_of_a_reshape_by_hand(
    network: VisionTransformer, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_hand(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), 16, 4, 4)

    ours = methods(network, images)["Grad-CAM"]
    monkeypatch.setattr(rivals, "find_spec", lambda name: None)
    plain = methods(network, images)["Grad-CAM"]
    assert (ours.source, plain.source) == ("pytorch-grad-cam", "cellcam")
    maps = ours.maps(images, CLASSES)
    torch.testing.assert_close(maps, plain.maps(images, CLASSES), atol=1e-6, rtol=1e-5)
    layers = [network.get_submodule(LAST)]
    with GradCAM(network, layers, reshape_transform=by_hand) as cam:
        scaled = cam(images, [ClassifierOutputTarget(k) for k in CLASSES.tolist()])
    for own, theirs in zip(maps, torch.from_numpy(scaled), strict=True):
        assert torch.corrcoef(torch.stack([own.flatten(), theirs.flatten()]))[0, 1] > 0.99


def test_legrad_is_the_mean_of_positive_gradients_by_attention(
    network: VisionTransformer, images: Tensor
) -> None:
    maps = methods(network, images)["LeGrad"].maps(images[:1], CLASSES[:1])
    total = torch.zeros(4, 4)
    tokens = network._process_input(images[:1])
    tokens = torch.cat([network.class_token, tokens], 1) + network.encoder.pos_embedding
    for block in network.encoder.layers:
        normed = block.ln_1(tokens)
        weight, bias = block.self_attention.in_proj_weight, block.self_attention.in_proj_bias
        q, k, v = (normed @ weight.T + bias).chunk(3, -1)
        q, k, v = (t.unflatten(-1, (2, 8)).transpose(1, 2) for t in (q, k, v))
        attention = torch.softmax(q @ k.mT / 8**0.5, -1).detach().requires_grad_()
        seen = block.self_attention.out_proj((attention @ v).transpose(1, 2).flatten(2))
        tokens = tokens + seen
        tokens = tokens + block.mlp(block.ln_2(tokens))
        score = network.heads(network.encoder.ln(tokens.mean(1)))[0, 0]
        (gradient,) = torch.autograd.grad(score, attention)
        total += gradient.relu().mean((1, 2))[0, 1:].view(4, 4) / 2
        tokens = tokens.detach()
    coarse = torch.nn.functional.interpolate(total[None, None], (32, 32), mode="bilinear")
    torch.testing.assert_close(maps, coarse[0], atol=1e-7, rtol=1e-4)
