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


def without_projections(rows: tuple[Rows | None, ...]) -> tuple[Rows | None, ...]:
    return tuple(known and known._replace(projected=None) for known in rows)


def test_the_last_block_computes_the_class_token_alone() -> None:
    token = Rows(0, 1, 10)
    # A norm of all tokens; keys, queries and values, of which the class token's query is left;
    # attention, its projection, norm, linear layer, GELU, linear layer, norm.
    last = (None, *[token] * 8)
    assert without_projections(rows_of(transformer(), "blocks.1")) == last
    assert without_projections(rows_of(transformer(), "blocks.0")) == (*[None] * 8, *last)


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


class _Attends(nn.Module):
    """Reads the third token behind an attention, whose keys may be changed in place."""

    def __init__(self, in_place: bool, biased: bool = True, by_keyword: bool = False) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.patches, self.in_place = nn.Conv2d(3, 16, 8, 8), in_place
        self.by_keyword = by_keyword
        self.queries = nn.Linear(16, 16)
        self.keys, self.values = nn.Linear(16, 16, bias=biased), nn.Linear(16, 32, bias=biased)
        self.classify = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).mT
        by_head = [
            layer(tokens).unflatten(2, (2, -1)).transpose(1, 2)
            for layer in (self.queries, self.keys, self.values)
        ]
        if self.in_place:
            by_head[1].mul_(2)
        attention = nn.functional.scaled_dot_product_attention
        if self.by_keyword:
            seen = attention(by_head[0], key=by_head[1], value=by_head[2], scale=0.7)
        else:
            seen = attention(*by_head, scale=0.7)
        return self.classify(seen.transpose(1, 2).flatten(2)[:, 2])


@pytest.mark.parametrize("biased", [True, False])
def test_keys_and_values_of_a_single_query_are_left_out(biased: bool) -> None:
    network = _Attends(in_place=False, biased=biased).double().eval()
    found = rows_of(network, "patches")
    assert [heads.number for heads in found[3].projected] == [1, 2]
    third, any_row = Rows(2, 3, 36), Rows(0, 1, 36)
    assert without_projections(found) == (third, any_row, any_row, third)
    check_by_brute_force(network)


@pytest.mark.parametrize("options", [{"in_place": True}, {"in_place": False, "by_keyword": True}])
def test_keys_that_are_changed_in_place_or_passed_by_keyword_are_computed(
    options: dict[str, bool],
) -> None:
    network = _Attends(**options).double().eval()
    assert [known and known.projected for known in rows_of(network, "patches")] == [None] * 4
    check_by_brute_force(network)


def check_by_brute_force(network: nn.Module) -> None:
    x = torch.rand(1, 3, 48, 48, dtype=torch.float64)
    ours = IntegratedGradCAM(network, "patches")(x, "all", n_steps=3)
    for k in range(3):
        brute = integrated_gradcam(network, "patches", x, torch.zeros_like(x), k, 3)
        torch.testing.assert_close(ours.maps[0, k], brute, rtol=1e-9, atol=1e-12)
