"""Networks, kinds of arithmetic and timing of the measurements on a card."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cellcam.models.registry import build_network, network_entry

CHANNELS, CLASSES = 4, 8
NAMES, SMALL_NAMES = ("small_cnn", "densenet121", "resnet50"), ("small_cnn", "resnet18")

Run = Callable[[], object]


@dataclass(frozen=True)
class Scale:
    """How much is measured: on a card, or in the small mode that only shows that all runs."""

    device: torch.device
    small: bool

    @property
    def pixels(self) -> int:
        """Side of a crop."""
        return 32 if self.small else 64

    @property
    def rounds(self) -> int:
        """Rounds of a measurement, of which the median counts."""
        return 1 if self.small else 5

    @property
    def seconds(self) -> float:
        """Least time of one measurement."""
        return 0.0 if self.small else 0.04

    @property
    def modes(self) -> tuple[Arithmetic, ...]:
        """Kinds of arithmetic that are measured."""
        return (MODES[1], MODES[-1]) if self.small else MODES

    def pick(self, full: int, small: int) -> int:
        """One of two sizes."""
        return small if self.small else full

    def cells(self, n: int) -> Tensor:
        """Random crops (n, C, y, x) on the device."""
        generator = torch.Generator().manual_seed(1)
        crops = torch.rand(n, CHANNELS, self.pixels, self.pixels, generator=generator)
        return crops.to(self.device)


@dataclass(frozen=True)
class Network:
    """A network in float32 on the CPU, with random weights and the layers that are explained."""

    name: str
    module: nn.Module
    cam_layer: str  # the last one, of Grad-CAM
    target_layer: str  # of CellCam's own maps

    def on(self, device: torch.device) -> nn.Module:
        """A copy on the device."""
        return copy.deepcopy(self.module).to(device)


class _Mixed(nn.Module):
    """A network that computes in bfloat16; sums outside it, as those of a map, do not."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            scores: Tensor = self.network(x)
        return scores


@dataclass(frozen=True)
class Arithmetic:
    """A kind of arithmetic and the layout of images and weights."""

    name: str
    tf32: bool = False
    bfloat16: bool = False
    channels_last: bool = False

    @property
    def unit(self) -> str:
        """Name of the matrix product whose peak it is compared with."""
        return "bfloat16" if self.bfloat16 else "TF32" if self.tf32 else "float32"

    def network(self, network: Network, device: torch.device) -> nn.Module:
        """A copy on the device that computes so, within `tf32`."""
        module = network.on(device)
        if self.channels_last:
            module = module.to(memory_format=torch.channels_last)
        return _Mixed(module).eval() if self.bfloat16 else module

    def layer(self, name: str) -> str:
        """Name of a layer within `network`."""
        return f"network.{name}" if self.bfloat16 else name

    def laid_out(self, x: Tensor) -> Tensor:
        """Images in its layout."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    def of(self, run: Run) -> Run:
        """The run, with TF32 allowed or not."""

        def switched() -> object:
            with tf32(self.tf32):
                return run()

        return switched


MODES = (
    Arithmetic("float32"),
    Arithmetic("TF32", tf32=True),
    Arithmetic("TF32, channels-last", tf32=True, channels_last=True),
    Arithmetic("bfloat16", tf32=True, bfloat16=True),
    Arithmetic("bfloat16, channels-last", tf32=True, bfloat16=True, channels_last=True),
)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Within it, TF32 is allowed in convolutions and matrix products, or in neither.

    By the older of torch's two ways to say so: a mixture of both is an error in torch, and parts
    of torch still ask in the older way.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def networks(scale: Scale) -> list[Network]:
    """The networks that are measured; torchvision's where MONAI is missing."""
    return [network(name, scale) for name in (SMALL_NAMES if scale.small else NAMES)]


def network(name: str, scale: Scale) -> Network:
    """A network of the registry."""
    torch.manual_seed(0)
    entry, title = network_entry(name), name
    try:
        module = build_network(name, 2, CHANNELS, CLASSES)
        layers = entry.cam_layer, entry.target_layer
    except ImportError:
        module, layers, title = *_of_torchvision(name), f"{name} (torchvision's)"
    _settle(module, scale.pixels)
    return Network(title, module.eval(), *layers)


def _of_torchvision(name: str) -> tuple[nn.Module, tuple[str, str]]:
    from torchvision.models import get_model

    module = get_model(name, weights=None, num_classes=CLASSES)
    if name == "densenet121":
        module.features.conv0 = nn.Conv2d(CHANNELS, 64, 7, 2, 3, bias=False)
        return module, ("features", "features")
    module.conv1 = nn.Conv2d(CHANNELS, 64, 7, 2, 3, bias=False)
    return module, ("layer4", "layer4")


def _settle(module: nn.Module, pixels: int) -> None:
    """Batch statistics as after training; with the initial ones signals fade away."""
    with torch.no_grad():
        module.train()
        for _ in range(2):
            module(torch.rand(8, CHANNELS, pixels, pixels))


def times_of(runs: dict[str, Run], scale: Scale) -> dict[str, list[float]]:
    """Seconds of each run, in rounds over all of them, after some that do not count."""
    repeats = {}
    for name, run in runs.items():
        run()
        first = _seconds(run, 1, scale.device)
        repeats[name] = max(1, min(200, round(scale.seconds / max(first, 1e-6))))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(scale.rounds):
        for name, run in runs.items():
            times[name].append(_seconds(run, repeats[name], scale.device))
    return times


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """Median of the times of each run."""
    return {name: statistics.median(of_run) for name, of_run in times.items()}


def ratio(times: dict[str, list[float]], over: str, under: str) -> float:
    """Median of the ratios within the rounds."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def _seconds(run: Run, repeats: int, device: torch.device) -> float:
    """Seconds of a run, the mean of so many; on a card by its own clock."""
    if device.type != "cuda":
        started = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - started) / repeats
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begin.record()
    for _ in range(repeats):
        run()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1e3 / repeats


def free_memory(device: torch.device) -> None:
    """Give torch's cached memory back, so that each part begins with an empty card."""
    import gc

    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
