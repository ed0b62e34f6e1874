"""Batches that fit the device's memory."""

from __future__ import annotations

from collections.abc import Callable


class Batches:
    """Work cut into slices; one that does not fit the device's memory is halved, for good.

    Attributes
    ----------
    size : of a slice, in cells
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, count: int, work: Callable[[slice], None]) -> None:
        """Call ``work`` with slices that cover ``count`` cells.

        Raises
        ------
        torch.OutOfMemoryError
            If a single cell does not fit.
        """
        first = 0
        while first < count:
            part = slice(first, min(first + self.size, count))
            if self._fits(work, part):
                first = part.stop

    def _fits(self, work: Callable[[slice], None], part: slice) -> bool:
        import torch

        try:
            work(part)
            return True
        except torch.OutOfMemoryError:
            if self.size == 1:
                raise
        # Only now that the error is gone are the tensors that its traceback held.
        self.size = max(1, self.size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False
