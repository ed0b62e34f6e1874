"""What Integrated Grad-CAM costs beside bare forward passes of the same images.

Every figure is a median of ratios taken within one round over all runs in this process, so
that what else the machine does weighs on both alike.

    python benchmarks/explain.py
    python benchmarks/explain.py --quick        # three rounds instead of seven
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cellcam import IntegratedGradCAM

CLASSES = 8
STEPS = 20


@dataclass(frozen=True)
class Case:
    """A network, its two layers and the images that go through it."""

    name: str
    network: nn.Module
    last: str
    middle: str
    images: Tensor
    chunk: int  # images that the chunked floor takes at once


def cases(device: torch.device) -> list[Case]:
    from monai.networks.nets import DenseNet121
    from torchvision.models import resnet50

    made = []
    for n, channels, size, chunk in ((1, 3, 224, 5), (64, 4, 64, 64)):
        torch.manual_seed(0)
        resnet = resnet50(num_classes=CLASSES)
        if channels != 3:
            resnet.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        dense = DenseNet121(2, channels, CLASSES)
        images = torch.rand(n, channels, size, size, device=device)
        for name, network, last, middle in (
            ("ResNet-50", resnet, "layer4", "layer3"),
            ("DenseNet-121", dense, "class_layers.relu", "features.transition3"),
        ):
            settled(network, images.shape[1:])
            title = f"{name}, {n} x {channels} x {size} x {size}"
            made.append(Case(title, network.to(device).eval(), last, middle, images, chunk))
    return made


def settled(network: nn.Module, shape: torch.Size) -> None:
    """Batch statistics as after training; with the initial ones signals fade away."""
    noise = torch.rand(8, *shape)
    with torch.no_grad():
        network.train()
        for _ in range(3):
            network(noise)
        network.eval()


def floor(case: Case, chunk: int) -> Callable[[], None]:
    """The same number of images through the same network without gradients."""
    steps = torch.linspace(0, 1, STEPS + 1, device=case.images.device)[1:]
    points = (case.images.unsqueeze(1) * steps.view(1, -1, 1, 1, 1)).flatten(0, 1)

    def run() -> None:
        with torch.inference_mode():
            for part in points.split(chunk):
                case.network(part)

    return run


def ours(case: Case, layer: str, classes: object, **settings: object) -> Callable[[], object]:
    cam = IntegratedGradCAM(case.network, layer, **settings)
    return lambda: cam(case.images, classes)


FIXED = {"method": "riemann_right", "n_steps": STEPS}


def median_times(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, in rounds over all of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - started)
    return times


def ratio(times: dict[str, list[float]], over: str, under: str) -> float:
    pairs = zip(times[over], times[under], strict=True)
    return statistics.median(a / b for a, b in pairs)


def beside_the_floor(case: Case, repeats: int) -> None:
    chunks = {"one batch": 10**6, "chunks": case.chunk, "step by step": len(case.images)}
    floors = {name: floor(case, chunk) for name, chunk in chunks.items()}
    first = median_times(floors, 3)
    best = min(first, key=lambda name: statistics.median(first[name]))
    runs: dict[str, Callable[[], object]] = {
        "floor": floors[best],
        "last, 8 classes": ours(case, case.last, "all", **FIXED),
        "last, 1 class": ours(case, case.last, 0, **FIXED),
        "middle, 8 classes": ours(case, case.middle, "all", **FIXED),
        "middle, 1 class": ours(case, case.middle, 0, **FIXED),
        "last, 8 classes, precision=auto": ours(case, case.last, "all", precision="auto", **FIXED),
        "last, 8 classes, rtol=0.01": ours(case, case.last, "all"),
        "last, 1 class, rtol=0.01": ours(case, case.last, 0),
    }
    times = median_times(runs, repeats)
    print(f"  floor: {best}, {statistics.median(times['floor']):.2f} s for m = {STEPS}")
    for name in list(runs)[1:]:
        spent = statistics.median(times[name])
        print(f"  {name:34s} {spent:7.2f} s  {ratio(times, name, 'floor'):5.2f} x floor")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    for case in cases(torch.device("cpu")):
        print(case.name, flush=True)
        beside_the_floor(case, 3 if arguments.quick else 7)
