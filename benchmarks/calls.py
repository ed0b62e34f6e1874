"""Calls by OpenVINO beside calls by torch: cells per second, their ratio, and the differences.

Both engines of one model call the same crops in turn, part by part, in one process. The crops are
those of simulated cells, turned, mirrored, shifted and with noise. With ``--cells`` the total is
extrapolated from the crops that were timed.

    pip install -e '.[dev,openvino]'
    python benchmarks/calls.py                      # DenseNet-121, 100,000 crops on two cores
    python benchmarks/calls.py --networks small_cnn --crops 4000 --threads 1
    python benchmarks/calls.py --model FOLDER --engine openvino-bfloat16
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, field
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
class Calls:
    """What both engines said and how long they took, part by part."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"torch": [], "other": []})
    largest_difference: float = 0.0
    changed: int = 0
    changed_with_margin: int = 0
    with_margin: int = 0

    def add(self, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
        """Compare probabilities (N, n_classes) of the other engine and of torch."""
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


def crops_of(model: CellModel, n: int, seed: int) -> NDArray[np.uint16]:
    """So many crops (N, C, y, x), each another variant of a cell of the demo."""
    demo = load_model(sample_path(DEMO_MODEL), "cpu")
    matched = match(open_stack(sample_path(DEMO_STACK)), demo.spec, Request())
    cells = np.concatenate([find_field(matched, place).crops for place in matched.fields()])
    size = model.spec.crop_size[-1]
    margin = max(0, size + 8 - cells.shape[-1])
    before = margin // 2
    around = [(0, 0), (0, 0), *[(before, margin - before)] * 2]
    cells = np.pad(cells, around, mode="reflect")[:, : len(model.spec.channels)]
    random = np.random.default_rng(seed)
    crops = np.empty((n, cells.shape[1], size, size), np.uint16)
    for crop in crops:
        cell = np.rot90(cells[random.integers(len(cells))], random.integers(4), (1, 2))
        y, x = random.integers(0, cell.shape[-1] - size + 1, 2)
        part = cell[:, y : y + size, x : x + size]
        part = part[..., ::-1] if random.integers(2) else part
        crop[:] = random.poisson(part * random.uniform(0.9, 1.1)).clip(0, 65535)
    return crops


def compared(plain: CellModel, other: CellModel, crops: int, part: int) -> Calls:
    """Call crops with both models, in turn."""
    done = Calls()
    for seed, first in enumerate(range(0, crops, part)):
        pixels = crops_of(plain, min(part, crops - first), seed)
        said = {}
        order = ("torch", "other") if seed % 2 else ("other", "torch")
        for name in order:
            model = plain if name == "torch" else other
            started = time.perf_counter()
            said[name] = model.probabilities(pixels)
            done.seconds[name].append(time.perf_counter() - started)
        done.add(said["other"], said["torch"])
    return done


def report(title: str, done: Calls, made_in: float, facts: str, crops: int, cells: int) -> None:
    torch_s, other_s = (sum(done.seconds[name]) for name in ("torch", "other"))
    pairs = zip(done.seconds["torch"], done.seconds["other"], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{title}, {crops} crops, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    print(
        f"  torch {crops / torch_s:.0f} cells/s, {facts} {crops / other_s:.0f} cells/s, "
        f"ratio {ratio:.2f} (median of {len(done.seconds['torch'])} parts); made in {made_in:.1f} s"
    )
    print(
        f"  largest difference of a probability {done.largest_difference:.1e}; "
        f"{done.changed} calls differ, {done.changed_with_margin} of the {done.with_margin} "
        f"with a margin above {MARGIN}"
    )
    print(
        f"  {cells} cells, extrapolated: torch {cells / crops * torch_s / 60:.1f} min, "
        f"{facts} {(cells / crops * other_s + made_in) / 60:.1f} min",
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
    parser.add_argument("--engine", default="openvino")
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
            given.engine, plain.network, CPU, spec.input_shape, spec.temperature
        )
        made_in = time.perf_counter() - started
        other = CellModel(spec, plain.network, CPU, engine=engine)
        warm_up = crops_of(plain, 64, 10**6)
        _ = plain.probabilities(warm_up), other.probabilities(warm_up)
        facts = f"{engine.facts.name} {engine.facts.version} {engine.facts.precision}"
        title = f"{name}, {' x '.join(map(str, spec.input_shape))}"
        done = compared(plain, other, given.crops, given.part)
        report(title, done, made_in, facts, given.crops, given.cells)


if __name__ == "__main__":
    main()
