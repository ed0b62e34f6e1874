"""A simulated slide larger than memory should be: time and memory of a batch over it.

    python benchmarks/huge_image.py slide.ome.tif --size 20000      # once: 90,000 cells, 3 GB
    python benchmarks/huge_image.py slide.ome.tif --model MODEL --out OUT --explain 0.01
    python benchmarks/huge_image.py slide.ome.tif --model MODEL --bare 4

The second line runs `cellcam batch` and samples the resident memory of the driver and of every
worker. The third compares finding and cropping of some blocks with a bare loop that only reads
them and runs the finder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TILE, SPACING, PIXEL_UM = 512, 200 / 3, 0.325
CHANNELS = ("DNA", "tubulin", "marker", "membrane")


def write_slide(path: Path, size: int) -> None:
    """Cells of radius 7 to 12 on a shaken grid, (size / 66.7) squared of them, in four channels."""
    import tifffile

    metadata = {
        "axes": "CYX",
        "Channel": {"Name": list(CHANNELS)},
        "PhysicalSizeX": PIXEL_UM,
        "PhysicalSizeY": PIXEL_UM,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeYUnit": "µm",
    }
    tifffile.imwrite(
        path,
        _tiles(size),
        shape=(len(CHANNELS), size, size),
        dtype=np.uint16,
        tile=(TILE, TILE),
        photometric="minisblack",
        compression="zlib",
        compressionargs={"level": 1},
        bigtiff=True,
        metadata=metadata,
    )


def _tiles(size: int) -> Iterator[NDArray[np.uint16]]:
    noise = np.random.default_rng(0).normal(size=(2 * TILE, 2 * TILE)).astype(np.float32)
    for channel in range(len(CHANNELS)):
        for y in range(0, size, TILE):
            for x in range(0, size, TILE):
                signal = _drawn(y, x, size, channel)
                dy, dx = np.random.default_rng((channel, y, x)).integers(0, TILE, 2)
                rough = signal + np.sqrt(signal) * noise[dy : dy + TILE, dx : dx + TILE]
                yield np.clip(rough, 0, 65535).astype(np.uint16)


def _drawn(y: int, x: int, size: int, channel: int) -> NDArray[np.float32]:
    """Expected counts of one tile."""
    image = np.full((TILE, TILE), 100, np.float32)
    first = [max(0, int((a - 30) / SPACING)) for a in (y, x)]
    last = [min(int(size / SPACING), int((a + TILE + 30) / SPACING) + 1) for a in (y, x)]
    for row in range(first[0], last[0]):
        for column in range(first[1], last[1]):
            draw = np.random.default_rng((row, column)).uniform(size=6)
            cy = (row + 0.3 + 0.4 * draw[0]) * SPACING - y
            cx = (column + 0.3 + 0.4 * draw[1]) * SPACING - x
            y0, x0 = int(cy) - 14, int(cx) - 14
            ys, xs = slice(max(0, y0), max(0, y0 + 29)), slice(max(0, x0), max(0, x0 + 29))
            part = image[ys, xs]
            if not part.size:
                continue
            gy = np.arange(ys.start, ys.start + part.shape[0])[:, None] - cy
            gx = np.arange(xs.start, xs.start + part.shape[1])[None] - cx
            inside = (gy / (7 + 5 * draw[2])) ** 2 + (gx / (7 + 5 * draw[3])) ** 2 < 1
            part[inside] = 100 + (150 + 350 * draw[4]) * (1 - 0.2 * channel * draw[5])
    return image


def run_batch(slide: Path, model: Path, out: Path, explain: float, workers: int) -> None:
    """A batch in processes of its own, watched."""
    import psutil

    command = [
        sys.executable, "-m", "cellcam", "batch", str(slide), "--model", str(model),
        "--out", str(out), "--workers", str(workers), "--explain", str(explain), "--device", "cpu",
    ]  # fmt: skip
    started = time.monotonic()
    process = subprocess.Popen(command)
    peaks: dict[int, int] = {}
    while process.poll() is None:
        try:
            driver = psutil.Process(process.pid)
            for one in [driver, *driver.children(recursive=True)]:
                peaks[one.pid] = max(peaks.get(one.pid, 0), one.memory_info().rss)
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.2)
    seconds = time.monotonic() - started
    driver_peak = peaks.pop(process.pid, 0) / 2**20
    print(f"status {process.returncode}, {seconds:.0f} s, driver {driver_peak:.0f} MB")
    print("other processes, MB:", sorted(round(peak / 2**20) for peak in peaks.values()))


def compare_with_bare_loop(slide: Path, model: Path, n_blocks: int) -> None:
    """Seconds a block: reading and finding alone, against finding with all that batch does."""
    from cellcam.batch.plan import border_of
    from cellcam.cells.finder import FieldView
    from cellcam.models.bundle import read_spec
    from cellcam.pipeline.find_field import find_field, with_fill
    from cellcam.pipeline.matching import FieldPlace, match
    from cellcam.request import Request
    from cellcam.stacks.blocks import blocks_of
    from cellcam.stacks.opening import open_stack

    spec, stack = read_spec(model), open_stack(slide)
    matched = match(stack, spec, Request())
    finder, place = matched.finder, FieldPlace(0, matched.z)
    whole = with_fill(FieldView.whole(stack), matched)
    measured = finder.measure(whole)
    blocks = blocks_of(stack, border_of(stack, spec, finder.border(measured)))
    blocks = blocks[len(blocks) // 2 :][:n_blocks]
    bare = ours = 0.0
    for block in blocks:
        started = time.perf_counter()
        view = whole.cut(block.read).with_pixels([*matched.channels, *finder.channels])
        finder.label(view, measured)
        middle = time.perf_counter()
        find_field(matched, place, block, measured, whole.fill)
        bare, ours = bare + middle - started, ours + time.perf_counter() - middle
    print(f"{len(blocks)} blocks: bare {bare:.2f} s, find and crop {ours:.2f} s, {ours / bare:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--size", type=int)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--explain", type=float, default=0.01)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--bare", type=int)
    chosen = parser.parse_args()
    if chosen.size:
        write_slide(chosen.slide, chosen.size)
    if chosen.out:
        run_batch(chosen.slide, chosen.model, chosen.out, chosen.explain, chosen.workers)
    if chosen.bare:
        compare_with_bare_loop(chosen.slide, chosen.model, chosen.bare)
