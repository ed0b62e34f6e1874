r"""What CellCam does on a graphics card: is it right, how fast is it, what holds it up?

    python benchmarks/gpu.py                 # on a machine with a CUDA torch: under six minutes
    python benchmarks/gpu.py --small         # that all of it runs, on a CPU: under a minute

Needs this checkout and a CUDA torch; nothing is installed or fetched. Packages that are missing
cost the parts that need them. Results are written as they come, to the screen and into the folder
``--out`` (by default $OUT, else build/gpu): ``gpu.md`` is the section for docs/performance.md,
``gpu.json`` holds every figure. Parts that no longer fit into ``--seconds`` are skipped, the most
valuable run first. Status 1 if anything failed.

On a machine without a network, what is missing can be carried as wheels. Once, in the checkout,
where pip works (10 MB; for Python 3.12 on Linux x86-64):

    echo /.whl/ >> "$(git rev-parse --git-path info/exclude)"
    pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 -d .whl pydantic pydantic_core==PAIR annotated-types \
        typing-inspection monai captum dask distributed zict tblib locket partd tornado \
        ome-types xsdata pydantic-extra-types zarr donfig numcodecs google-crc32c msgspec
    pip wheel -q --no-deps -w .whl grad-cam ttach

where PAIR is the version that the metadata of that pydantic ask for (2.50.5 for 2.14.4). Then, for
the tool ``run`` of the device machine, from the checkout that it copies, with ``carry=[".whl"]``
and ``timeout_s=420`` (results come back from $OUT), one command:

    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target /tmp/site \
    .whl/*.whl; PYTHONUNBUFFERED=1 PYTHONPATH=/tmp/site python3 benchmarks/gpu.py --seconds 330
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "training")]  # this checkout, whatever is installed

# Packages, and what is left out without them.
_PARTS = {
    "numpy": "everything",
    "pydantic": "the packaged sample, CellModel, feeding",
    "monai": "MONAI's Grad-CAM, and its networks (torchvision's stand in for them)",
    "torchvision": "networks that stand in for MONAI's",
    "captum": "captum's Grad-CAM",
    "grad-cam": "pytorch-grad-cam's Grad-CAM",
    "pytest": "tests/gpu",
    "hypothesis": "tests/gpu",
    "triton": "torch.compile",
    "scikit-image": "the packaged sample, feeding",
    "tifffile": "the packaged sample, feeding",
    "dask": "the packaged sample, feeding",
    "ome-types": "the packaged sample, feeding",
    "distributed": "batches with workers",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="show on the CPU that all of it runs")
    parser.add_argument("--seconds", type=float, default=330, help="budget for everything")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "build/gpu"))
    parser.add_argument("--parts", nargs="*", help="only parts whose titles contain these words")
    chosen = parser.parse_args()
    if chosen.small:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    if not chosen.small and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no CUDA card here. On a CPU: --small.")
        return 1
    return measure(torch.device("cpu" if chosen.small else "cuda"), chosen)


def measure(device, chosen: argparse.Namespace) -> int:  # type: ignore[no-untyped-def]
    """Run all parts, the most valuable first; returns the exit status."""
    from on_gpu import correctness, feeding, speed
    from on_gpu.networks import Scale
    from on_gpu.report import Report

    report, scale = Report(chosen.out, chosen.seconds), Scale(device, chosen.small)
    report.line("## On a graphics card\n")
    if scale.small:
        report.line("**Small mode on a CPU: the figures say nothing.**\n")
    about(report, device)
    peaks: dict[str, float] = {}
    limit = scale.pick(80, 45)
    parts = [
        ("The same as on the CPU", 20, partial(correctness.beside_the_cpu, report, scale)),
        ("The same bytes", 10, partial(correctness.on_repeat, report, scale)),
        ("When memory runs out", 20, partial(correctness.out_of_memory, report, scale)),
        ("The packaged sample", 15, partial(correctness.on_the_packaged_sample, report, scale)),
        ("Matrix products", 8, lambda: peaks.update(speed.matrix_peak(report, scale))),
        ("Classifying", 15, partial(speed.classifying, report, scale, peaks)),
        ("Explaining", 30, partial(speed.explaining, report, scale, peaks)),
        ("From main memory", 10, partial(speed.as_a_model, report, scale)),
        (
            "Tests",
            40,
            lambda: correctness.tests_on_the_card(report, scale, min(limit, report.left)),
        ),
        ("Feeding", 40, partial(feeding.feeding, report, scale)),
        ("Beside other libraries", 15, partial(speed.beside_peers, report, scale)),
        ("Compiled", 30, partial(speed.compiled, report, scale)),
    ]
    for title, seconds, part in parts:
        if not chosen.parts or any(word.lower() in title.lower() for word in chosen.parts):
            report.section(title, 0 if scale.small else seconds, part)
    report.keep("driver at the end", _driver())
    return report.end()


def about(report, device) -> None:  # type: ignore[no-untyped-def]
    """Write what was measured on, and what is missing."""
    import torch

    facts = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "driver, clocks (SM, most, memory), power, limit, temperature": _driver(),
    }
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        facts["card"] = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
        facts["multiprocessors"] = card.multi_processor_count
    installed, missing = {}, {}
    for name, part in _PARTS.items():
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            missing[name] = part
    report.keep("about", {**facts, "packages": installed, "missing": missing})
    report.line("Measured with " + ", ".join(f"{k} {v}" for k, v in facts.items() if v) + "; ")
    report.line(", ".join(f"{name} {number}" for name, number in installed.items()) + ".")
    for name, part in missing.items():
        report.line(f"- **{name} is not installed.** Left out: {part}.")


def _driver() -> str:
    names = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit"
    return _output(
        "nvidia-smi", f"--query-gpu={names},temperature.gpu", "--format=csv,noheader", "-i", "0"
    )


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
