"""CellCam: what is this cell, and what in the image says so?

The public names are resolved when they are first used, so that ``import cellcam``
costs nothing: neither torch nor pandas is imported before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cellcam.versions import __version__ as __version__

if TYPE_CHECKING:
    from cellcam.cells.finding import find_cells as find_cells
    from cellcam.errors import CellCamError as CellCamError
    from cellcam.errors import InputError as InputError
    from cellcam.errors import ModelError as ModelError
    from cellcam.explain.explanation import Explanation as Explanation
    from cellcam.explain.integrated_gradcam import IntegratedGradCAM as IntegratedGradCAM
    from cellcam.models.bundle import load_model as load_model
    from cellcam.models.bundle import save_model as save_model
    from cellcam.models.model import CellModel as CellModel
    from cellcam.models.spec import ModelSpec as ModelSpec
    from cellcam.pipeline.field import FieldResult as FieldResult
    from cellcam.pipeline.field import explain_field as explain_field
    from cellcam.stacks.opening import open_stack as open_stack
    from cellcam.stacks.stack import Stack as Stack

_HOME = {
    "CellCamError": "cellcam.errors",
    "CellModel": "cellcam.models.model",
    "Explanation": "cellcam.explain.explanation",
    "FieldResult": "cellcam.pipeline.field",
    "InputError": "cellcam.errors",
    "IntegratedGradCAM": "cellcam.explain.integrated_gradcam",
    "ModelError": "cellcam.errors",
    "ModelSpec": "cellcam.models.spec",
    "Stack": "cellcam.stacks.stack",
    "explain_field": "cellcam.pipeline.field",
    "find_cells": "cellcam.cells.finding",
    "load_model": "cellcam.models.bundle",
    "open_stack": "cellcam.stacks.opening",
    "save_model": "cellcam.models.bundle",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cellcam' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
