"""Gradients through linear layers, computed only for the positions that have any.

Of the last block of a transformer only the class token is read: all other rows of the gradients
behind its attention are zero, and multiplying them with the weights is most of a backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_WORTHWHILE = 0.5  # of the rows: where more have gradients, choosing them gains nothing


class SparseGradients(TorchFunctionMode):
    """Within it and once ``on``, linear layers leave out rows of zeros on the way back.

    Their weights get no gradients.
    """

    on = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.on and func is functional.linear and not kwargs and _has_rows(args[0]):
            return _Linear.apply(*args)
        return func(*args, **(kwargs or {}))


class _Linear(torch.autograd.Function):
    """A linear layer, differentiable by its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        weight = ctx.saved_tensors[0].to(gradient.dtype)  # autocast does not reach this pass
        rows = gradient.flatten(0, -2)
        alive = rows.any(1).nonzero().squeeze(1)
        if len(alive) > _WORTHWHILE * len(rows):
            return gradient @ weight, None, None
        found = rows.new_zeros(len(rows), weight.shape[1])
        found[alive] = rows[alive] @ weight
        return found.view(*gradient.shape[:-1], -1), None, None


def _has_rows(x: object) -> bool:
    """Whether ``x`` is a row of tokens or the like, and not one vector for each image."""
    return isinstance(x, Tensor) and x.ndim > 2 and x.requires_grad
