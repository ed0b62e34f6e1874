"""What all runs write to ``run.json``: the request, the model, the code."""

from __future__ import annotations

import platform
import sys

from pydantic import JsonValue

from cellcam.models.spec import ModelSpec
from cellcam.notice import RESEARCH_USE
from cellcam.request import Request
from cellcam.versions import code_version, package_versions

_PACKAGES = ("cellcam", "torch", "monai", "numpy", "scikit-image", "tifffile", "distributed")


def describe_run(spec: ModelSpec, request: Request) -> dict[str, JsonValue]:
    """Plain data that says what ran; callers add what came out."""
    return {
        "command": list(sys.argv[1:]),
        "model": spec.model_dump(mode="json", exclude={"training"}),
        "request": request.description(),
        "planes": request.z if request.z is not None else spec.field,
        "code": code_version(),
        "versions": dict(package_versions(_PACKAGES)),
        "python": platform.python_version(),
        "notice": RESEARCH_USE,
    }
