"""Facts that ``cellcam info`` prints about this machine, an image or a model folder."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.versions import package_versions

if TYPE_CHECKING:
    from pydantic import JsonValue

    from cellcam.models.spec import ModelSpec

_PACKAGES = ("cellcam", "torch", "torchvision", "monai", "openvino", "numpy", "tifffile", "napari")


def about_machine() -> dict[str, JsonValue]:
    """Versions of Python and of the main packages, and the devices of this machine."""
    return {
        "python": platform.python_version(),
        **package_versions(_PACKAGES),
        "devices": dict(_devices()),
        "device auto": _auto_device(),
    }


def about_image(
    path: Path, axes: str | None = None, series: int | None = None
) -> dict[str, JsonValue]:
    """Shape, channels and scale of an image."""
    from cellcam.stacks.opening import open_stack

    stack = open_stack(path, axes=axes, series=series)
    sizes = {"z": stack.pixel_size_um.z, "y": stack.pixel_size_um.y, "x": stack.pixel_size_um.x}
    known = ", ".join(f"{axis} {size:.4g}" for axis, size in sizes.items() if size)
    return {
        "image": str(path),
        "shape TCZYX": " x ".join(map(str, stack.data.shape)),
        "pixels": str(stack.data.dtype),
        "channels": ", ".join(stack.channels) + ("" if stack.channels_named else " (not named)"),
        "pixel size um": known or "unknown",
        "time step s": stack.time_step_s or "unknown",
        **({"notes": " ".join(stack.notes)} if stack.notes else {}),
    }


def about_model(folder: Path) -> dict[str, JsonValue]:
    """Description of a model that can be used; `ModelError` if it cannot."""
    from cellcam.models.bundle import load_model

    spec = load_model(folder, "cpu").spec
    pixel = " x ".join(f"{edge:g}" for edge in spec.pixel_size_um or ())
    return {
        "model": str(folder),
        "network": f"{spec.network}, {spec.spatial_dims}-D",
        "classes": ", ".join(spec.classes),
        "channels": ", ".join(spec.channels),
        "crop pixels": " x ".join(map(str, spec.crop_size)),
        "pixel size um": pixel or "unknown",
        "sees": spec.field,
        "finds cells in": _finding_channel(spec),
        "explains": spec.explaining,
        "unlike cells": "not flagged" if spec.known_cells is None else "flagged",
        **({"note": spec.note} if spec.note else {}),
        "weights sha256": spec.weights_sha256,
        "validation": _validation(spec.training.get("validation")),
    }


def _finding_channel(spec: ModelSpec) -> str:
    if spec.finding is not None:
        look = spec.finding.look_for
        return f"{spec.finding.channel}, as {look} cells" if look else spec.finding.channel
    return spec.channels[0] if len(spec.channels) == 1 else "not known; --find-channel names it"


def _validation(metrics: JsonValue) -> str:
    """How well the model called cells that it was not trained on; the report has the rest."""
    if not isinstance(metrics, dict):
        return "not measured"
    try:
        text = f"balanced accuracy {metrics['balanced_accuracy']:.3f}"
        intervals = metrics.get("intervals")
        interval = intervals.get("balanced_accuracy") if isinstance(intervals, dict) else None
        if isinstance(interval, list):
            text += f" ({interval[0]:.3f} to {interval[1]:.3f})"
        return f"{text}, calibration error {metrics['ece']:.3f}, {metrics['n']} cells"
    except (KeyError, ValueError, TypeError, IndexError):  # the model folder may be anyone's
        return "not stated in a way that can be read"


def _devices() -> dict[str, str]:
    """Devices of this machine, under the names that ``--device`` takes."""
    import torch

    threads = torch.get_num_threads()
    devices = {"cpu": f"{threads} thread{'s' if threads > 1 else ''}"}
    if not torch.cuda.is_available():
        devices["cpu"] += ", no GPU was found" if not torch.mps.is_available() else ""
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        devices[f"cuda:{index}"] = f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    if torch.mps.is_available():
        devices["mps"] = "Apple GPU"
    return devices


def _auto_device() -> str:
    from cellcam.models.device import choose_device

    return str(choose_device("auto"))
