"""Results that are not on the screen, because they are about other choices than the present."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellcam.layers.result_layers import ResultLayers
    from napari_cellcam.state.origin import Origin

_MOST = 4  # each holds label images and maps in memory


class KeptResults:
    """The latest results that were taken off the screen, by their origin."""

    def __init__(self) -> None:
        self._results: dict[Origin, ResultLayers] = {}

    def keep(self, results: ResultLayers) -> None:
        """Keep results; the oldest of more than four are dropped."""
        self._results[results.session.origin] = results
        while len(self._results) > _MOST:
            del self._results[next(iter(self._results))]

    def take(self, origin: Origin | None) -> ResultLayers | None:
        """Results with this origin, which are then no longer kept; None if there are none."""
        return None if origin is None else self._results.pop(origin, None)

    def drop_without(self, layers: Iterable[str]) -> None:
        """Drop results of images that are closed.

        Parameters
        ----------
        layers : ids of all layers of the viewer
        """
        there = set(layers)
        self._results = {
            origin: results
            for origin, results in self._results.items()
            if all(state.layer in there for _, state in origin.layers)
        }
