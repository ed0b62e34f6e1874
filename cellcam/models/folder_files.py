"""The files of a model folder, which may be anyone's: plain, whole, and read with care."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from cellcam.errors import ModelError

COPY_AGAIN = "Copy the model folder again, or train the model again."

_PASSIVE_ENDINGS = {".json", ".safetensors", ".md", ".txt", ".csv", ".png", ".html"}
_PASSIVE_NAMES = {"LICENSE", ".DS_Store", "Thumbs.db", "desktop.ini"}
_MAX_JSON_BYTES = 2**22
_COMMAND_PREFIXES = ("$", "@", "%")
_Tensors = TypeVar("_Tensors")


@contextmanager
def unreadable_is_refused(folder: Path) -> Iterator[None]:
    """Turn what the system refuses within a model folder into `ModelError`."""
    try:
        yield
    except OSError as error:
        where, why = error.filename or folder, error.strerror or str(error)
        raise ModelError(
            f"{where} cannot be read: {why}. Check that you may read the folder and all in it."
        ) from error


def refuse_active_content(folder: Path) -> None:
    """Refuse files that can carry code: pickles, scripts, JSON with bundle expressions."""
    inside = os.path.realpath(folder)
    for path in sorted(folder.rglob("*")):
        if not Path(os.path.realpath(path)).is_relative_to(inside):
            raise ModelError(
                f"{path} is a link that leads out of the model folder. Refused. Copy what it "
                "leads to into the folder."
            )
        if path.is_dir() or path.name in _PASSIVE_NAMES:
            continue
        if path.suffix not in _PASSIVE_ENDINGS:
            raise ModelError(
                f"{path} is no file that CellCam writes; such files can carry code. "
                "Weights are read from models/model.safetensors alone. Refused. Move it elsewhere."
            )
        if not path.is_file():
            raise ModelError(f"{path} is no file but a pipe, or a link to nothing. {COPY_AGAIN}")
        if path.suffix == ".json":
            _refuse_commands(read_json(path), path)


def read_json(path: Path) -> JsonValue:
    """Content of a JSON file; `ModelError` if it is none, or far too large."""
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise ModelError(f"{path} is larger than any description of a model. {COPY_AGAIN}")
    try:
        content: JsonValue = json.loads(path.read_text("utf-8"))
        return content
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no valid JSON: {error}. {COPY_AGAIN}") from error


def read_tensors(
    path: Path, sha256: str, most_bytes: int, load: Callable[[bytes], _Tensors]
) -> _Tensors:
    """Tensors of a safetensors file, if it is the file that the description was written for.

    Parameters
    ----------
    sha256 : of the file, from the description
    most_bytes : a larger file is not read
    load : of safetensors, for torch or numpy
    """
    from safetensors import SafetensorError

    if not path.is_file():
        raise ModelError(
            f"{path.parents[1]} is not complete: {_name(path)} is missing. {COPY_AGAIN}"
        )
    if path.stat().st_size > most_bytes:
        raise ModelError(f"{path} is larger than it can be for this model. {COPY_AGAIN}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(
            f"{path} is damaged, or of another model: it is not the file that the description "
            f"was written for (sha256 differs). {COPY_AGAIN}"
        )
    try:
        return load(content)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{path} is no safetensors file: {error}. {COPY_AGAIN}") from error


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _refuse_commands(content: JsonValue, path: Path) -> None:
    """Refuse strings that MONAI would evaluate ("$...") or instantiate ("_target_")."""
    pending = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str) and (
            value.lstrip().startswith(_COMMAND_PREFIXES) or value == "_target_"
        ):
            raise ModelError(
                f"{path} contains {value[:60]!r}, which MONAI would execute or look up. "
                "A CellCam model is plain data. Refused."
            )
