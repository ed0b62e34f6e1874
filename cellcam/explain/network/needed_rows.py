"""Rows of tokens in the head that the scores depend on: the others need not be computed.

Of the last block of a transformer only the class token is read. Its attention and its linear
layers compute all tokens all the same, and a backward pass of each class multiplies their zeros.
Which rows are needed is found by running the head, never read off its modules.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_WORTHWHILE = 0.5  # of the rows: where more are needed, choosing them gains little
_LINEAR = functional.linear
_ATTENTION = functional.scaled_dot_product_attention


class Rows(NamedTuple):
    """The range of rows, ``first`` to ``stop`` of ``total``, that a call must compute."""

    first: int
    stop: int
    total: int

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
    rows : of each linear layer and attention in the order in which they run; None: all rows
    """

    def __init__(self, rows: tuple[Rows | None, ...]) -> None:
        super().__init__()
        self._rows, self._number = rows, count()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _chooses_rows(func, args, kwargs):
            return func(*args, **kwargs)
        number = next(self._number)
        rows = self._rows[number] if number < len(self._rows) else None
        if rows is None or args[0].shape[-2] != rows.total:
            return func(*args, **kwargs)
        return rows.among_zeros(func(rows.of(args[0]), *args[1:], **kwargs))


class _Noted(TorchFunctionMode):
    """Within it, the results of the calls that could compute some rows alone are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if _chooses_rows(func, args, kwargs or {}):
            self.results.append(result)
        return result


def find_needed_rows(run_head: Callable[[], Tensor]) -> tuple[Rows | None, ...]:
    """The rows of each call that the scores of a head depend on; empty if all calls need all.

    Parameters
    ----------
    run_head : runs the head for several activations, and returns scores (M, n_classes) with
        gradients
    """
    with _Noted() as noted:
        scores = run_head()
    results = [result for result in noted.results if result.requires_grad]
    if not results or len(results) < len(noted.results):
        return ()
    with torch.enable_grad():
        # No sum of scores that cancel each other.
        total = (scores * torch.linspace(1, 2, scores.shape[1], device=scores.device)).sum()
    gradients = torch.autograd.grad(total, results, allow_unused=True)
    rows = tuple(_needed(gradient, len(scores)) for gradient in gradients)
    return rows if any(rows) else ()


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


def _chooses_rows(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether each row of the result is computed from the same row of the first argument.

    And from all rows of others, as of the keys and values of an attention without a mask.
    """
    if not torch.is_grad_enabled() or not args or not isinstance(args[0], Tensor):
        return False
    if func is _LINEAR:
        return args[0].ndim > 2
    masked = len(args) > 3 or kwargs.get("attn_mask") is not None or kwargs.get("is_causal")
    return func is _ATTENTION and not masked
