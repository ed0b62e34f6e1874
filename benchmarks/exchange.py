"""Time and fidelity of round trips through other programs' formats.

    python benchmarks/exchange.py [N_CELLS]

Prints a line for each format: seconds to write and to read N cells (100,000), the size of the
file, and which part of the ids, the classes and the pixels came back.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cellcam.exchange.cells import NOT_STATED, Cells, ImageFacts, centres_of
from cellcam.exchange.formats import FORMATS
from cellcam.exchange.spans import spans_of
from cellcam.exchange.tracing import outlines_of

EDGE = 16


def cells_in_squares(n: int) -> np.ndarray:
    """Label image (Y, X) of ``n`` ragged discs of about 80 pixels, some with holes."""
    random = np.random.default_rng(0)
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    y, x = np.mgrid[:EDGE, :EDGE] - (EDGE - 1) / 2
    squares = np.zeros((rows * columns, EDGE, EDGE), np.int32)
    for i in range(n):
        edge = 5 + random.uniform(0, 1, (EDGE, EDGE)) * random.uniform(0, 2.5)
        hole = random.uniform(0, 1.5) ** 3
        distance = np.hypot(y, x)
        squares[i] = ((distance < edge) & (distance >= hole)) * (i + 1)
    image = squares.reshape(rows, columns, EDGE, EDGE).swapaxes(1, 2)
    return image.reshape(rows * EDGE, columns * EDGE)


def called(labels: np.ndarray) -> Cells:
    """Cells with classes and ten measurements each."""
    outlines = outlines_of(labels)
    n = len(outlines)
    random = np.random.default_rng(1)
    return Cells(
        ids=tuple(f"{number:08x}-0000-4000-8000-000000000000" for number in outlines),
        numbers=np.array(list(outlines)),
        planes=np.full((n, 2), NOT_STATED),
        centres=centres_of(list(outlines.values())),
        outlines=tuple(outlines.values()),
        classes=tuple(("G1", "S", "M")[i % 3] for i in range(n)),
        colours={"G1": "#cc8800", "S": "#00ddff", "M": "#99eecc"},
        measurements={f"p_{i}": random.uniform(size=n) for i in range(10)},
        image=ImageFacts("field", (labels.shape[0], labels.shape[1])),
    )


def main() -> None:
    """Measure every format that is written and read."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    labels = cells_in_squares(n)
    height, width = labels.shape
    started = time.perf_counter()
    cells = called(labels)
    print(f"{n} cells in {height} x {width} pixels traced in {time.perf_counter() - started:.1f} s")
    for known in FORMATS:
        if not (known.reader and known.writer):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"cells{known.endings[0]}"
            started = time.perf_counter()
            known.write(cells, path)
            written = time.perf_counter()
            found = known.read(path)
            read = time.perf_counter()
            size = path.stat().st_size / 2**20
        back = found[0] if isinstance(found, list) else found
        assert isinstance(back, Cells)
        spans = spans_of(back.outlines, back.numbers, (height, width))
        painted = spans.paint(0, height, 0, width)
        done = time.perf_counter()
        same = len(back) == len(cells)
        print(
            f"{known.name}: written {written - started:.1f} s, read {read - written:.1f} s, "
            f"painted {done - read:.1f} s, {size:.0f} MiB, ids "
            f"{np.mean(np.array(back.ids) == np.array(cells.ids)) if same else 0:.0%}, labels "
            f"{np.mean(back.numbers == cells.numbers) if same else 0:.0%}, classes "
            f"{np.mean(np.array(back.classes) == np.array(cells.classes)) if same else 0:.0%}, "
            f"least IoU {least_iou(labels, painted):.4f}"
        )


def least_iou(labels: np.ndarray, painted: np.ndarray) -> float:
    """Smallest intersection over union of the cells of two label images."""
    n = int(max(labels.max(), painted.max())) + 1
    common = np.bincount(labels[labels == painted], minlength=n)
    both = np.bincount(labels.ravel(), minlength=n) + np.bincount(painted.ravel(), minlength=n)
    return float((common[1:] / np.maximum(both - common, 1)[1:]).min())


if __name__ == "__main__":
    main()
