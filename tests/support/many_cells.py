"""Label images of many cells of irregular shapes."""

from __future__ import annotations

import numpy as np

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
