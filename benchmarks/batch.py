"""What a batch costs beside the network itself, and how it grows.

    python benchmarks/batch.py WORK --model MODEL --floor 400 --networks small_cnn densenet121
    python benchmarks/batch.py WORK --model MODEL --floor 40 --explain
    python benchmarks/batch.py WORK --model MODEL --tiny 1000 10000
    python benchmarks/batch.py WORK --model MODEL --speed-up 40

--floor compares cells per second of `run_batch` over so many fields of the demo's kind, start and
report included, with the same network in a bare loop over crops that lie ready; --networks takes
others than the model's. --tiny gives the time for each of many images of 64 x 64 pixels.
--speed-up compares one worker with two.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
import torch

from cellcam.batch.run import Resources, run_batch
from cellcam.models.bundle import load_model, save_model
from cellcam.models.model import CellModel
from cellcam.models.registry import build_network, network_entry
from cellcam.pipeline.find_field import find_field
from cellcam.pipeline.matching import match
from cellcam.request import DEFAULT_RTOL, Request
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

PIXEL_UM = 0.325
BATCH = 64


def written_fields(
    folder: Path, count: int, size: int, channels: tuple[str, ...], cells: int
) -> Path:
    """A folder of simulated fields; one that is there already is kept."""
    if len(list(folder.glob("*.tif"))) == count:
        return folder
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
    return folder


def timed(
    folder: Path, model: Path, out: Path, explained: float, resources: Resources
) -> tuple[int, float]:
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    done = run_batch([folder], model, out, Request(explained=explained), resources=resources)
    assert done is not None
    return done.cells, time.perf_counter() - started


def floor(folder: Path, model_folder: Path, explained: bool, device: str) -> tuple[int, float]:
    """Cells and seconds of the network alone, in a bare loop over crops that lie ready."""
    model = load_model(model_folder, device)
    matches = [match(open_stack(path), model.spec, Request()) for path in sorted(folder.iterdir())]
    crops = np.concatenate(
        [find_field(matched, place).crops for matched in matches for place in matched.fields()]
    )
    x = model.normalised(crops)
    bare_loop(model, x[:BATCH])
    started = time.perf_counter()
    bare_loop(model, x)
    if explained:
        for i in range(0, len(crops), BATCH):
            model.explain(crops[i : i + BATCH], rtol=DEFAULT_RTOL, rtol_of="strongest")
            model.channel_shares(crops[i : i + BATCH])
    return len(crops), time.perf_counter() - started


@torch.inference_mode()
def bare_loop(model: CellModel, x: torch.Tensor) -> None:
    for i in range(0, len(x), BATCH):
        model.network(x[i : i + BATCH]).softmax(1).cpu()


def with_network(model: Path, name: str, work: Path) -> Path:
    """A model like this one with another network, of random weights."""
    spec = load_model(model, "cpu").spec
    entry = network_entry(name)
    spec = spec.model_copy(update={"network": name, "target_layer": entry.target_layer})
    network = build_network(name, spec.spatial_dims, len(spec.channels), len(spec.classes))
    save_model(CellModel(spec, network, torch.device("cpu")), work / name)
    return work / name


def beside_the_floor(chosen: argparse.Namespace, model: Path, channels: tuple[str, ...]) -> None:
    folder = written_fields(chosen.work / f"fields{chosen.floor}", chosen.floor, 448, channels, 42)
    explained = float(chosen.explain)
    n, seconds = floor(folder, model, chosen.explain, chosen.device)
    resources = Resources(device=chosen.device)
    cells, whole = timed(folder, model, chosen.work / "out", explained, resources)
    title = f"{model.name}, classify{' and explain' if explained else ' only'}"
    ratio = (cells / whole) / (n / seconds)
    print(
        f"{title}: floor {n / seconds:.0f} cells/s, batch {cells / whole:.0f} cells/s "
        f"({cells} cells in {whole:.1f} s), {ratio:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--floor", type=int)
    parser.add_argument("--explain", action="store_true")
    parser.add_argument("--networks", nargs="+", default=[])
    parser.add_argument("--tiny", type=int, nargs="+", default=[])
    parser.add_argument("--speed-up", type=int)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    channels = load_model(chosen.model, "cpu").spec.channels
    if chosen.floor:
        others = [with_network(chosen.model, name, chosen.work) for name in chosen.networks]
        for model in others or [chosen.model]:
            beside_the_floor(chosen, model, channels)
    for count in chosen.tiny:
        folder = written_fields(chosen.work / f"tiny{count}", count, 64, channels, 1)
        resources = Resources("sync", device=chosen.device)
        _, seconds = timed(folder, chosen.model, chosen.work / "out", 0, resources)
        print(f"{count} images of 64 x 64: {1000 * seconds / count:.1f} ms each", flush=True)
    if chosen.speed_up:
        folder = written_fields(
            chosen.work / f"fields{chosen.speed_up}", chosen.speed_up, 448, channels, 42
        )
        for workers in (1, 2):
            resources = Resources(workers=workers, device=chosen.device)
            _, seconds = timed(folder, chosen.model, chosen.work / "out", 1.0, resources)
            print(f"{workers} worker(s): {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
