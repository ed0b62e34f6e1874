"""What Integrated Grad-CAM costs: beside bare forward passes, beside peers, and in memory.

Every figure is a median of ratios taken within one round over all runs in this process.

    pip install -e '.[dev]' captum grad-cam
    python benchmarks/explain.py              # half an hour on two cores
    python benchmarks/explain.py --rounds 1 --images 1
    python benchmarks/explain.py --networks vit swin    # transformers: without peers (needs timm)
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
from collections.abc import Callable

import torch
from cases import CLASSES, STEPS, Case, Run, case, floor, points, ratio, times_of
from peers import of_all, peers

from cellcam import IntegratedGradCAM

FIXED = {"method": "riemann_right", "n_steps": STEPS}
# Peers are timed with fewer steps; what they take is proportional to them.
PEER_STEPS = 2
# Plain Grad-CAM of the peers knows no tokens.
TRANSFORMERS = ("vit", "swin")


def ours(case: Case, layer: str, classes: object, **settings: object) -> Run:
    cam = IntegratedGradCAM(case.network, layer, **settings)
    return lambda: cam(case.images, classes)


def fastest_floor(case: Case) -> tuple[str, Run]:
    chunks = {"one batch": 10**6, "chunks": case.chunk, "step by step": len(case.images)}
    floors = {name: floor(case, chunk) for name, chunk in chunks.items()}
    first = times_of(floors, 2)
    best = min(first, key=lambda name: statistics.median(first[name]))
    return best, floors[best]


def beside_the_floor(case: Case, rounds: int) -> None:
    name, bare = fastest_floor(case)
    runs: dict[str, Run] = {
        "floor": bare,
        "last, 8 classes": ours(case, case.last, "all", **FIXED),
        "last, 1 class": ours(case, case.last, 0, **FIXED),
        "middle, 8 classes": ours(case, case.middle, "all", **FIXED),
        "middle, 1 class": ours(case, case.middle, 0, **FIXED),
        "last, 8 classes, precision=auto": ours(case, case.last, "all", precision="auto", **FIXED),
    }
    times = times_of(runs, rounds)
    print(f"  floor: {name}, {statistics.median(times['floor']):.2f} s for m = {STEPS}")
    for name in list(runs)[1:]:
        spent = statistics.median(times[name])
        print(
            f"  {name:34s} {spent:7.2f} s  {ratio(times, name, 'floor'):5.2f} x floor", flush=True
        )


def beside_peers(case: Case, rounds: int) -> None:
    """Integrated maps made of each peer's plain ones; and what those alone take."""
    parts = points(case, PEER_STEPS).split(max(len(case.images), PEER_STEPS))
    for n_classes in (CLASSES, 1):
        classes = range(n_classes)
        runs: dict[str, Run] = {
            "ours": ours(case, case.last, "all" if n_classes == CLASSES else 0, **FIXED)
        }
        for name, maps in peers(case.network, case.last).items():
            runs[name] = lambda maps=maps, classes=classes: of_all(maps, parts, classes)  # type: ignore[misc]
        times = times_of(runs, rounds)
        for name in list(runs)[1:]:
            times[name] = [seconds * STEPS / PEER_STEPS for seconds in times[name]]
            print(
                f"  {name}, {n_classes} class(es): {statistics.median(times[name]):7.1f} s, "
                f"{ratio(times, name, 'ours'):5.1f} x ours",
                flush=True,
            )


def beside_the_floor_in_memory(kind: str, n: int) -> None:
    peak = {what: _in_a_process(_peak_memory, kind, n, what) for what in ("floor", "ours")}
    print(
        f"  peak memory of the process: floor {peak['floor'] / 1e6:.0f} MB, "
        f"8 classes {peak['ours'] / 1e6:.0f} MB, {peak['ours'] / peak['floor']:.2f} x",
        flush=True,
    )


def _peak_memory(kind: str, n: int, what: str) -> int:
    torch.set_num_threads(2)
    made = case(kind, n, torch.device("cpu"))
    run = ours(made, made.last, "all", **FIXED) if what == "ours" else floor(made, made.chunk)
    run()
    run()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _in_a_process(function: Callable[..., int], *arguments: object) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, nargs="*", default=[1, 64], choices=[1, 64])
    parser.add_argument("--networks", nargs="*", default=["resnet", "densenet"])
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak of memory")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(2)
    for n in given.images:
        for kind in given.networks:
            made = case(kind, n, torch.device(given.device))
            print(f"{made.name}, torch {torch.__version__}", flush=True)
            if given.device == "cpu" and not given.no_memory:
                beside_the_floor_in_memory(kind, n)
            beside_the_floor(made, given.rounds)
            if kind not in TRANSFORMERS:
                beside_peers(made, given.rounds)
