"""What a batch costs beside the network itself, and how it grows.

    python benchmarks/batch.py WORK --model MODEL --floor 40      # fields of the demo's kind
    python benchmarks/batch.py WORK --model MODEL --tiny 1000 10000
    python benchmarks/batch.py WORK --model MODEL --speed-up 40

--floor compares cells per second of `run_batch`, classifying only and with explanations, with the
same network in a bare loop over crops that lie ready. --tiny gives the time for each of many
images of 64 x 64 pixels. --speed-up compares one worker with two.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import numpy as np

from cellcam.models.bundle import load_model
from cellcam.pipeline.batch import How, run_batch
from cellcam.pipeline.choices import Choices
from cellcam.pipeline.field import MAP_RTOL
from cellcam.pipeline.found_field import find_field
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

PIXEL_UM = 0.325


def write_fields(
    folder: Path, count: int, size: int, channels: tuple[str, ...], cells: int
) -> None:
    for i in range(count):
        random = np.random.default_rng(i)
        y, x = np.mgrid[:size, :size]
        image = np.full((len(channels), size, size), 100.0)
        for cy, cx in random.uniform(0, size, (cells, 2)):
            inside = np.hypot(y - cy, x - cx) < random.uniform(9, 13)
            image[:, inside] = random.uniform(300, 600, (len(channels), 1))
        pixels = random.poisson(image).astype(np.uint16)[None, :, None]
        size_um = PixelSize(None, PIXEL_UM, PIXEL_UM)
        write_ome_tiff(folder / f"f{i:05}.ome.tif", pixels, channels, size_um)


def timed(folder: Path, model: Path, out: Path, explained: float, how: How) -> tuple[int, float]:
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    done = run_batch([folder], model, out, Choices(explained=explained), how=how)
    assert done is not None
    return done.cells, time.perf_counter() - started


def floor(folder: Path, model_folder: Path, explained: bool, device: str) -> tuple[int, float]:
    """Cells and seconds of the network alone, on crops that lie ready."""
    model = load_model(model_folder, device)
    crops = np.concatenate(
        [find_field(open_stack(path), model.spec).crops for path in sorted(folder.iterdir())]
    )
    model.probabilities(crops[:64])
    started = time.perf_counter()
    model.probabilities(crops)
    if explained:
        for i in range(0, len(crops), 64):
            model.explain(crops[i : i + 64], rtol=MAP_RTOL, rtol_of="strongest")
            model.channel_shares(crops[i : i + 64])
    return len(crops), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--floor", type=int)
    parser.add_argument("--tiny", type=int, nargs="+", default=[])
    parser.add_argument("--speed-up", type=int)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    channels = load_model(chosen.model, "cpu").spec.channels
    here = How("sync", device=chosen.device)
    if chosen.floor:
        folder = chosen.work / "fields"
        write_fields(folder, chosen.floor, 448, channels, 42)
        for explained in (False, True):
            n, seconds = floor(folder, chosen.model, explained, chosen.device)
            cells, whole = timed(folder, chosen.model, chosen.work / "out", float(explained), here)
            told = "classify and explain" if explained else "classify only"
            ratio = (cells / whole) / (n / seconds)
            print(
                f"{told}: floor {n / seconds:.0f}, batch {cells / whole:.0f} cells/s, {ratio:.2f}"
            )
    for count in chosen.tiny:
        folder = chosen.work / f"tiny{count}"
        write_fields(folder, count, 64, channels, 1)
        _, seconds = timed(folder, chosen.model, chosen.work / "out", 0, here)
        print(f"{count} images of 64 x 64: {1000 * seconds / count:.1f} ms each")
    if chosen.speed_up:
        folder = chosen.work / "fields"
        write_fields(folder, chosen.speed_up, 448, channels, 42)
        for workers in (1, 2):
            how = How(workers=workers, device=chosen.device)
            _, seconds = timed(folder, chosen.model, chosen.work / "out", 1.0, how)
            print(f"{workers} worker(s): {seconds:.1f} s")


if __name__ == "__main__":
    main()
