"""Cells per second: classifying, explaining, compiled, and beside other libraries."""

from __future__ import annotations

import multiprocessing
import queue
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from cellcam.explain.integrated_gradcam import IntegratedGradCAM
from on_gpu.networks import (
    CLASSES,
    MODES,
    Arithmetic,
    Network,
    Scale,
    free_memory,
    medians,
    network,
    networks,
    ratio,
    tf32,
    times_of,
)
from on_gpu.report import Report, joined, percent, significant

# CellCam's explanations of a batch of images; the error asked for is that of `cellcam.request`.
_OWN = {"formula": "complete", "baselines": "background", "rtol_of": "strongest"}
_PAPER_STEPS, _PEER_STEPS = 20, 2


def matrix_peak(report: Report, scale: Scale) -> dict[str, float]:
    """FLOP/s of products of large square matrices of random numbers, by kind of arithmetic."""
    size, peaks = scale.pick(8192, 256), {}
    a, b = torch.randn(2, size, size, device=scale.device).unbind()
    half = a.bfloat16(), b.bfloat16()
    kinds = {"float32": (False, a, b), "TF32": (True, a, b), "bfloat16": (True, *half)}

    def product(allowed: bool, left: Tensor, right: Tensor) -> object:
        with tf32(allowed):
            return left @ right

    times = times_of({kind: partial(product, *given) for kind, given in kinds.items()}, scale)
    report.line(f"Products of matrices of {size} x {size} random numbers:")
    report.table_head("arithmetic", "TFLOP/s (median)", "fastest round")
    for kind, seconds in medians(times).items():
        peaks[kind] = 2 * size**3 / seconds
        best = 2 * size**3 / min(times[kind])
        report.row(kind, significant(peaks[kind] / 1e12), significant(best / 1e12))
    report.keep("matrix peak, FLOP/s", peaks)
    free_memory(scale.device)
    return peaks


def flops_of(run: Callable[[], object]) -> float:
    """Floating-point operations of convolutions and matrix products; NaN if they cannot be told."""
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with FlopCounterMode(display=False) as counter:
            run()
        return float(counter.get_total_flops())
    except Exception:  # noqa: BLE001 - a figure beside others
        return float("nan")


def bare(module: nn.Module, x: Tensor) -> Callable[[], object]:
    """A forward pass without gradients."""

    def run() -> None:
        with torch.inference_mode():
            module(x)

    return run


def classifying(report: Report, scale: Scale, peaks: dict[str, float]) -> None:
    """Bare forward passes of crops that lie on the card."""
    n = scale.pick(1024, 4)
    report.line(
        f"{n} crops of {scale.pixels} pixels in 4 channels at once, already on the card; forward "
        "passes alone. Share: of the matrix product's FLOP/s in the same arithmetic."
    )
    report.table_head("network", "arithmetic", "cells/s", "times TF32", "MFLOP/cell", "share")
    for net in networks(scale):
        x, runs = scale.cells(n), {}
        for mode in scale.modes:
            runs[mode.name] = mode.of(bare(mode.network(net, scale.device), mode.laid_out(x)))
        half = net.on(scale.device).bfloat16().to(memory_format=torch.channels_last)
        runs["bfloat16 weights, channels-last"] = bare(half, MODES[-1].laid_out(x).bfloat16())
        flops = flops_of(bare(net.on(scale.device), x[:2])) / 2
        times = times_of(runs, scale)
        for name, seconds in medians(times).items():
            unit = next((mode.unit for mode in MODES if mode.name == name), "bfloat16")
            cells, share = n / seconds, n / seconds * flops / peaks.get(unit, float("nan"))
            gain = 1 / ratio(times, name, "TF32")
            report.row(
                net.name,
                name,
                significant(cells),
                f"{gain:.2f}",
                significant(flops / 1e6),
                percent(share),
            )
            report.keep(f"classifying {net.name}, {name}", [cells, gain, flops, share])
        del runs, half
        free_memory(scale.device)
    _batch_sizes(report, scale)


def _batch_sizes(report: Report, scale: Scale) -> None:
    """Cells/s by batch size in torch's default arithmetic; CellCam takes 256."""
    sizes = (64, 256, 1024, 4096) if not scale.small else (2, 4)
    report.line("\nBy batch size, TF32, cells/s:")
    report.table_head("network", *sizes)
    for net in networks(scale):
        module, x = net.on(scale.device), scale.cells(max(sizes))
        runs = {str(n): MODES[1].of(bare(module, x[:n])) for n in sizes}
        cells = {name: int(name) / s for name, s in medians(times_of(runs, scale)).items()}
        report.row(net.name, *map(significant, cells.values()))
        report.keep(f"batch size {net.name}", cells)
        free_memory(scale.device)


def as_a_model(report: Report, scale: Scale) -> None:
    """`CellModel.probabilities` of crops in main memory beside the bare network."""
    import numpy as np

    from cellcam.models.model import CellModel
    from cellcam.models.normalisation import Normalisation
    from cellcam.models.spec import ModelSpec

    n = scale.pick(4096, 8)
    report.line(
        f"`CellModel.probabilities` of {n} uint16 crops in main memory (normalised on the card, "
        "256 at once), beside forward passes of crops that lie on the card, torch's default "
        "arithmetic:"
    )
    report.table_head("network", "cells/s", "of the bare network")
    random = np.random.default_rng(0)
    crops = random.integers(100, 4000, (n, 4, scale.pixels, scale.pixels)).astype(np.uint16)
    spec = ModelSpec(
        network="small_cnn",
        channels=tuple("abcd"),
        classes=tuple(f"class {k}" for k in range(CLASSES)),
        crop_size=(scale.pixels, scale.pixels),
        normalisation=Normalisation(offset=(100,) * 4, scale=(1000,) * 4),
        target_layer="features",
    )
    for net in networks(scale):
        model = CellModel(spec, net.on(scale.device), scale.device)
        x = model.normalised(crops[:256])
        runs = {"model": partial(model.probabilities, crops), "bare": bare(model.network, x)}
        times = times_of(runs, scale)
        share = len(crops) / len(x) / ratio(times, "model", "bare")
        cells = n / medians(times)["model"]
        report.row(net.name, significant(cells), f"{share:.0%}")
        report.keep(f"CellModel {net.name}", [cells, share])
        free_memory(scale.device)


def explaining(report: Report, scale: Scale, peaks: dict[str, float]) -> None:
    """CellCam's maps of the call, and the paper's sum, beside bare forward passes."""
    at_once = (64, 512) if not scale.small else (2,)
    rtol = 0.3 if scale.small else _default_rtol()
    report.line(
        f"Own: complete formula from the background to {rtol:.0%}, as in batches; paper: "
        f"{_PAPER_STEPS} steps at the last layer. Map of the call, in float32 sums. Passes: time "
        "of a cell over that of a bare forward pass of as many cells, same arithmetic. Random "
        "weights: the number of points says nothing about trained networks."
    )
    report.table_head(
        "network", "maps", "arithmetic", "cells at once", "cells/s", "passes", "points", "share"
    )
    for net in networks(scale):
        for n in at_once:
            _explained(report, scale, net, n, rtol, peaks)
            free_memory(scale.device)
    _peak_memory(report, scale, rtol)


def _explained(
    report: Report, scale: Scale, net: Network, n: int, rtol: float, peaks: dict[str, float]
) -> None:
    """Rows of a network with so many cells at once: all arithmetics for the fewest, else two."""
    x = scale.cells(n)
    modes = scale.modes if n <= 64 else (MODES[1], MODES[-1])
    runs: dict[str, Callable[[], object]] = {}
    points, flops = {}, {}
    for mode in modes:
        module, images = mode.network(net, scale.device), mode.laid_out(x)
        runs[f"bare, {mode.name}"] = mode.of(bare(module, images))
        own = IntegratedGradCAM(module, mode.layer(net.target_layer), rtol=rtol, **_OWN)
        paper = IntegratedGradCAM(
            module, mode.layer(net.cam_layer), n_steps=scale.pick(_PAPER_STEPS, 2)
        )
        for kind, cam in {"own": own, "paper": paper}.items():
            name = f"{kind}, {mode.name}"
            runs[name] = mode.of(partial(cam, images))
            with tf32(mode.tf32):
                points[name] = float(cam(images).n_evaluations.double().median())
            flops[name] = flops_of(runs[name]) / n
    if n <= 64:
        _with_trials(runs, points, net, x, rtol)
    times = times_of(runs, scale)
    for name, seconds in medians(times).items():
        kind, _, mode_name = name.partition(", ")
        if kind == "bare":
            continue
        mode = next((mode for mode in MODES if mode.name == mode_name), MODES[1])
        passes = ratio(times, name, f"bare, {mode.name}")
        share = flops.get(name, float("nan")) * n / seconds / peaks.get(mode.unit, float("nan"))
        figures = [n / seconds, passes, points[name], share]
        report.keep(f"explaining {net.name}, {name}, {n}", figures)
        report.row(
            net.name,
            kind,
            mode_name,
            n,
            significant(figures[0]),
            significant(passes),
            significant(points[name]),
            percent(share),
        )


def _with_trials(
    runs: dict[str, Callable[[], object]],
    points: dict[str, float],
    net: Network,
    x: Tensor,
    rtol: float,
) -> None:
    """Add ``precision="auto"``, which takes the fastest arithmetic by trial."""
    module = net.on(x.device)
    cam = IntegratedGradCAM(module, net.target_layer, precision="auto", rtol=rtol, **_OWN)
    points["own, precision=auto"] = float(cam(x).n_evaluations.double().median())
    runs["own, precision=auto"] = partial(cam, x)


def _peak_memory(report: Report, scale: Scale, rtol: float) -> None:
    if scale.device.type != "cuda":
        return
    report.line("\nPeak memory of 64 cells explained, GB (weights included):")
    report.table_head("network", "own", "paper, all classes")
    for net in networks(scale):
        x, peaks = scale.cells(64), []
        for settings in ({"rtol": rtol, **_OWN}, {"n_steps": _PAPER_STEPS}):
            layer = net.target_layer if "rtol" in settings else net.cam_layer
            module = net.on(scale.device)
            free_memory(scale.device)
            cam = IntegratedGradCAM(module, layer, **settings)  # type: ignore[arg-type]
            cam(x, None if "rtol" in settings else "all")
            peaks.append(torch.cuda.max_memory_allocated(scale.device) / 1e9)
        report.row(net.name, *map(significant, peaks))
        report.keep(f"peak memory {net.name}, GB", peaks)


def _default_rtol() -> float:
    try:
        from cellcam.request import DEFAULT_RTOL
    except ImportError:  # a machine with torch alone
        return 0.03
    return DEFAULT_RTOL


def beside_peers(report: Report, scale: Scale) -> None:
    """The paper's sum as CellCam computes it, and made of the plain Grad-CAM of other libraries."""
    from peers import of_all, peers

    n, steps = scale.pick(64, 2), scale.pick(_PAPER_STEPS, 2)
    report.line(
        f"Integrated maps of {n} cells, {steps} steps at the last layer, torch's default "
        f"arithmetic. Other libraries: {_PEER_STEPS} steps of their plain Grad-CAM, times "
        f"{steps / _PEER_STEPS:g}."
    )
    report.table_head("network", "classes", "library", "cells/s", "times CellCam's time")
    for net in networks(scale)[scale.pick(1, 0) : scale.pick(3, 1)]:
        module, x = net.on(scale.device), scale.cells(n)
        cam = IntegratedGradCAM(module, net.cam_layer, n_steps=steps)
        parts = [x * (step + 1) / _PEER_STEPS for step in range(_PEER_STEPS)]
        found = _working(report, peers(module, net.cam_layer), x)
        for classes in ([0], list(range(CLASSES))):
            runs: dict[str, Callable[[], object]] = {"CellCam": partial(cam, x, classes)}
            runs |= {name: partial(of_all, maps, parts, classes) for name, maps in found.items()}
            times = times_of(runs, scale)
            for name, seconds in medians(times).items():
                more = 1 if name == "CellCam" else steps / _PEER_STEPS
                factor = more * ratio(times, name, "CellCam")
                report.row(
                    net.name,
                    len(classes),
                    name,
                    significant(n / seconds / more),
                    significant(factor),
                )
                report.keep(
                    f"peer {net.name}, {len(classes)}, {name}", [n / seconds / more, factor]
                )
        free_memory(scale.device)


def _working(report: Report, found: dict, x: Tensor) -> dict:  # type: ignore[type-arg]
    """The libraries whose Grad-CAM runs here."""
    works = {}
    for name, maps in found.items():
        try:
            maps(x[:2], 0)
            works[name] = maps
        except Exception as error:  # noqa: BLE001 - theirs, not ours
            report.line(f"{name} cannot run: {type(error).__name__}: {str(error)[:200]}")
    missing = {"captum", "pytorch-grad-cam", "MONAI"} - set(works)
    if missing:
        report.keep("peers that are not measured", sorted(missing))
        report.line(f"| not installed or not running: {joined(sorted(missing))} | | | | |")
    return works


def compiled(report: Report, scale: Scale) -> None:
    """Forward passes under torch.compile, in a process that is ended when the time is over."""
    report.line(
        "Explanations run no compiled code, because hooks split the network. `torch.compile` with "
        "its default mode, classifying; the pass before it in the same process."
    )
    report.table_head("network", "arithmetic", "cells/s", "times eager", "to compile, s")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    child = context.Process(target=_compile_all, args=(scale, results), daemon=False)
    free_memory(scale.device)
    child.start()
    try:
        while (left := report.left - 3) > 0:
            try:
                row = results.get(timeout=min(left, 2))
            except queue.Empty:
                if not child.is_alive():
                    raise RuntimeError(f"the process ended with {child.exitcode}") from None
                continue
            if row is None:
                return
            if len(row) == 2:
                report.fail(f"torch.compile of {row[0]}: {row[1]}")
                continue
            name, mode, cells, gain, seconds = row
            report.row(name, mode, significant(cells), f"{gain:.2f}", f"{seconds:.0f}")
            report.keep(f"compiled {name}, {mode}", [cells, gain, seconds])
        report.line("\nThe time was over; what is missing was not measured.")
    finally:
        child.kill()
        child.join()


def _compile_all(scale: Scale, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    """Put a row for each network and arithmetic into ``results``, and None at the end."""
    # Without a card the compiler's own C++ would take longer than all the rest.
    backend = "inductor" if scale.device.type == "cuda" else "eager"
    names = ("small_cnn",) if scale.small else ("small_cnn", "resnet50", "densenet121")
    for name in names:
        for mode in (MODES[1], MODES[-1]):
            try:
                results.put(_compiled(scale, network(name, scale), mode, backend))
            except Exception as error:  # noqa: BLE001 - the others go on
                results.put((name, f"{type(error).__name__}: {str(error)[:300]}"))
    results.put(None)
    results.close()
    results.join_thread()


def _compiled(scale: Scale, net: Network, mode: Arithmetic, backend: str) -> tuple[object, ...]:
    n = scale.pick(1024, 4)
    module, x = mode.network(net, scale.device), mode.laid_out(scale.cells(n))
    faster = torch.compile(module, backend=backend, dynamic=False)

    def without_gradients(run: Callable[[Tensor], object]) -> Callable[[], object]:
        def whole() -> None:
            with torch.no_grad():
                run(x)

        return mode.of(whole)

    runs = {"eager": without_gradients(module), "compiled": without_gradients(faster)}
    started = time.perf_counter()
    runs["compiled"]()
    seconds = time.perf_counter() - started
    times = times_of(runs, scale)
    gain = 1 / ratio(times, "compiled", "eager")
    return net.name, mode.name, n / medians(times)["compiled"], gain, seconds
