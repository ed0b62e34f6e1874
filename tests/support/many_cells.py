"""Label images of many cells of irregular shapes, and their outlines with made-up calls."""

from __future__ import annotations

from uuid import UUID

import numpy as np

from cellcam.exchange.cells import NOT_STATED, Cells, centres_of
from cellcam.exchange.tracing import outlines_of

_SQUARE = 16


def many_cells(n: int, seed: int = 0) -> np.ndarray:
    """``n`` cells in squares of 16 x 16 pixels, int32: discs with ragged edges, some with holes."""
    random = np.random.default_rng(seed)
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    y, x = np.mgrid[:_SQUARE, :_SQUARE] - 7.5
    edge = 5 + random.uniform(0, 1, (n, _SQUARE, _SQUARE)) * random.uniform(0, 2.5, (n, 1, 1))
    hole = random.uniform(0, 1.5, (n, 1, 1)) ** 3
    distance = np.hypot(y, x)
    inside = (distance < edge) & (distance >= hole)
    cells = np.zeros((rows * columns, _SQUARE, _SQUARE), np.int32)
    cells[:n] = inside * (1 + random.permutation(n)[:, None, None])
    image = cells.reshape(rows, columns, _SQUARE, _SQUARE).swapaxes(1, 2)
    return image.reshape(rows * _SQUARE, columns * _SQUARE)


def cells_of(labels: np.ndarray, classes: tuple[str, ...] = ("G1", "M", "")) -> Cells:
    outlines = outlines_of(labels)
    n = len(outlines)
    return Cells(
        ids=tuple(str(UUID(int=number)) for number in outlines),
        numbers=np.array(list(outlines)),
        planes=np.full((n, 2), NOT_STATED),
        centres=centres_of(list(outlines.values())),
        outlines=tuple(outlines.values()),
        classes=tuple(classes[number % len(classes)] for number in outlines),
        colours={"G1": "#cc8800", "M": "#00ddff"},
        measurements={"area": np.arange(n) + 0.5, "p_M": np.where(np.arange(n) % 2, 0.25, np.nan)},
        remarks={"flags": ["edge" if i % 3 == 0 else "" for i in range(n)]},
    )
