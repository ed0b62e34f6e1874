"""Slopes of a head between two points, in place of its derivatives at one.

Between the ends of an interval, the inputs of each ReLU change from z0 to z1, its output by
ReLU(z1) - ReLU(z0). A backward pass that multiplies by

    (ReLU(z1) - ReLU(z0)) / (z1 - z0)

instead of the derivative gives multipliers m of the activations with  sum m (A1 - A0) = y1 - y0,
whatever happens in between. Max pooling hands over from the largest input of the one end to that
of the other where straight lines between their values cross. What is linear keeps its gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cellcam.explain.network.probes import agree
from cellcam.explain.network.splitting import Pass, SplitNetwork
from cellcam.explain.scores import gradients

_STRONG = 30.0
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

    Tested between a black image, ``example`` (1, C, *spatial), and images so strong that functions
    bend which are straight in the usual range.
    """
    if split.execution.autocast or split.dtype not in (torch.float32, torch.float64):
        return False  # differences of rounded values are noise
    if split.layout.name != "channels_first" or split.uncut:
        return False  # ReLUs and pooling are known in this layout
    images = torch.cat([0 * example, example, -_STRONG * example, _STRONG * example])
    scores = split.scores(images).scores.detach()
    try:
        begin, end = SlopePass(split, images[:-1]), SlopePass(split, images[1:])
        end.begin_at(begin.ends)
        classes = torch.arange(split.n_classes, device=split.device).expand(len(images) - 1, -1)
        multipliers = gradients(end.values.scores, classes, end.values.leaf, split.layout.arranged)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False  # e.g. which functions run depends on the image
    change = end.values.leaf.detach() - begin.values.leaf.detach()
    change = split.layout.arranged(change)
    found = (multipliers * change.unsqueeze(1)).flatten(2).sum(2)
    return agree(found, scores[1:] - scores[:-1])


class Ends(NamedTuple):
    """Values of a bending function at M points."""

    input: Tensor  # (M, C, *space)
    output: Tensor  # (M, C, *space)
    largest: Tensor | None = None  # (M, C, *space) of max pooling: positions of the outputs

    def of(self, points: slice) -> Ends:
        """Values at some of the points."""
        largest = None if self.largest is None else self.largest[points]
        return Ends(self.input[points], self.output[points], largest)


class SlopePass:
    """A pass through trunk and head that can be differentiated by slopes.

    Attributes
    ----------
    values : activations (M, C, *space), leaf and scores, as of `SplitNetwork.scores`
    ends : values of the head's bending functions, in the order in which they run
    """

    def __init__(self, split: SplitNetwork, x: Tensor) -> None:
        self.ends: list[Ends] = []
        self.before: list[Ends] = []
        self.slopes: dict[int, Any] = {}  # by number of the function, for the next class
        with _Kept(self):
            self.values: Pass = split.scores(x)

    def begin_at(self, before: list[Ends]) -> None:
        """Let each of M intervals begin where the functions had values ``before``, and end here."""
        self.before, self.slopes = before, {}


class _Kept(TorchFunctionMode):
    """Within it, bending functions behind the layer, where autograd is on, keep their values."""

    def __init__(self, done: SlopePass) -> None:
        super().__init__()
        self._done = done
        # The last output of a batch norm, and its input.
        self._normalised: tuple[Any, Any] = None, None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if func in _RELU:
            x = args[0]
            # Behind a batch norm, the slope of both together: one multiplication instead of two.
            normalised, before = self._normalised
            return _Relu.apply(before if x is normalised else x, x.detach(), self._done)
        if func in _MAX_POOL and not kwargs.get("return_indices"):
            return _pooled(self._done, _MAX_POOL[func], *args, **kwargs)
        found = func(*args, **kwargs)
        if func is functional.batch_norm:
            self._normalised = found, args[0]
        return found


class _Relu(Function):
    """ReLU with the slope between two points."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, normalised: Tensor, done: SlopePass) -> Tensor:
        ctx.done, ctx.number = done, len(done.ends)
        output = normalised.relu()
        done.ends.append(Ends(x.detach(), output.detach()))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        done, number = ctx.done, ctx.number
        if number not in done.slopes:
            done.slopes[number] = slope(done.before[number], done.ends[number])
        return gradient * done.slopes[number], None, None


def slope(before: Ends, after: Ends) -> Tensor:
    """Change of the output over that of the input; 0 where nothing changes."""
    return (after.output - before.output).div_(after.input - before.input).nan_to_num_(0.0)


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
        ctx.done, ctx.number, ctx.n_axes, ctx.how = done, len(done.ends), n_axes, how
        output, index = _WITH_INDICES[n_axes](x, *how)
        done.ends.append(Ends(x.detach(), output.detach(), index))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        done, number = ctx.done, ctx.number
        before, after = done.before[number], done.ends[number]
        if number not in done.slopes:
            done.slopes[number] = handed_over_at(before, after)
        first = gradient * done.slopes[number]
        backward = _BACKWARD[ctx.n_axes]
        by_input = backward(first, after.input, *ctx.how, before.largest)
        by_input += backward(gradient - first, after.input, *ctx.how, after.largest)
        return by_input, None, None, None


def handed_over_at(before: Ends, after: Ends) -> Tensor:
    """Part of the interval in which the input that was largest before is the largest."""
    assert before.largest is not None
    assert after.largest is not None
    lead = before.output - _at(before.input, after.largest)
    total = (after.output - _at(after.input, before.largest)).add_(lead)
    return lead.div_(total).nan_to_num_(0.5)


def _at(values: Tensor, index: Tensor) -> Tensor:
    """Values (M, C, *space) at positions (M, C, *pooled) in space."""
    # The channels last: no rearranging where they lie innermost.
    by_position, positions = values.movedim(1, -1), index.movedim(1, -1)
    found = by_position.flatten(1, -2).gather(1, positions.flatten(1, -2))
    return found.view(positions.shape).movedim(-1, 1)


def joined_ends(first: list[Ends], last: list[Ends]) -> list[Ends]:
    """Values at the points of both, one after the other."""

    def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else torch.cat([a, b])

    pairs = zip(first, last, strict=True)
    return [Ends(*(both(x, y) for x, y in zip(a, b, strict=True))) for a, b in pairs]  # type: ignore[arg-type]
