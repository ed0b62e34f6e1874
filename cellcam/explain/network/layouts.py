"""Layouts of a layer's output: which values are features, and which place each belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

import torch
from torch import Tensor

LayoutName = Literal["channels_first", "channels_last", "tokens", "tokens_last", "tokens_first"]
# Or a function from a layer's output to (N, features, *space).
LayoutChoice = LayoutName | Callable[[Tensor], Tensor] | None

_MOST_OTHERS = 16  # class and register tokens
_NAMES = get_args(LayoutName)


@dataclass(frozen=True)
class Layout:
    """How the output of a layer is arranged, seen as features at places.

    Values without a place, those of class and register tokens, come before the places.
    """

    name: str
    space: torch.Size
    n_features: int
    arranged: Callable[[Tensor], Tensor]  # output -> (N, C, n_others + positions)
    n_others: int = 0
    image_axis: int = 0
    space_axes: tuple[int, ...] | None = None  # of the output; None where they are not its own

    def __str__(self) -> str:
        if not self.name.startswith("tokens"):
            return self.name
        others = f" and {self.n_others} without a place" if self.n_others else ""
        return f"{self.name} ({' x '.join(map(str, self.space))}{others})"

    @property
    def can_be_pooled(self) -> bool:
        """Whether the means over space of an output are an output of fewer positions."""
        return self.space_axes is not None and not self.n_others and self.image_axis == 0

    def means(self, output: Tensor) -> Tensor:
        """Mean of each feature, with a single position; only where `can_be_pooled`."""
        assert self.space_axes is not None
        return output.mean(self.space_axes, keepdim=True)

    def is_place(self, output: Tensor) -> Tensor:
        """1 where a value of ``output`` has a place, else 0; shape and type of ``output``."""
        # The gradient of a sum over all places: right for any arrangement.
        with torch.enable_grad():
            leaf = torch.zeros_like(output).requires_grad_()
            total = self.arranged(leaf)[..., self.n_others :].sum()
        return torch.autograd.grad(total, leaf)[0]


def channels_first(shape: torch.Size) -> Layout:
    """(N, C, *space)."""
    axes = tuple(range(2, len(shape)))
    return Layout(
        "channels_first", shape[2:], shape[1], lambda output: output.flatten(2), space_axes=axes
    )


def channels_last(shape: torch.Size) -> Layout:
    """(N, *space, C), as in Swin transformers and within the blocks of ConvNeXt."""

    def arranged(output: Tensor) -> Tensor:
        return output.flatten(1, -2).mT

    axes = tuple(range(1, len(shape) - 1))
    return Layout("channels_last", shape[1:-1], shape[-1], arranged, space_axes=axes)


def tokens(name: LayoutName, n_features: int, grid: torch.Size, before: int, after: int) -> Layout:
    """A row of tokens: (N, T, C), (N, C, T) named ``tokens_last``, or (T, N, C) ``tokens_first``.

    The tokens of the places, row by row, lie between others without a place.
    """
    order = {"tokens": (0, 2, 1), "tokens_last": (0, 1, 2), "tokens_first": (1, 2, 0)}[name]

    def arranged(output: Tensor) -> Tensor:
        by_token = output.permute(order)
        if not after:
            return by_token
        places, behind = by_token.split([by_token.shape[-1] - after, after], -1)
        return torch.cat([behind, places], -1)

    return Layout(
        name,
        grid,
        n_features,
        arranged,
        n_others=before + after,
        image_axis=order[0],
        space_axes=(order[2],),
    )


def layout_by_function(function: Callable[[Tensor], Tensor], output: Tensor, ndim: int) -> Layout:
    """Layout that a function from outputs to (N, features, *space) describes.

    Parameters
    ----------
    output : output of the layer for one image
    ndim : number of axes of the network's input

    Raises
    ------
    ValueError
        If the function does more than choose and rearrange values, so that gradients cannot be
        arranged in the same way.
    """
    numbers = torch.arange(output.numel(), dtype=torch.float64)
    places = function(numbers.view(output.shape))
    if places.ndim != ndim or len(places) != 1:
        raise ValueError(
            f"layout gives shape {tuple(places.shape)} for one image's {tuple(output.shape)}; it "
            f"must give (N, features, *space) with {ndim} axes."
        )
    chosen = places.flatten().long().clamp(0, output.numel() - 1)
    # Values that are only moved keep to their numbers whatever these are.
    only_moved = all(
        torch.equal(function(values.view(output.shape)).flatten(), values[chosen])
        for values in (numbers, numbers.square())
    )
    if not only_moved or len(chosen.unique()) < len(chosen):
        raise ValueError(
            "layout must only choose and rearrange the values of a layer's output: the same "
            "function arranges their gradients."
        )
    left_out = torch.ones_like(numbers, dtype=torch.bool)
    left_out[chosen] = False
    rest = left_out.nonzero().squeeze(1)
    n_features, space = places.shape[1], places.shape[2:]
    n_others = -(-len(rest) // n_features)

    def arranged(output: Tensor) -> Tensor:
        found = function(output).flatten(2)
        if not n_others:
            return found
        others = output.reshape(len(found), -1)[:, rest]
        # Zeros fill up; they add nothing to sums over values without a place.
        others = torch.nn.functional.pad(others, (0, n_others * n_features - len(rest)))
        return torch.cat([others.view(len(found), n_features, n_others), found], 2)

    name = getattr(function, "__name__", type(function).__name__)
    return Layout(name, space, n_features, arranged, n_others)


def possible_layouts(
    shape: torch.Size, image_shape: torch.Size, seen: Iterable[torch.Size] = ()
) -> list[Layout]:
    """Layouts that the shape of one image's output allows, with more than one position.

    Parameters
    ----------
    shape : of the output
    image_shape : (1, channels, *spatial) of the input
    seen : shapes of other outputs in the same pass; the grid of tokens may be among them
    """
    found: list[Layout] = []
    spaces = shape[2:], shape[1:-1]
    if len(shape) == len(image_shape) and shape[0] == 1 and all(s.numel() > 1 for s in spaces):
        found += [channels_first(shape), channels_last(shape)]
    if len(shape) == 3:
        grids = _grids(image_shape, seen)
        if shape[0] == 1:
            found += _token_layouts("tokens", shape[1], shape[2], grids)
            found += _token_layouts("tokens_last", shape[2], shape[1], grids)
        elif shape[1] == 1:
            found += _token_layouts("tokens_first", shape[0], shape[2], grids)
    return [layout for layout in found if layout.space.numel() > 1]


def _token_layouts(
    name: LayoutName, n_tokens: int, n_features: int, grids: set[torch.Size]
) -> list[Layout]:
    """Layouts of a row of tokens, a grid of which has places."""
    found = []
    for grid in sorted(grids, key=prod, reverse=True):
        others = n_tokens - grid.numel()
        if 0 <= others <= min(_MOST_OTHERS, grid.numel()):
            found.append(tokens(name, n_features, grid, others, 0))
            if others:
                found.append(tokens(name, n_features, grid, 0, others))
    return found


def _grids(image_shape: torch.Size, seen: Iterable[torch.Size]) -> set[torch.Size]:
    """Grids of patches: those of the outputs seen, and all with patches as long as wide."""
    space = image_shape[2:]
    grids = {
        torch.Size(round(length * first / space[0]) or 1 for length in space)
        for first in range(1, space[0] + 1)
    }
    for shape in seen:
        if len(shape) == len(image_shape):
            grids |= {shape[2:], shape[1:-1]}
    return grids


def check_layout_choice(choice: LayoutChoice) -> None:
    """Raise `ValueError` for a name that is none."""
    if choice is not None and not callable(choice) and choice not in _NAMES:
        raise ValueError(
            f"layout={choice!r} is unknown. Choose one of {', '.join(_NAMES)}, or pass a function "
            "from the layer's output to (N, features, *space)."
        )
