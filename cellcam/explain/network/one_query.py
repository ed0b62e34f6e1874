"""Attention of a few queries, without the keys and values of all tokens.

With keys W_k x_t and values W_v x_t of tokens x_t, a query q has the scores (W_k' q) x_t and sees
W_v sum_t a_t x_t. So neither has to be computed, and a gradient goes back to the tokens along two
directions for each head instead of through both projections: for the class token alone that is
H / d of the arithmetic. A bias of the keys adds the same to all scores, which softmax ignores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

_WORTHWHILE = 0.25  # queries of all heads, by the width of the tokens


class Projection(NamedTuple):
    """A linear layer as it was called."""

    tokens: Tensor  # (N, T, d)
    weight: Tensor  # (features, d)
    bias: Tensor | None

    @staticmethod
    def of(tokens: Tensor, weight: Tensor, bias: Tensor | None = None) -> Projection:
        """Of the arguments of `torch.nn.functional.linear`, however they were passed."""
        return Projection(tokens, weight, bias)


class Heads(NamedTuple):
    """Where keys or values (N, H, T, width) lie in the result of a linear layer."""

    number: int  # of the linear layer's call
    first: int  # feature of the first head
    apart: int  # features from head to head
    n_heads: int
    width: int

    def of(self, by_feature: Tensor) -> Tensor:
        """Weights or biases (features, ...) of the heads: (H, width, ...)."""
        each = torch.arange(self.n_heads, device=by_feature.device)[:, None] * self.apart
        return by_feature[self.first + each + torch.arange(self.width, device=by_feature.device)]


class Projected(NamedTuple):
    """Keys and values that are projections of the same tokens."""

    keys: Heads
    values: Heads


def projected(
    keys: Tensor, values: Tensor, results: Mapping[int, tuple[Tensor, int]]
) -> Projected | None:
    """Which linear layers keys and values (N, H, T, width) come from unchanged, if any.

    Parameters
    ----------
    results : result (N, T, features) of each linear layer, by its number, and the version of the
        tensor, by which changes in place are seen
    """
    found = _heads(keys, results), _heads(values, results)
    if found[0] is None or found[1] is None:
        return None
    return Projected(found[0], found[1])


def attend(
    queries: Tensor, known: Projected, linear: Mapping[int, Projection], scale: float | None
) -> Tensor:
    """What queries (N, H, R, width) see: (N, H, R, width of the values)."""
    keys, values = linear[known.keys.number], linear[known.values.number]
    asked = queries @ known.keys.of(keys.weight)
    factor = queries.shape[-1] ** -0.5 if scale is None else scale
    scores = (asked.flatten(1, 2) @ keys.tokens.mT) * factor
    mixed = (scores.softmax(-1) @ values.tokens).unflatten(1, asked.shape[1:3])
    seen = mixed @ known.values.of(values.weight).mT
    return seen if values.bias is None else seen + known.values.of(values.bias).unsqueeze(1)


def is_worthwhile(n_rows: int, known: Projected, linear: Mapping[int, Projection]) -> bool:
    """Whether so many queries of each head cost less than the keys and values of all tokens."""
    width = linear[known.keys.number].tokens.shape[-1]
    return n_rows * known.keys.n_heads <= _WORTHWHILE * width


def _heads(part: Tensor, results: Mapping[int, tuple[Tensor, int]]) -> Heads | None:
    """Where a view (N, H, T, width) lies in the linear layer's result that it is a view of."""
    if part.ndim != 4:
        return None
    n_images, n_heads, n_tokens, width = part.shape
    for number, (result, version) in results.items():
        if not _shows(part, result) or result._version != version:
            continue
        features = result.shape[-1]
        first = int(part.storage_offset()) - int(result.storage_offset())
        apart = part.stride(1)
        by_row = (n_tokens * features, apart, features, 1)
        inside = first >= 0 and first + (n_heads - 1) * apart + width <= features
        if part.stride() == by_row and result.shape == (n_images, n_tokens, features) and inside:
            return Heads(number, first, apart, n_heads, width)
    return None


def _shows(part: Tensor, result: Tensor) -> bool:
    """Whether a tensor is a view of another, whose values lie one behind the other."""
    storages = part.untyped_storage().data_ptr(), result.untyped_storage().data_ptr()
    return storages[0] == storages[1] and result.is_contiguous()
