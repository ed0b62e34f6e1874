"""Does finding cells keep a card busy? Cells/s of finders, of the card, and of whole batches."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from on_gpu.networks import Scale, free_memory
from on_gpu.report import Missing, Report, joined, significant

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "sample_data/demo_model"
_NEEDED = ("pydantic", "pandas", "pyarrow", "scipy", "skimage", "tifffile", "dask", "ome_types")


def feeding(report: Report, scale: Scale) -> None:
    """Measure the parts of a batch with the packaged model, and whole batches."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise Missing(joined(missing))
    from batch import written_fields

    from cellcam.models.bundle import load_model

    model = load_model(MODEL, str(scale.device))
    with tempfile.TemporaryDirectory() as work:
        count = scale.pick(96, 2)
        size, cells = scale.pick(448, 160), scale.pick(42, 6)
        folder = written_fields(Path(work) / "fields", count, size, model.spec.channels, cells)
        paths = sorted(folder.iterdir())
        report.line(
            f"Fields of {size} x {size} pixels with about {cells} cells each, the packaged model "
            f"(`{model.spec.network}`), {os.cpu_count()} cores. Cells/s:"
        )
        report.table_head("what", "cells/s")
        found, crops = _finding(report, scale, paths)
        card = _of_the_card(report, scale, crops)
        whole = _batches(report, scale, folder, Path(work))
    best = max(found.values())
    verdict = (
        f"The card classifies {card['classifying'] / best:.1f} times, and explains "
        f"{card['explaining'] / best:.2f} times, as fast as all processes find cells."
    )
    if whole:
        name = max(whole, key=whole.__getitem__)
        verdict += (
            f" The fastest batch that only classifies ({name}) reaches "
            f"{whole[name] / card['classifying']:.1%} of what the card classifies."
        )
    report.line("\n" + verdict)
    report.keep("feeding", {"finding": found, "card": card, "batches": whole})


def _finding(
    report: Report, scale: Scale, paths: list[Path]
) -> tuple[dict[str, float], np.ndarray]:
    """Cells/s of finding, with reading and cropping, by number of processes; and all crops."""
    import numpy as np

    cores = os.cpu_count() or 1
    found, crops = {}, []
    started = time.perf_counter()
    for path in islice(paths, scale.pick(24, 2)):
        crops.append(found_crops(path))
    found["this process"] = sum(map(len, crops)) / (time.perf_counter() - started)
    for n in sorted({4, cores} if not scale.small else {1}):
        found[f"processes: {n}"] = _by_processes(n, paths)
    for name, rate in found.items():
        report.row(f"finding, {name}", significant(rate))
    return found, np.concatenate(crops)


def _by_processes(n: int, paths: list[Path]) -> float:
    with ProcessPoolExecutor(n, get_context("spawn"), _one_thread) as pool:
        list(pool.map(_count, paths[:1] * (4 * n)))  # imports
        started = time.perf_counter()
        cells = sum(pool.map(_count, paths * 2, chunksize=2))
        return cells / (time.perf_counter() - started)


def _one_thread() -> None:
    torch.set_num_threads(1)


def _count(path: Path) -> int:
    return len(found_crops(path))


def found_crops(path: Path) -> np.ndarray:
    """Crops of the cells of an image: opened, cells found and cut out."""
    from cellcam.models.bundle import read_spec
    from cellcam.pipeline.find_field import find_field
    from cellcam.pipeline.matching import match
    from cellcam.request import Request
    from cellcam.stacks.opening import open_stack

    matched = match(open_stack(path), read_spec(MODEL), Request())
    return find_field(matched, next(matched.fields())).crops


def _of_the_card(report: Report, scale: Scale, crops: np.ndarray) -> dict[str, float]:
    """Cells/s of the model with crops in main memory, as a batch calls it."""
    import numpy as np

    from cellcam.models.bundle import load_model
    from cellcam.request import DEFAULT_RTOL

    model = load_model(MODEL, str(scale.device))
    many = np.concatenate([crops] * -(-scale.pick(16384, 8) // len(crops)))
    few = many[: scale.pick(1024, 4)]

    def explain() -> None:
        for i in range(0, len(few), model.cells_at_once):
            part = few[i : i + model.cells_at_once]
            model.explain(part, rtol=DEFAULT_RTOL, rtol_of="strongest").importance.cpu()
            model.channel_shares(part)

    runs = {
        "classifying": (lambda: model.probabilities(many), len(many)),
        "comparing with training cells (CPU)": (lambda: model.unlike(few), len(few)),
        "explaining, with channel shares": (explain, len(few)),
    }
    rates = {}
    for name, (run, n) in runs.items():
        run()
        started = time.perf_counter()
        run()
        rates[name] = n / (time.perf_counter() - started)
        report.row(name, significant(rates[name]))
    free_memory(scale.device)
    return {name.partition(",")[0]: rate for name, rate in rates.items()}


def _batches(report: Report, scale: Scale, folder: Path, work: Path) -> dict[str, float]:
    """Cells/s of whole batches that only classify, start and report included."""
    from cellcam.batch.run import Resources, run_batch
    from cellcam.request import Request

    # By the kind of device, not its number: so workers are shared out over the cards.
    device, cores = scale.device.type, os.cpu_count() or 1
    ways = {"two threads": Resources("threads", device=device)}
    if find_spec("distributed") is None:
        report.row("batches with workers: not installed (distributed)", "")
    elif not scale.small:
        ways |= {f"{n} workers": Resources(workers=n, device=device) for n in (1, 4, cores)}
    rates = {}
    for name, resources in ways.items():
        for explained in (0.0, 1.0):
            if explained and name not in ("two threads", "4 workers"):
                continue
            what = "classified and explained" if explained else "classified"
            if report.left < scale.pick(45, 0):
                report.row(f"batch, {what}, {name}: no time left", "")
                continue
            out = work / "out"
            shutil.rmtree(out, ignore_errors=True)
            started = time.perf_counter()
            done = run_batch(
                [folder], MODEL, out, Request(explained=explained), resources=resources
            )
            assert done is not None
            rate = done.cells / (time.perf_counter() - started)
            report.row(f"batch, {what}, {name}", significant(rate))
            report.keep(f"batch, {what}, {name}", [rate, done.cells])
            if not explained:
                rates[name] = rate
    return rates
