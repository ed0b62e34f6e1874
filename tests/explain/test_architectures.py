"""Architectures that nobody configured: the right layer and layout, and the formula's maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import timm
import torch
import torchvision
from monai.networks import nets
from support.brute_force import integrated_gradcam
from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitTransformerCfg
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from cellcam import IntegratedGradCAM


def channels_first(output: Tensor) -> Tensor:
    return output


def channels_last(output: Tensor) -> Tensor:
    return output.movedim(-1, 1)


def tokens(*grid: int, others: int = 0) -> Callable[[Tensor], Tensor]:
    def arranged(output: Tensor) -> Tensor:
        return output[:, others:].transpose(1, 2).unflatten(2, grid)

    return arranged


class Case(NamedTuple):
    build: Callable[[], nn.Module]
    layer: str  # that is found
    arranged: Callable[[Tensor], Tensor]
    shape: tuple[int, ...] = (3, 48, 48)
    scores: Callable[[Any], Tensor] = lambda returned: returned


def of_timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return partial(timm.create_model, name, num_classes=3, **options)


vision_transformer = {"img_size": 48, "depth": 3, "embed_dim": 24, "num_heads": 2}
monai_transformer = {
    "hidden_size": 24,
    "mlp_dim": 32,
    "num_layers": 3,
    "num_heads": 2,
    "classification": True,
    "num_classes": 3,
}
ARCHITECTURES = {
    "torchvision ResNet": Case(
        partial(ResNet, BasicBlock, [1, 1, 1, 1], num_classes=3),
        "layer4",
        channels_first,
        (3, 64, 64),
    ),
    "timm ResNet-10": Case(of_timm("resnet10t"), "layer4", channels_first, (3, 64, 64)),
    "timm ConvNeXt": Case(
        of_timm("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 12, 16, 24)),
        "norm_pre",
        channels_first,
        (3, 64, 64),
    ),
    "timm ViT": Case(
        of_timm("vit_tiny_patch16_224", **vision_transformer), "blocks.1", tokens(3, 3, others=1)
    ),
    "torchvision ViT": Case(
        partial(
            torchvision.models.VisionTransformer,
            image_size=48,
            patch_size=12,
            num_layers=3,
            num_heads=2,
            hidden_dim=24,
            mlp_dim=32,
            num_classes=3,
        ),
        "encoder.layers.encoder_layer_1",
        tokens(4, 4, others=1),
    ),
    "timm DeiT, distilled": Case(
        of_timm("deit_tiny_distilled_patch16_224", **vision_transformer),
        "blocks.1",
        tokens(3, 3, others=2),
    ),
    "timm DINOv2 with registers": Case(
        of_timm("vit_small_patch14_reg4_dinov2", **{**vision_transformer, "img_size": 56}),
        "blocks.1",
        tokens(4, 4, others=5),
        (3, 56, 56),
    ),
    "timm BEiT": Case(
        of_timm("beit_base_patch16_224", **vision_transformer), "norm", tokens(3, 3, others=1)
    ),
    "timm Swin": Case(
        of_timm(
            "swin_tiny_patch4_window7_224",
            img_size=64,
            window_size=4,
            embed_dim=12,
            depths=(2, 2),
            num_heads=(2, 2),
        ),
        "norm",
        channels_last,
        (3, 64, 64),
    ),
    "torchvision Swin": Case(
        partial(
            torchvision.models.SwinTransformer,
            patch_size=[4, 4],
            embed_dim=12,
            depths=[2, 2],
            num_heads=[2, 2],
            window_size=[4, 4],
            num_classes=3,
        ),
        "permute",
        channels_first,
    ),
    "torchvision MaxViT": Case(
        partial(
            torchvision.models.MaxVit,
            input_size=(32, 32),
            stem_channels=8,
            partition_size=2,
            block_channels=[8, 16],
            block_layers=[1, 1],
            head_dim=8,
            stochastic_depth_prob=0.0,
            num_classes=3,
        ),
        "blocks.1",
        channels_first,
        (3, 32, 32),
    ),
    "timm CoAtNet": Case(
        partial(
            MaxxVit,
            MaxxVitCfg(
                embed_dim=(8, 8, 16, 16),
                depths=(1, 1, 1, 1),
                block_type=("C", "C", "T", "T"),
                stem_width=8,
                transformer_cfg=MaxxVitTransformerCfg(dim_head=8),
            ),
            img_size=64,
            num_classes=3,
        ),
        "norm",
        channels_first,
        (3, 64, 64),
    ),
    "MONAI DenseNet": Case(
        partial(nets.DenseNet, 2, 3, 3, 8, 4, (2, 2)), "class_layers.relu", channels_first
    ),
    "MONAI ViT 2-D": Case(
        partial(nets.ViT, 3, (48, 48), (16, 16), spatial_dims=2, **monai_transformer),
        "blocks.1",
        tokens(3, 3, others=1),
        scores=lambda returned: returned[0],
    ),
    "MONAI ViT 3-D": Case(
        partial(nets.ViT, 1, (16, 24, 24), (8, 8, 8), spatial_dims=3, **monai_transformer),
        "blocks.1",
        tokens(2, 3, 3, others=1),
        (1, 16, 24, 24),
        scores=lambda returned: returned[0],
    ),
    "MONAI BasicUNet": Case(
        partial(nets.BasicUNet, 2, 3, 3, features=(4, 4, 8, 8, 8, 4)),
        "upcat_1",
        channels_first,
        scores=lambda returned: returned.mean((2, 3)),
    ),
}


def network_and_image(case: Case) -> tuple[nn.Module, Tensor]:
    """Random weights; signals do not fade, and no layer is zero as it is before a training."""
    torch.manual_seed(0)
    network = case.build().double()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if getattr(module, "bias", None) is not None and isinstance(module.bias, Tensor):
            nn.init.normal_(module.bias, std=0.3)
    with torch.no_grad():
        network.train()(torch.rand(4, *case.shape, dtype=torch.float64))
    return network.eval(), torch.rand(1, *case.shape, dtype=torch.float64) * 2


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_the_formula_without_a_word_of_configuration(name: str) -> None:
    case = ARCHITECTURES[name]
    network, x = network_and_image(case)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    ours = IntegratedGradCAM(network)(x, "all", n_steps=3)
    assert ours.target_layer == case.layer
    shown = [k for k in range(3) if ours.maps[0, k].any()]  # a map may be zero behind its ReLU
    assert shown
    for k in shown:
        brute = integrated_gradcam(
            network, case.layer, x, torch.zeros_like(x), k, 3, case.arranged, case.scores
        )
        assert (ours.maps[0, k] - brute).norm() < 1e-6 * brute.norm()
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not any(m._forward_hooks or m.training for m in network.modules())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_score_is_accounted_for_at_the_default_error(name: str) -> None:
    network, x = network_and_image(ARCHITECTURES[name])
    ours = IntegratedGradCAM(network)(x, "all")
    assert ours.completeness_gap.max() < 0.01
