"""Heads whose gradients by all classes come from one backward pass.

torch loops over the classes: a backward pass each, over few positions, for which convolutions
are slow. Here the classes are batched through it (``torch.vmap``), with operations that can be
batched in place of those that cannot. A 1 x 1 convolution that the head begins with is not
passed back through at all: only the mean gradient is wanted, which is the matrix of the
convolution times the mean gradient behind it. Why so: docs/decisions/0009.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

from cellcam.explain.execution import innermost, wants_usual_layout

_CONVOLUTIONS = (torch.conv2d, torch.conv3d)


@dataclass(frozen=True)
class Leaf:
    """What a head is differentiated by.

    Attributes
    ----------
    values : (N, D, *space) tensor that requires gradients, linear in the activations
    weight : (D, C) matrix that takes the activations there, None if these are they
    """

    values: Tensor
    weight: Tensor | None = None


class HeadForClassesAtOnce(TorchFunctionMode):
    """Within it a head runs on operations that can be differentiated for many classes at once.

    Parameters
    ----------
    means_only : whether only mean gradients are wanted, so that 1 x 1 convolutions of what the
        head is given may end the backward pass

    Attributes
    ----------
    leaves : what to differentiate by, as far as it has run
    """

    def __init__(self, means_only: bool) -> None:
        super().__init__()
        self.leaves: list[Leaf] = []
        self._means_only = means_only
        self._given: Tensor | None = None

    def begin(self, leaf: Tensor) -> Tensor:
        """What to give the head, as a function of ``leaf``."""
        self.leaves = [Leaf(leaf)]
        self._given = leaf.clone()
        return self._given

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if args and isinstance(args[0], Tensor) and args[0].requires_grad:
            if func in _CONVOLUTIONS and len(args) == 7 and not isinstance(args[4], str):
                return self._convolved(func, args)
            if func is batch_norm and not kwargs.get("training", True):
                x, mean, variance = args  # as `batch_norm` itself passes them on
                return _normalised(
                    x, mean, variance, kwargs["weight"], kwargs["bias"], kwargs["eps"]
                )
        return func(*args, **kwargs)

    def _convolved(self, func: Any, args: Sequence[Any]) -> Tensor:
        x, weight, bias, stride, padding, dilation, groups = args
        space = x.ndim - 2
        numbers = [_for_each_axis(value, space) for value in (stride, padding, dilation)]
        if self._is_mean_enough(x, weight, numbers[1], groups):
            with torch.no_grad():
                values = func(self.leaves[0].values, *args[1:])
            self.leaves.append(Leaf(values.requires_grad_(), weight.detach().flatten(1)))
            return values.clone()
        frozen = None if bias is None else bias.detach()
        return _Convolution.apply(x, weight.detach(), frozen, *numbers, groups)

    def _is_mean_enough(
        self, x: Tensor, weight: Tensor, padding: Sequence[int], groups: int
    ) -> bool:
        return (
            self._means_only
            and x is self._given
            and x._version == 0  # not written into since
            and weight.shape[2:].numel() == 1
            and groups == 1
            and not any(padding)
        )


def runs_quietly(work: Callable[[], object]) -> bool:
    """Whether ``work`` runs without an error and without a warning that it was not batched."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            work()
        except (RuntimeError, NotImplementedError, ValueError, TypeError):
            return False
    return not told


class _Convolution(torch.autograd.Function):
    """A convolution that is differentiated by its input only."""

    @staticmethod
    def forward(*args: Any) -> Tensor:
        x, weight, bias, stride, padding, dilation, groups = args
        none = [0] * len(stride)
        return torch.convolution(x, weight, bias, stride, padding, dilation, False, none, groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, weight, _, *ctx.numbers = inputs
        ctx.shape = x.shape
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        passed = _InputGradient.apply(gradient, weight, ctx.shape, *ctx.numbers)
        return passed, *[None] * 6


class _InputGradient(torch.autograd.Function):
    """Gradient of a convolution by its input, for any number of classes as one batch."""

    @staticmethod
    def forward(*args: Any) -> Tensor:
        gradient, weight, shape, stride, padding, dilation, groups = args
        if groups == 1 and _is_better_as_a_product(weight, stride, padding):
            return _as_a_product(gradient, weight, shape[2:], stride, padding, dilation)
        usual = wants_usual_layout(gradient, weight.transpose(0, 1))
        like_input = _empty(gradient, shape[1:], channels_last=not usual)
        wanted = [True, False, False]
        none = [0] * len(stride)
        passed = torch.ops.aten.convolution_backward(
            gradient, like_input, weight, None, stride, padding, dilation, False, none, groups,
            wanted,
        )[0]  # fmt: skip
        return innermost(passed) if usual else passed

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: it is not differentiated again."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, gradient: Tensor, *rest: Any) -> tuple[Tensor, int]:
        """All classes as one batch of images."""
        by_class = gradient.movedim(in_dims[0], 0)
        passed = _InputGradient.apply(by_class.flatten(0, 1), *rest)
        return passed.unflatten(0, by_class.shape[:2]), 0


def _empty(like: Tensor, shape: Sequence[int], channels_last: bool) -> Tensor:
    """Memory that is never written, for what wants to be told a shape (C, *space) and a layout."""
    if channels_last:
        return like.new_empty(len(like), *shape[1:], shape[0]).movedim(-1, 1)
    return like.new_empty(len(like), *shape)


def _is_better_as_a_product(weight: Tensor, stride: Any, padding: Any) -> bool:
    """Libraries are slow at gradients of strided convolutions, and over few positions."""
    pointwise = weight.shape[2:].numel() == 1 and not any(padding)
    return pointwise or max(stride) > 1


def _as_a_product(
    gradient: Tensor, weight: Tensor, size: Sequence[int], stride: Any, padding: Any, dilation: Any
) -> Tensor:
    """Input gradient as a sum of matrix products, one for each place in the kernel.

    Channels are innermost throughout: a row of the product is a position.
    """
    by_position = gradient.movedim(1, -1)
    rows = by_position.reshape(-1, len(weight))
    kernel = weight.movedim(1, -1).contiguous()
    if max(stride) == weight.shape[2:].numel() == 1:
        return (rows @ kernel.flatten(1)).view(*by_position.shape[:-1], -1).movedim(-1, 1)
    total = rows.new_zeros(len(gradient), *size, weight.shape[1])
    for places in np.ndindex(*weight.shape[2:]):
        part = (rows @ kernel[(slice(None), *places)]).view(*by_position.shape[:-1], -1)
        offsets = [
            k * apart - edge for k, apart, edge in zip(places, dilation, padding, strict=True)
        ]
        ranges = list(map(_overlap, gradient.shape[2:], size, offsets, stride))
        sent, reached = [one for one, _ in ranges], [other for _, other in ranges]
        total[(slice(None), *reached)] += part[(slice(None), *sent)]
    return total.movedim(-1, 1)


def _overlap(n: int, size: int, offset: int, step: int) -> tuple[slice, slice]:
    """Which of n positions, ``step`` apart from ``offset`` on, lie within ``size``; and where."""
    first = max(0, -(offset // step))
    last = max(first, min(n, (size - 1 - offset) // step + 1))
    begin = first * step + offset
    return slice(first, last), slice(begin, begin + (last - first) * step, step)


def _normalised(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """Batch normalisation with fixed statistics: one factor and one offset a feature."""
    factor = (variance + eps).rsqrt()
    if weight is not None:
        factor = factor * weight
    offset = -mean * factor
    if bias is not None:
        offset = offset + bias
    shape = (1, -1, *[1] * (x.ndim - 2))
    return torch.addcmul(offset.detach().view(shape), x, factor.detach().view(shape))


def _for_each_axis(value: Any, n: int) -> list[int]:
    return [value] * n if isinstance(value, int) else list(value)
