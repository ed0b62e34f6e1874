"""Networks and images that explanations are timed on, and how they are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLASSES = 8
STEPS = 20

Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A network, its two layers and the images that go through it."""

    name: str
    network: nn.Module
    last: str
    middle: str
    images: Tensor
    chunk: int  # images that go through at once where steps are chunked


def case(kind: str, n: int, device: torch.device) -> Case:
    """One image of 224 px or 64 cells of 64 px.

    "resnet" and "swin" are torchvision's, "densenet" is MONAI's, "vit" timm's.
    """
    channels, size, chunk = (3, 224, 5) if n == 1 else (4, 64, 64)
    torch.manual_seed(0)
    images = torch.rand(n, channels, size, size)
    if kind == "resnet":
        from torchvision.models import resnet50

        network = resnet50(num_classes=CLASSES)
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        name, last, middle = "ResNet-50", "layer4", "layer3"
    elif kind == "swin":
        from torchvision.models import swin_t

        network = swin_t(num_classes=CLASSES)
        network.features[0][0] = nn.Conv2d(channels, 96, 4, 4)
        name, last, middle = "Swin-T", "permute", "features.5"
    elif kind == "vit":
        from timm import create_model

        options = {"img_size": size, "in_chans": channels, "num_classes": CLASSES}
        network = create_model("vit_small_patch16_224", **options)
        name, last, middle = "ViT-S/16", "blocks.10", "blocks.5"
    else:
        from monai.networks.nets import DenseNet121

        network = DenseNet121(2, channels, CLASSES)
        name, last, middle = "DenseNet-121", "class_layers.relu", "features.transition3"
    _settle(network, images.shape[1:])
    title = f"{name}, {n} x {channels} x {size} x {size}"
    return Case(title, network.to(device).eval(), last, middle, images.to(device), chunk)


def points(case: Case, n_steps: int = STEPS) -> Tensor:
    """Images on the way from black, (n_steps * N, C, *spatial)."""
    steps = torch.linspace(0, 1, n_steps + 1, device=case.images.device)[1:]
    return (case.images * steps.view(-1, 1, 1, 1, 1)).flatten(0, 1)


def floor(case: Case, chunk: int) -> Run:
    """As many images through the same network without gradients."""
    parts = points(case).split(chunk)

    def run() -> None:
        with torch.inference_mode():
            for part in parts:
                case.network(part)

    return run


def times_of(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, in rounds over all of them, after a first one."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if done:
                times[name].append(time.perf_counter() - started)
    return times


def ratio(times: dict[str, list[float]], over: str, under: str) -> float:
    """Median of the ratios within the rounds: what else the machine does weighs on both."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def _settle(network: nn.Module, shape: torch.Size) -> None:
    """Batch statistics as after training; with the initial ones signals fade away."""
    noise = torch.rand(8, *shape)
    with torch.no_grad():
        network.train()
        for _ in range(3):
            network(noise)
        network.eval()
