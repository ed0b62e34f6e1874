"""Slopes of a head between two points, in place of its derivatives at one.

Between the ends of an interval, the inputs of each ReLU change from z0 to z1, its output by
ReLU(z1) - ReLU(z0). A backward pass that multiplies by

    (ReLU(z1) - ReLU(z0)) / (z1 - z0)

instead of the derivative gives multipliers m of the activations with  sum m (A1 - A0) = y1 - y0,
whatever happens in between. Max pooling hands over from the largest input of the one end to that
of the other where straight lines between their values cross. What is linear keeps its gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cellcam.explain.network.heads import agree
from cellcam.explain.network.splitting import Pass, SplitNetwork
from cellcam.explain.scores import gradients

_RELU = (torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, functional.relu)
_MAX_POOL = {
    functional.max_pool2d: 2,
    torch.max_pool2d: 2,
    functional.max_pool3d: 3,
    torch.max_pool3d: 3,
}
_WITH_INDICES = {
    2: torch.ops.aten.max_pool2d_with_indices,
    3: torch.ops.aten.max_pool3d_with_indices,
}
_BACKWARD = {
    2: torch.ops.aten.max_pool2d_with_indices_backward,
    3: torch.ops.aten.max_pool3d_with_indices_backward,
}


def has_known_slopes(split: SplitNetwork, example: Tensor) -> bool:
    """Whether slopes account for the scores of the head: all its bending functions are known.

    Tested between the activations of a black image and of ``example`` (1, C, *spatial).
    """
    if split.execution.autocast or split.dtype not in (torch.float32, torch.float64):
        return False  # differences of rounded values are noise
    try:
        first, last = (SlopePass(split, x) for x in (torch.zeros_like(example), example))
    except (RuntimeError, TypeError):
        return False
    last.begin_at(first.inputs)
    classes = torch.arange(split.n_classes, device=split.device).unsqueeze(0)
    multipliers = gradients(last.values.scores, classes, last.values.leaf)
    change = last.values.leaf.detach() - first.values.leaf.detach()
    found = (multipliers * change.unsqueeze(1)).flatten(2).sum(2)
    plain = [split.scores(x).scores.detach() for x in (torch.zeros_like(example), example)]
    return agree(found, plain[1] - plain[0])


class SlopePass:
    """A pass through trunk and head that can be differentiated by slopes.

    Attributes
    ----------
    values : activations (M, C, *space), leaf and scores, as of `SplitNetwork.scores`
    inputs : inputs of the head's bending functions, in the order in which they run
    """

    def __init__(self, split: SplitNetwork, x: Tensor) -> None:
        self.inputs: list[Tensor] = []
        self._before: list[Tensor] = []
        self._slopes: dict[int, Any] = {}
        with _Kept(self):
            self.values: Pass = split.scores(x)

    def begin_at(self, before: list[Tensor]) -> None:
        """Let each of the M intervals begin where the inputs were ``before``, and end here."""
        self._before = before
        self._slopes = {}

    def interval(self, number: int) -> tuple[Tensor, Tensor]:
        """Inputs of bending function ``number`` at the beginning and at the end of the intervals."""
        return self._before[number], self.inputs[number]

    def kept(self, number: int, slopes: Any) -> Any:
        """Keep what was computed for one class for the next."""
        self._slopes[number] = slopes
        return slopes

    def found(self, number: int) -> Any:
        """What was computed for another class, or None."""
        return self._slopes.get(number)


class _Kept(TorchFunctionMode):
    """Within it, bending functions behind the layer, where autograd is on, are differentiated so."""

    def __init__(self, done: SlopePass) -> None:
        super().__init__()
        self._done = done

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_grad_enabled():
            if func in _RELU:
                return _Relu.apply(args[0], self._done)
            if func in _MAX_POOL and not kwargs.get("return_indices"):
                return _pooled(self._done, _MAX_POOL[func], *args, **kwargs)
        return func(*args, **kwargs)


class _Relu(Function):
    """ReLU with the slope between two of its inputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, done: SlopePass) -> Tensor:
        ctx.done, ctx.number = done, len(done.inputs)
        done.inputs.append(x)
        return x.relu()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        slope = ctx.done.found(ctx.number)
        if slope is None:
            slope = ctx.done.kept(ctx.number, relu_slope(*ctx.done.interval(ctx.number)))
        return gradient * slope, None


def relu_slope(before: Tensor, after: Tensor) -> Tensor:
    """Slope of the ReLU between two inputs; its derivative where they are equal."""
    change = after - before
    slope = after.relu().sub_(before.relu()).div_(change)
    return torch.where(change == 0, (after > 0).to(slope), slope)


def _pooled(
    done: SlopePass,
    n_axes: int,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    def by_axis(value: Any) -> list[int]:
        return [value] * n_axes if isinstance(value, int) else list(value)

    kernel = by_axis(kernel_size)
    step = by_axis(stride) if stride is not None else kernel
    how = kernel, step, by_axis(padding), by_axis(dilation), ceil_mode
    pooled: Tensor = _MaxPool.apply(x, done, n_axes, how)
    return pooled


class _MaxPool(Function):
    """Max pooling that hands over from one input of a window to another within the interval."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, done: SlopePass, n_axes: int, how: Any) -> Tensor:
        ctx.done, ctx.number, ctx.n_axes, ctx.how = done, len(done.inputs), n_axes, how
        done.inputs.append(x)
        largest, ctx.index = _WITH_INDICES[n_axes](x, *how)
        return largest

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        before, after = ctx.done.interval(ctx.number)
        found = ctx.done.found(ctx.number)
        if found is None:
            index = _WITH_INDICES[ctx.n_axes](before, *ctx.how)[1]
            share = handed_over_at(before, after, index, ctx.index)
            found = ctx.done.kept(ctx.number, (index, share))
        index, share = found
        first = gradient * share
        backward = _BACKWARD[ctx.n_axes]
        by_input = backward(first, after, *ctx.how, index)
        by_input += backward(gradient - first, after, *ctx.how, ctx.index)
        return by_input, None, None, None


def handed_over_at(before: Tensor, after: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Part of the interval in which the input at ``first`` is larger than that at ``last``.

    Parameters
    ----------
    before, after : (M, C, *space) inputs at both ends
    first, last : (M, C, *pooled) positions of the largest in each window at the two ends
    """
    lead = _at(before, first) - _at(before, last)
    overtaken_by = _at(after, last) - _at(after, first)
    total = lead + overtaken_by
    return torch.where(total > 0, lead / total, 0.5)


def _at(values: Tensor, index: Tensor) -> Tensor:
    """Values (M, C, *space) at positions (M, C, *pooled) in space."""
    # The channels last: no rearranging where they lie innermost.
    by_position, positions = values.movedim(1, -1), index.movedim(1, -1)
    found = by_position.flatten(1, -2).gather(1, positions.flatten(1, -2))
    return found.view(positions.shape).movedim(-1, 1)
