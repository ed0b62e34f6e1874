"""The folder of the results of single stacks: what lies there of other images stays."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import JsonValue

from cellcam.errors import UsageError
from cellcam.stacks.stack import Stack

RUN = "run.json"


def described_image(stack: Stack) -> str:
    """What ``run.json`` calls an image: its path, or its name where it is no file."""
    return str(stack.path.absolute()) if stack.path else stack.name


def check_folder(out: Path, stack: Stack) -> None:
    """Refuse a folder whose results the results of this stack would overwrite.

    Raises
    ------
    UsageError
        If the folder holds the results of a batch, or of another image of the same name.
    """
    newest = _read(out / RUN)
    if newest is not None and "image" not in newest:
        raise UsageError(f"{out} holds the results of a batch. Choose another --out.")
    same_name = _described_as(out, stack.name, newest)
    if same_name not in (None, described_image(stack)):
        raise UsageError(
            f"{out} holds results of another image with this name, {same_name}. Choose another "
            "--out."
        )


def keep_other_run(out: Path, stack: Stack | None = None) -> None:
    """Rename a ``run.json`` about an image other than this to ``NAME.run.json``."""
    earlier = _read(out / RUN)
    if earlier is None or "image" not in earlier:
        return
    if stack is not None and earlier["image"] == described_image(stack):
        return
    os.replace(out / RUN, out / f"{_name(earlier)}.{RUN}")


def _described_as(out: Path, name: str, newest: dict[str, JsonValue] | None) -> str | None:
    """The image that the folder holds results of under a name."""
    for run in (newest, _read(out / f"{name}.{RUN}")):
        if run is not None and _name(run) == name:
            return str(run["image"])
    return None


def _name(run: dict[str, JsonValue]) -> str:
    """Name under which a run wrote its results."""
    return str(run.get("name") or Path(str(run.get("image"))).name)


def _read(path: Path) -> dict[str, JsonValue] | None:
    """Content of a ``run.json``; None if there is none that can be read."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
