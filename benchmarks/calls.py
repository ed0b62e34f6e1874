"""Calls by OpenVINO beside calls by torch: cells per second, their ratio, and the differences.

Both engines of one model call the same crops in turn, part by part, in one process: whole calls
(`CellModel.probabilities`) and the bare network (`Engine.scores` of normalised crops). The crops
are those of simulated cells, turned, mirrored, shifted and with noise. The time for ``--cells`` is
extrapolated from the crops that were timed. For one core, bind the process to it: OpenVINO computes
on threads of its own.

    pip install -e '.[dev,openvino]'
    python benchmarks/calls.py --crops 100000 --part 1000   # DenseNet-121, a million extrapolated
    taskset -c 0 python benchmarks/calls.py --networks small_cnn --crops 8000 --threads 1 --bare
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cellcam import CellModel, load_model, open_stack
from cellcam.models.engine import Engine
from cellcam.models.engine_choice import choose_engine
from cellcam.models.registry import build_network, network_entry
from cellcam.pipeline.find_field import find_field
from cellcam.pipeline.matching import match
from cellcam.request import Request
from cellcam.samples import DEMO_MODEL, DEMO_STACK, sample_path

CPU = torch.device("cpu")
# Calls whose two best probabilities are closer may change with the precision.
MARGIN = 0.02


@dataclass
class Times:
    """Seconds of both engines for the same crops, part by part."""

    torch: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)

    def text(self, crops: int) -> str:
        """Crops per second of both, and the median of the ratios of the parts."""
        ratios = sorted(a / b for a, b in zip(self.torch, self.other, strict=True))
        return (
            f"torch {crops / sum(self.torch):.0f} cells/s, other {crops / sum(self.other):.0f} "
            f"cells/s, ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} parts)"
        )


@dataclass
class Calls:
    """What both engines said and how long they took."""

    whole: Times = field(default_factory=Times)
    bare: Times = field(default_factory=Times)
    crops: int = 0
    largest_difference: float = 0.0
    changed: int = 0
    changed_with_margin: int = 0
    with_margin: int = 0

    def add(self, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
        """Compare probabilities (N, n_classes) of the other engine and of torch."""
        self.crops += len(ours)
        self.largest_difference = max(self.largest_difference, float(np.abs(ours - theirs).max()))
        best = np.sort(theirs, 1)
        sure = best[:, -1] - best[:, -2] > MARGIN
        other = ours.argmax(1) != theirs.argmax(1)
        self.with_margin += int(sure.sum())
        self.changed += int(other.sum())
        self.changed_with_margin += int((sure & other).sum())


def settled_model(name: str, size: int, channels: int, n_classes: int = 5) -> CellModel:
    """Network of random weights for crops of ``size``, with statistics as after a training."""
    demo = load_model(sample_path(DEMO_MODEL), "cpu").spec
    torch.manual_seed(0)
    network = build_network(name, 2, channels, n_classes)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(16, channels, size, size))
    spec = demo.model_copy(
        update={
            "network": name,
            "channels": demo.channels[:channels],
            "crop_size": (size, size),
            "target_layer": network_entry(name).target_layer,
            "temperature": 1.0,
            "training": {},
        }
    )
    return CellModel(spec, network, CPU)


@lru_cache(1)
def demo_cells() -> NDArray[np.uint16]:
    """Crops (N, C, y, x) of the cells of the demo."""
    demo = load_model(sample_path(DEMO_MODEL), "cpu")
    matched = match(open_stack(sample_path(DEMO_STACK)), demo.spec, Request())
    return np.concatenate([find_field(matched, place).crops for place in matched.fields()])


def crops_of(model: CellModel, n: int, seed: int) -> NDArray[np.uint16]:
    """So many crops (N, C, y, x), each another variant of a cell of the demo."""
    cells = demo_cells()
    size = model.spec.crop_size[-1]
    margin = max(0, size + 8 - cells.shape[-1])
    before = margin // 2
    around = [(0, 0), (0, 0), *[(before, margin - before)] * 2]
    cells = np.pad(cells, around, mode="reflect")[:, : len(model.spec.channels)]
    random = np.random.default_rng(seed)
    crops = np.empty((n, cells.shape[1], size, size), np.uint16)
    for crop in crops:
        cell = np.rot90(cells[random.integers(len(cells))], int(random.integers(4)), (1, 2))
        y, x = random.integers(0, cell.shape[-1] - size + 1, 2)
        part = cell[:, y : y + size, x : x + size]
        part = part[..., ::-1] if random.integers(2) else part
        crop[:] = random.poisson(part * random.uniform(0.9, 1.1)).clip(0, 65535)
    return crops


def bare_network(model: CellModel, x: torch.Tensor) -> NDArray[np.float32]:
    """Scores of normalised crops in the batches of the model's engine."""
    with torch.inference_mode():
        parts = [model.engine.scores(x[part]) for part in model.engine.batches.over(len(x))]
    return torch.cat(parts).numpy()


def in_turn(
    run: Callable[[CellModel], NDArray[np.float32]],
    plain: CellModel,
    other: CellModel,
    times: Times,
    torch_first: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the other engine and torch say, one timed after the other."""
    pairs = [(other, times.other), (plain, times.torch)]
    said = {}
    for model, seconds in reversed(pairs) if torch_first else pairs:
        started = time.perf_counter()
        said[id(model)] = run(model)
        seconds.append(time.perf_counter() - started)
    return said[id(other)], said[id(plain)]


def compared(plain: CellModel, other: CellModel, crops: int, part: int, bare: bool) -> Calls:
    """Call crops with both models, in turn."""
    done = Calls()
    for seed, first in enumerate(range(0, crops, part)):
        pixels = crops_of(plain, min(part, crops - first), seed)
        torch_first = bool(seed % 2)
        whole = partial(CellModel.probabilities, crops=pixels)
        done.add(*in_turn(whole, plain, other, done.whole, torch_first))
        if bare:
            alone = partial(bare_network, x=plain.normalised(pixels))
            in_turn(alone, plain, other, done.bare, torch_first)
        print(f"{done.crops} of {crops}: {done.whole.text(done.crops)}", file=sys.stderr)
    return done


def report(done: Calls, made_in: float, cells: int) -> None:
    print(f"  whole calls: {done.whole.text(done.crops)}; made in {made_in:.1f} s")
    if done.bare.torch:
        print(f"  bare network: {done.bare.text(done.crops)}")
    print(
        f"  largest difference of a probability {done.largest_difference:.1e}; "
        f"{done.changed} calls differ, {done.changed_with_margin} of the {done.with_margin} "
        f"with a margin above {MARGIN}"
    )
    share = cells / done.crops
    print(
        f"  {cells} cells, extrapolated: torch {share * sum(done.whole.torch) / 60:.1f} min, "
        f"other {(share * sum(done.whole.other) + made_in) / 60:.1f} min",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=100_000)
    parser.add_argument("--part", type=int, default=2000, help="crops of one engine in a row")
    parser.add_argument("--cells", type=int, default=1_000_000, help="extrapolate to so many")
    parser.add_argument("--networks", nargs="*", default=["densenet121"])
    parser.add_argument("--model", type=Path, help="a model folder, instead of networks")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--channels", type=int, default=3, choices=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bare", action="store_true", help="time the bare network as well")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    models = (
        {str(given.model): load_model(given.model, "cpu")}
        if given.model
        else {name: settled_model(name, given.size, given.channels) for name in given.networks}
    )
    for name, plain in models.items():
        spec = plain.spec
        started = time.perf_counter()
        engine: Engine = choose_engine(
            "openvino", plain.network, CPU, spec.input_shape, spec.temperature
        )
        made_in = time.perf_counter() - started
        other = CellModel(spec, plain.network, CPU, engine=engine)
        warm_up = crops_of(plain, 64, 10**6)
        _ = plain.probabilities(warm_up), other.probabilities(warm_up)
        facts = engine.facts
        print(
            f"{name}, {' x '.join(map(str, spec.input_shape))}, {given.crops} crops, "
            f"{given.threads} thread(s), torch {torch.__version__} and as the other "
            f"{facts.name} {facts.version}",
            flush=True,
        )
        done = compared(plain, other, given.crops, given.part, given.bare)
        report(done, made_in, given.cells)


if __name__ == "__main__":
    main()
