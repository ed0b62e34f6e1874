"""Time and memory of finding cells, over scikit-image and SciPy alone in the same steps.

    python benchmarks/finding.py [--data SHARED/data] [--edges 1024 2048 4096] [--rounds 7]

Both run in this process, in turns; the ratio is the median over the rounds. The plain pipeline is
the one that the tests hold the finder against (`tests/support/plain_finder.py`). Fields are real
images, as they are and tiled, read before. Looking for areas without data, which the plain pipeline
lacks, is timed beside it. Memory is the peak of arrays beside the image (tracemalloc).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cellcam import ThresholdFinder, open_stack
from cellcam.cells.finder import FieldView
from cellcam.stacks.stack import Stack

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from support.plain_finder import other_pixels, plain_cells  # noqa: E402

# name, file, channel (of the last axis of a colour picture, else of the stack), diameter in pixels
FIELDS = [
    ("mitocheck", "tiff_zoo/neubias/xy_8bit__mitocheck_incenp_t1.tif", 0, 25),
    ("bbbc013", "tiff_zoo/cellprofiler/bbbc013/Channel2-01-A-01.tif", 0, 18),
    ("ExampleHuman", "tiff_zoo/cpexamples/ExampleHuman/AS_09125_050116030001_D03f00d0.tif", 0, 17),
    ("mif_lung", "fov_boxes/mif_lung/composite.tif", 2, 20),
]


def fields(data: Path | None, edges: list[int]) -> Iterator[tuple[str, np.ndarray, float]]:
    demo = open_stack(HERE.parent / "sample_data" / "demo_cells.ome.tif").field(0, 0)[0]
    images = [("demo", np.asarray(demo), 30.8)]
    for name, file, channel, diameter in FIELDS if data else []:
        assert data is not None
        images.append((name, read(data / file, channel), diameter))
    for name, image, diameter in images:
        yield name, image, diameter
        for edge in edges:
            yield name, tiled(image, edge), diameter


def read(file: Path, channel: int) -> np.ndarray:
    import tifffile

    image = tifffile.imread(file)
    return image[..., channel] if image.ndim == 3 else image


def tiled(image: np.ndarray, edge: int) -> np.ndarray:
    """Mirrored tiles, so that no cell is cut at a seam."""
    return np.pad(image, [(0, max(0, edge - n)) for n in image.shape], "symmetric")[:edge, :edge]


def seconds(run: Callable[[], object]) -> float:
    """Processor time; neither pipeline uses a second core."""
    started = time.process_time()
    run()
    return time.process_time() - started


def peak_bytes(run: Callable[[], object]) -> int:
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the real images")
    parser.add_argument("--edges", type=int, nargs="*", default=[1024, 2048, 4096])
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    print(
        "| field | pixels | cells | other pixels | ms/Mpx | plain | ratio | fill | B/px | plain |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, image, diameter in fields(chosen.data, chosen.edges):
        stack = Stack.from_array(image, "YX", ["cells"])

        view = FieldView.whole(stack).with_pixels(["cells"])

        def ours(view: FieldView = view, diameter: float = diameter) -> np.ndarray:
            finder = ThresholdFinder("cells", diameter=diameter)
            return finder.label(view, finder.measure(view))

        def fill(stack: Stack = stack) -> FieldView:
            return FieldView.whole(stack).with_pixels(["cells"]).with_fill(["cells"], 64)

        def plain(image: np.ndarray = image, diameter: float = diameter) -> np.ndarray:
            return plain_cells(image, diameter)

        cells, expected = ours(), plain()
        times = [(seconds(ours), seconds(plain), seconds(fill)) for _ in range(chosen.rounds)]
        ratios = [one / other for one, other, _ in times]
        per_pixel = [1e9 * statistics.median(one) / image.size for one in zip(*times, strict=True)]
        memory = [peak_bytes(run) / image.size for run in (ours, plain)]
        print(
            f"| {name} | {' x '.join(map(str, image.shape))} | {cells.max()}, {expected.max()} "
            f"| {other_pixels(cells, expected)} | {per_pixel[0]:.0f} | {per_pixel[1]:.0f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f}) "
            f"| {per_pixel[2]:.0f} "
            f"| {memory[0]:.0f} | {memory[1]:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
