"""Model folders that are damaged, foreign or hostile, and a process without the rights of root."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from cellcam.models.bundle import METADATA, SPEC, WEIGHTS
from cellcam.models.training_cells_file import TRAINING_CELLS

Damage = Callable[[Path], object]


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def described(**entries: object) -> Damage:
    """Entries of the description that do not fit the rest of the model."""
    return lambda model: edit(model / SPEC, lambda spec: spec.update(entries))


def with_weights(model: Path, content: bytes) -> None:
    """Replace the weights and state their hash, as an attacker would."""
    (model / WEIGHTS).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(model / SPEC, lambda spec: spec.update(weights_sha256=digest))


def with_cells(model: Path, content: bytes) -> None:
    """Replace the measures of the training cells and state their hash."""
    (model / TRAINING_CELLS).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(model / SPEC, lambda spec: spec["known_cells"].update(sha256=digest))


def with_tensors(change: Callable[[torch.Tensor], torch.Tensor]) -> Damage:
    """Change every floating-point tensor of the weights."""

    def damage(model: Path) -> None:
        tensors = load_file(model / WEIGHTS).items()
        changed = {n: change(t) if t.is_floating_point() else t for n, t in tensors}
        with_weights(model, save(changed))

    return damage


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def junk(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def unreadable(path: Path) -> None:
    path.chmod(0)


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere.json"))


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link_outside(path: Path) -> None:
    outside = path.parents[2] / path.name
    shutil.move(path, outside)
    path.symlink_to(outside)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


class _Canary:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (open, ("canary", "w"))


PICKLE = pickle.dumps(_Canary())
_FILES = {"description": SPEC, "weights": WEIGHTS, "training cells": TRAINING_CELLS}


def _each(*damages: Callable[[Path], object]) -> dict[str, Damage]:
    return {
        f"{damage.__name__} {name}": lambda model, d=damage, f=file: d(model / f)
        for name, file in _FILES.items()
        for damage in damages
    }


# The damages of each fault of the document.
DAMAGES: dict[str, dict[str, Damage]] = {
    "a file of the model folder is missing, empty, cut off or junk": {
        **_each(Path.unlink, empty, cut, junk),
        "cut metadata": lambda model: cut(model / METADATA),
    },
    "a folder, a pipe or a link to nothing, to itself or out of the folder in place of a file": {
        **_each(folder_in_its_place, pipe, link_to_nothing, link_to_itself, link_outside),
        "metadata are a pipe": lambda model: pipe(model / METADATA),
        "metadata link to themselves": lambda model: link_to_itself(model / METADATA),
    },
    "a file or folder of the model that must not be read": {
        **_each(unreadable),
        "metadata": lambda model: unreadable(model / METADATA),
        "folder of the weights": lambda model: unreadable(model / "models"),
        "folder of the description": lambda model: unreadable(model / "configs"),
    },
    "no model folder: missing, empty, a file": {
        "missing": shutil.rmtree,
        "empty": lambda model: (shutil.rmtree(model), model.mkdir()),
        "a file": lambda model: (shutil.rmtree(model), model.write_text("model")),
    },
    "a description of a later version": {
        "number": described(format_version=2),
        "number and entries": described(format_version=3, organelles=["a"], classes={"a": 1}),
        "entries": described(organelles=["a"]),
    },
    "a description that does not fit the weights": {
        "more classes": described(classes=["G1", "S", "M", "more"]),
        "fewer classes": described(classes=["G1", "S"]),
        "more channels": described(channels=["DNA", "actin", "more"]),
        "another network": described(network="resnet18"),
        "no layer": described(target_layer="nowhere"),
        "a layer without maps": described(target_layer="head"),
        "crops too small for the network": described(crop_size=[1, 1]),
        "crops of gigabytes": described(crop_size=[4096, 4096, 4096], spatial_dims=3),
    },
    "weights of another type, shape or size, NaN, or that give no probabilities": {
        "float64": with_tensors(torch.Tensor.double),
        "another shape": with_tensors(lambda tensor: tensor.repeat(2, *[1] * (tensor.ndim - 1))),
        "NaN": with_tensors(lambda tensor: tensor * float("nan")),
        "overflow": with_tensors(lambda tensor: torch.full_like(tensor, 3e38)),
        "temperature": described(temperature=1e-300),
        "cut off": lambda model: with_weights(model, (model / WEIGHTS).read_bytes()[:-10]),
        "a header of 2^60 bytes": lambda model: with_weights(model, (2**60).to_bytes(8, "little")),
    },
    "a hostile pickle in place of a file, or beside it": {
        "weights": lambda model: with_weights(model, PICKLE),
        "training cells": lambda model: with_cells(model, PICKLE),
        "beside": lambda model: (model / "models" / "model.pt").write_bytes(PICKLE),
    },
}

_VERSION_3 = 0x20080522  # of the structures, from <linux/capability.h>
_READS_ALL = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextmanager
def as_anybody() -> Iterator[None]:
    """Take from this thread the right of root to read every file.

    Raises
    ------
    OSError
        If the system does not allow that.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "rights cannot be read")
    before = data[0]
    data[0] &= ~_READS_ALL
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "rights cannot be given up")
    try:
        yield
    finally:
        data[0] = before
        libc.capset(header, data)
