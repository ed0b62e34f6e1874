"""Packages that read the files of microscopes and slide scanners: extras, imported when needed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from cellcam.errors import InputError

EXTRA = "microscopes"


def reading_package(module: str, package: str, path: Path) -> ModuleType:
    """Import the module that reads a file.

    Parameters
    ----------
    module, package : its name in Python, and that of its package for pip

    Raises
    ------
    InputError
        If it cannot be imported; says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"{path} is read by the package {package}, which cannot be imported ({error}). Install "
            f"it with pip install 'cellcam[{EXTRA}]', or export the image as OME-TIFF."
        ) from error
