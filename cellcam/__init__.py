"""CellCam: what is this cell, and what in the image says so?

The public names are resolved when they are first used, so that ``import cellcam``
costs nothing: neither torch nor pandas is imported before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cellcam.versions import __version__ as __version__

if TYPE_CHECKING:
    from cellcam.cells.finder import CellFinder as CellFinder
    from cellcam.cells.threshold_finder import ThresholdFinder as ThresholdFinder
    from cellcam.cells.threshold_finder import find_cells as find_cells
    from cellcam.errors import CellCamError as CellCamError
    from cellcam.errors import InputError as InputError
    from cellcam.errors import ModelError as ModelError
    from cellcam.exchange.labels import open_labels as open_labels
    from cellcam.explain.explanation import Explanation as Explanation
    from cellcam.explain.integrated_gradcam import IntegratedGradCAM as IntegratedGradCAM
    from cellcam.models.bundle import load_model as load_model
    from cellcam.models.bundle import save_model as save_model
    from cellcam.models.model import CellModel as CellModel
    from cellcam.models.spec import ModelSpec as ModelSpec
    from cellcam.pipeline.explain_field import FieldResult as FieldResult
    from cellcam.pipeline.explain_field import explain_field as explain_field
    from cellcam.request import ImageOptions as ImageOptions
    from cellcam.request import Request as Request
    from cellcam.stacks.opening import open_stack as open_stack
    from cellcam.stacks.stack import Stack as Stack

_HOME = {
    "CellFinder": "cellcam.cells.finder",
    "ImageOptions": "cellcam.request",
    "Request": "cellcam.request",
    "ThresholdFinder": "cellcam.cells.threshold_finder",
    "CellCamError": "cellcam.errors",
    "CellModel": "cellcam.models.model",
    "Explanation": "cellcam.explain.explanation",
    "FieldResult": "cellcam.pipeline.explain_field",
    "InputError": "cellcam.errors",
    "IntegratedGradCAM": "cellcam.explain.integrated_gradcam",
    "ModelError": "cellcam.errors",
    "ModelSpec": "cellcam.models.spec",
    "Stack": "cellcam.stacks.stack",
    "explain_field": "cellcam.pipeline.explain_field",
    "find_cells": "cellcam.cells.threshold_finder",
    "load_model": "cellcam.models.bundle",
    "open_labels": "cellcam.exchange.labels",
    "open_stack": "cellcam.stacks.opening",
    "save_model": "cellcam.models.bundle",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'cellcam' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
