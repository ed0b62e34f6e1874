"""Rows of tokens in the head that the scores depend on: the others need not be computed.

Of the last block of a transformer only the class token is read. Its attention and its linear
layers compute all tokens all the same, and a backward pass of each class multiplies their zeros.
Which rows are needed is found by running the head, never read off its modules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cellcam.explain.network.one_query import (
    Projected,
    Projection,
    attend,
    is_worthwhile,
    projected,
)

_WORTHWHILE = 0.5  # of the rows: where more are needed, choosing them gains little
_LINEAR, _GELU, _NORM = functional.linear, functional.gelu, functional.layer_norm
_ATTENTION = functional.scaled_dot_product_attention


class Rows(NamedTuple):
    """The range of rows, ``first`` to ``stop`` of ``total``, that a call must compute.

    ``projected`` is set for an attention whose keys and values need not be computed either.
    """

    first: int
    stop: int
    total: int
    projected: Projected | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.stop - self.first

    def of(self, x: Tensor) -> Tensor:
        """These rows of ``x`` (..., total, features)."""
        return x[..., self.first : self.stop, :]

    def among_zeros(self, x: Tensor) -> Tensor:
        """Values (..., total, features) of which these rows are ``x``, and the others zero."""
        return functional.pad(x, (0, 0, self.first, self.total - self.stop))


class NeededRows(TorchFunctionMode):
    """Within it, calls in the head compute the rows that are needed; trunks have no gradients.

    Parameters
    ----------
    rows : of each call that works row by row, in the order in which they run; None: all rows
    """

    def __init__(self, rows: tuple[Rows | None, ...]) -> None:
        super().__init__()
        self._rows, self._number = rows, count()
        self._linear: dict[int, Projection] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _works_by_row(func, args, kwargs):
            return func(*args, **kwargs)
        number = next(self._number)
        if func is _LINEAR:
            self._linear[number] = Projection.of(*args, **kwargs)
        rows = self._rows[number] if number < len(self._rows) else None
        if rows is None or args[0].shape[-2] != rows.total:
            return func(*args, **kwargs)
        if rows.projected:
            scale = kwargs.get("scale")
            seen = attend(rows.of(args[0]), rows.projected, self._linear, scale)
            return rows.among_zeros(seen)
        return rows.among_zeros(func(rows.of(args[0]), *args[1:], **kwargs))


class _Noted(NeededRows):
    """Within it, the results of the calls that could compute some rows alone are kept."""

    def __init__(self, rows: tuple[Rows | None, ...] = ()) -> None:
        super().__init__(rows)
        self.results: list[Tensor] = []
        self._projected: dict[int, Projected] = {}
        self._outputs: dict[int, tuple[Tensor, int]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        number = len(self.results)
        result = super().__torch_function__(func, types, args, kwargs)
        if not _works_by_row(func, args, kwargs or {}):
            return result
        self.results.append(result)
        if func is _LINEAR:
            self._outputs[number] = result, result._version
        # As many heads of queries as of keys, which are not passed by keyword.
        elif func is _ATTENTION and len(args) == 3 and args[0].shape[:2] == args[1].shape[:2]:
            found = projected(args[1], args[2], self._outputs)
            if found:
                self._projected[number] = found
        return result

    def with_projections(self, number: int, needed: Rows | None) -> Rows | None:
        """Rows of a call, with the projections that it can do without."""
        found = self._projected.get(number)
        if not needed or not found or not is_worthwhile(needed.n, found, self._linear):
            return needed
        return needed._replace(projected=found)


def find_needed_rows(run_head: Callable[[], Tensor]) -> tuple[Rows | None, ...]:
    """The rows of each call that the scores of a head depend on; empty if all calls need all.

    Where an attention has few queries whose keys and values are projections of the same tokens,
    these projections are left out (`attend`), so that they need few rows, too.

    Parameters
    ----------
    run_head : runs the head for several activations, and returns scores (M, n_classes) with
        gradients
    """
    rows, noted = _rows_of(run_head, ())
    few = tuple(noted.with_projections(number, needed) for number, needed in enumerate(rows))
    projections = [needed.projected for needed in few if needed and needed.projected]
    if projections:
        left_out = {heads.number for found in projections for heads in found}
        rows, _ = _rows_of(run_head, few, left_out)
        few = tuple(
            needed if known is None else known for known, needed in zip(few, rows, strict=True)
        )
    return few if any(few) else ()


def _rows_of(
    run_head: Callable[[], Tensor],
    rows: tuple[Rows | None, ...],
    left_out: Collection[int] = (),
) -> tuple[tuple[Rows | None, ...], _Noted]:
    """The rows of each call that the scores depend on, while these rows are computed.

    Of the calls ``left_out`` that nothing depends on any more, a single row.
    """
    with _Noted(rows) as noted:
        scores = run_head()
    results = [result for result in noted.results if result.requires_grad]
    if not results or len(results) < len(noted.results):
        return (), noted
    with torch.enable_grad():
        # No sum of scores that cancel each other.
        total = (scores * torch.linspace(1, 2, scores.shape[1], device=scores.device)).sum()
    gradients = torch.autograd.grad(total, results, allow_unused=True)
    found = []
    for number, (result, gradient) in enumerate(zip(results, gradients, strict=True)):
        unread = gradient is None and number in left_out
        found.append(Rows(0, 1, result.shape[-2]) if unread else _needed(gradient, len(scores)))
    return tuple(found), noted


def _needed(gradient: Tensor | None, n: int) -> Rows | None:
    """The range of rows with gradients, if it is small and the same for each of ``n`` activations.

    Where it is not the same, the head chooses rows by their values.
    """
    if gradient is None or len(gradient) != n:
        return None
    alive = gradient.movedim(-2, 1).flatten(2).any(2)
    places = alive[0].nonzero().flatten().tolist()
    total = alive.shape[1]
    same = bool((alive == alive[0]).all())
    if not same or not places or places[-1] + 1 - places[0] > _WORTHWHILE * total:
        return None
    return Rows(places[0], places[-1] + 1, total)


def _works_by_row(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether each row of the result is computed from the same row of the first argument.

    And from all rows of others, as of the keys and values of an attention without a mask.
    """
    if not torch.is_grad_enabled() or not args or not isinstance(args[0], Tensor):
        return False
    if func is _LINEAR or func is _GELU:
        return args[0].ndim > 2
    if func is _NORM:
        shape = args[1] if len(args) > 1 else kwargs["normalized_shape"]
        return args[0].ndim > 2 and len(shape) == 1
    masked = len(args) > 3 or kwargs.get("attn_mask") is not None or kwargs.get("is_causal")
    return func is _ATTENTION and not masked and not kwargs.get("dropout_p")
