"""Rows of tokens that a head need not compute: found by running it, and without effect on maps."""

from __future__ import annotations

import pytest
import timm
import torch
from support.brute_force import integrated_gradcam
from torch import Tensor, nn

from cellcam import IntegratedGradCAM
from cellcam.explain.network.facts import find_facts
from cellcam.explain.network.needed_rows import Rows
from cellcam.explain.network.target import Target


def transformer(**options: object) -> nn.Module:
    torch.manual_seed(0)
    small = {"img_size": 48, "depth": 3, "embed_dim": 24, "num_heads": 2, "num_classes": 3}
    network = timm.create_model("vit_tiny_patch16_224", **{**small, **options})
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    return network.double().eval()


def rows_of(network: nn.Module, layer: str) -> tuple[Rows | None, ...]:
    x = torch.rand(1, 3, 48, 48, dtype=torch.float64)
    return find_facts(network, Target(layer), x, "float32", None).split.rows


def test_the_last_block_computes_the_class_token_alone() -> None:
    token = Rows(0, 1, 10)
    # Keys and values of all tokens; then attention, its projection and the two linear layers.
    assert rows_of(transformer(), "blocks.1") == (None, *[token] * 4)
    assert rows_of(transformer(), "blocks.0") == (*[None] * 6, *[token] * 4)


def test_where_all_tokens_are_read_all_are_computed() -> None:
    assert rows_of(transformer(global_pool="avg", class_token=False), "blocks.1") == ()


class _Chooses(nn.Module):
    """Reads one token: the first, or the one with the largest value."""

    def __init__(self, by_value: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.patches, self.mix = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 8)
        self.classify, self.by_value = nn.Linear(8, 3), by_value

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.mix(self.patches(x).flatten(2).mT).tanh()
        if not self.by_value:
            return self.classify(tokens[:, 7])
        best = tokens.square().sum(2).argmax(1)
        return self.classify(tokens[torch.arange(len(x)), best])


@pytest.mark.parametrize("by_value", [False, True])
def test_a_token_that_is_chosen_by_its_value_is_never_left_out(by_value: bool) -> None:
    network = _Chooses(by_value).double().eval()
    assert rows_of(network, "patches") == (() if by_value else (Rows(7, 8, 36),))
    for seed in range(4):
        x = torch.rand(1, 3, 48, 48, dtype=torch.float64, generator=torch.manual_seed(seed))
        ours = IntegratedGradCAM(network, "patches")(x, 0, n_steps=5)
        brute = integrated_gradcam(network, "patches", x, torch.zeros_like(x), 0, 5)
        torch.testing.assert_close(ours.maps[0, 0], brute, rtol=1e-9, atol=1e-12)
