"""Is what the card computes right? Against the CPU, on repeat, and when its memory is full."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from cellcam.explain.explanation import Explanation
from cellcam.explain.integrated_gradcam import IntegratedGradCAM
from on_gpu.networks import CLASSES, Network, Scale, free_memory, networks, tf32
from on_gpu.report import Report, significant

ROOT = Path(__file__).parents[2]
# Largest relative differences from float64 on the CPU: of rounding alone.
_LIMITS = {"float64": 1e-8, "float32": 2e-3}


def beside_the_cpu(report: Report, scale: Scale) -> None:
    """Maps and scores of the card beside those of the CPU in float64."""
    report.line(
        f"Largest relative L2 difference of a cell's map, and of all scores, from float64 on the "
        f"CPU: {scale.pick(6, 2)} steps of the paper's sum, all {CLASSES} classes, random weights "
        "with settled statistics. Calls: cells whose class differs."
    )
    report.table_head("network", "arithmetic", "maps", "scores", "calls")
    x, many = scale.cells(scale.pick(8, 2)), scale.cells(scale.pick(1024, 8))
    steps = scale.pick(6, 2)
    for network in networks(scale):
        reference = network.on(torch.device("cpu")).double()
        exact = IntegratedGradCAM(reference, network.cam_layer)(
            x.cpu().double(), "all", n_steps=steps
        )
        calls = _scores(reference.float(), many.cpu()).argmax(1)
        module = network.on(scale.device).double()
        found = IntegratedGradCAM(module, network.cam_layer)(x.double(), "all", n_steps=steps)
        _compare(report, network, "float64", found, exact)
        for mode in scale.modes:
            with tf32(mode.tf32):
                module = mode.network(network, scale.device)
                found = IntegratedGradCAM(module, mode.layer(network.cam_layer))(
                    mode.laid_out(x), "all", n_steps=steps
                )
                differ = int((_scores(module, mode.laid_out(many)).argmax(1) != calls).sum())
            _compare(report, network, mode.name, found, exact, f"{differ} of {len(many)}")
        free_memory(scale.device)


def _scores(module: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([module(part).float().cpu() for part in x.split(256)])


def _compare(
    report: Report,
    network: Network,
    kind: str,
    found: Explanation,
    exact: Explanation,
    calls: str = "",
) -> None:
    maps = largest_difference(found.maps, exact.maps)
    scores = relative(found.logits, exact.logits)
    report.keep(f"difference {network.name}, {kind}", {"maps": maps, "scores": scores, "c": calls})
    report.row(network.name, kind, f"{maps:.1e}", f"{scores:.1e}", calls)
    limit = _LIMITS.get(kind, 0.5)
    if not max(maps, scores) <= limit:  # nor NaN
        report.fail(f"{network.name} in {kind} differs from the CPU by {max(maps, scores):.1e}")


def relative(ours: Tensor, exact: Tensor) -> float:
    """L2 difference over the L2 norm."""
    ours, exact = ours.detach().cpu().double(), exact.detach().cpu().double()
    return float((ours - exact).norm() / exact.norm())


def largest_difference(ours: Tensor, exact: Tensor) -> float:
    """Largest relative L2 difference of the maps (N, K, ...) of a cell."""
    ours, exact = (maps.cpu().double().flatten(1) for maps in (ours, exact))
    norm = exact.norm(dim=1)
    return float(((ours - exact).norm(dim=1) / norm.clamp(min=1e-3 * norm.max())).max())


def on_repeat(report: Report, scale: Scale) -> None:
    """The same input gives the same bytes, whatever ran before."""
    report.line("The same bytes for the same input, in torch's default arithmetic:")
    report.table_head("network", "scores", "maps", "... of a new explainer, trials of cuDNN on")
    x = scale.cells(scale.pick(64, 4))
    settings = {"formula": "complete", "baselines": "background", "rtol": 0.1}
    for network in networks(scale):
        module = network.on(scale.device)
        cam = IntegratedGradCAM(module, network.target_layer, **settings)
        scores, maps = _scores(module, x), cam(x).maps
        answers = [torch.equal(_scores(module, x), scores), torch.equal(cam(x).maps, maps)]
        torch.backends.cudnn.benchmark = True
        try:
            again = IntegratedGradCAM(module, network.target_layer, **settings)
            answers.append(torch.equal(again(x).maps, maps))
        finally:
            torch.backends.cudnn.benchmark = False
        report.row(network.name, *("equal" if same else "**differ**" for same in answers))
        report.keep(f"equal bytes {network.name}", answers)
        if not all(answers):
            report.fail(f"{network.name}: the same input gave other bytes")


def out_of_memory(report: Report, scale: Scale) -> None:
    """A card without room: batches are halved, and the maps stay the same."""
    report.line(
        "Explained on an empty card, and again with the card filled but for a fifth of what that "
        "took. Smaller batches round differently."
        if scale.device.type == "cuda"
        else "On a CPU the network refuses batches of more than 8 images instead."
    )
    report.table_head("network", "explainer", "out of memory", "difference of the maps")
    x = scale.cells(scale.pick(512, 24)).cpu()
    for network in networks(scale)[: scale.pick(3, 1)]:
        module = network.on(scale.device)
        cam = IntegratedGradCAM(module, network.cam_layer, n_steps=scale.pick(6, 2))
        free_memory(scale.device)
        cam(x[:1], 0, internal_batch_size=1)  # what libraries take once
        before = _allocated(scale)
        expected = cam(x, 0, internal_batch_size=len(x)).maps
        room = max(96 * 2**20, (_allocated(scale, peak=True) - before) // 5)
        explainers: dict[str, Callable[[], Explanation]] = {
            "the same, in one batch": lambda cam=cam: cam(x, 0, internal_batch_size=len(x)),  # type: ignore[misc]
            "a new one, batch by free memory": lambda module=module, network=network: (  # type: ignore[misc]
                IntegratedGradCAM(module, network.cam_layer, n_steps=scale.pick(6, 2))(x, 0)
            ),
        }
        for name, explain in explainers.items():
            with _crowded(module, scale, room) as count:
                found = explain()
                times = count()
            difference = largest_difference(found.maps, expected)
            report.row(network.name, name, f"{times} times", f"{difference:.1e}")
            report.keep(f"out of memory {network.name}, {name}", [room, times, difference])
            if not difference < 5e-2:
                report.fail(f"{network.name}: other maps after running out of memory")
            if not times and "same" in name:
                report.fail(f"{network.name}: memory did not run out, so nothing was shown")
        free_memory(scale.device)


def _allocated(scale: Scale, peak: bool = False) -> int:
    if scale.device.type != "cuda":
        return 0
    memory = torch.cuda.max_memory_allocated if peak else torch.cuda.memory_allocated
    return memory(scale.device)


@contextmanager
def _crowded(module: nn.Module, scale: Scale, room: int) -> Iterator[Callable[[], int]]:
    """Within it, only ``room`` bytes are free; gives how often memory ran out."""
    if scale.device.type == "cuda":
        free_memory(scale.device)
        filling = []
        # In pieces: each is one plain allocation.
        with suppress(torch.OutOfMemoryError):  # nearly full is full enough
            while (free := torch.cuda.mem_get_info(scale.device)[0] - room) > 2**24:
                size = min(free, 2**32)
                filling.append(torch.empty(size, dtype=torch.uint8, device=scale.device))
        before = torch.cuda.memory_stats(scale.device).get("num_ooms", 0)
        try:
            yield lambda: torch.cuda.memory_stats(scale.device).get("num_ooms", 0) - before
        finally:
            filling.clear()
            free_memory(scale.device)
        return
    refused = []

    def refuse(_module: object, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > 8:
            refused.append(len(inputs[0]))
            raise torch.OutOfMemoryError("There is no room for this batch.")

    handle = module.register_forward_pre_hook(refuse)
    try:
        yield lambda: len(refused)
    finally:
        handle.remove()


def tests_on_the_card(report: Report, scale: Scale, seconds: float) -> None:
    """Run tests/gpu with pytest, in a process of its own."""
    paths = [str(ROOT / part) for part in ("", "tests", "training")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*paths, *sys.path])}
    if scale.small:  # as for the whole script: no card
        environment["CUDA_VISIBLE_DEVICES"] = ""
    chosen = ["-k", "equals_the_cpu or fits_what"] if scale.small else []
    # The project's settings ask for plugins, and make every warning an error.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "--noconftest", "-c", os.devnull]
    command += ["--rootdir", str(ROOT), "-p", "no:cacheprovider", "--disable-warnings"]
    command += [str(ROOT / "tests/gpu"), *chosen]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds
        )
        output, status = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        output, status = str((late.stdout or b"").decode()), 1
        report.line(f"Stopped after {seconds:.0f} s.")
    lines = [line for line in output.splitlines() if line.strip()]
    if "No module named pytest" in output:
        raise ImportError("pytest")
    report.keep("tests/gpu", lines)
    report.line("```\n" + "\n".join(lines[-12:] if status == 0 else lines[-60:]) + "\n```")
    if status != 0:
        report.fail(f"tests/gpu: pytest ended with status {status}")


def on_the_packaged_sample(report: Report, scale: Scale) -> None:
    """Calls and maps of the packaged model and image, on the card and on the CPU."""
    from cellcam.models.bundle import load_model
    from cellcam.pipeline.find_field import find_field
    from cellcam.pipeline.matching import match
    from cellcam.request import Request
    from cellcam.stacks.opening import open_stack

    sample, device = ROOT / "sample_data", str(scale.device)
    ours, cpu = (load_model(sample / "demo_model", name) for name in (device, "cpu"))
    matched = match(open_stack(sample / "demo_cells.ome.tif"), cpu.spec, Request())
    crops = find_field(matched, next(matched.fields())).crops[: scale.pick(10**6, 4)]
    calls = [model.probabilities(crops) for model in (ours, cpu)]
    maps = [model.explain(crops, rtol=0.1).maps for model in (ours, cpu)]
    shares = [torch.from_numpy(model.channel_shares(crops)) for model in (ours, cpu)]
    difference = float(abs(calls[0] - calls[1]).max())
    differ = int((calls[0].argmax(1) != calls[1].argmax(1)).sum())
    of_maps, of_shares = largest_difference(*maps), relative(*shares)
    report.keep("packaged sample", [difference, differ, of_maps, of_shares])
    report.line(
        f"{len(crops)} cells of the packaged sample with the packaged model, in torch's default "
        f"arithmetic, beside the CPU: probabilities differ by at most {difference:.1e}, {differ} "
        f"calls differ; maps (each to an error of 10 %) by at most {significant(of_maps)} of their "
        f"norm, channel shares by {of_shares:.1e}."
    )
    if not (difference < 2e-2 and of_maps < 0.3 and of_shares < 5e-2):
        report.fail("the packaged sample differs between card and CPU")
