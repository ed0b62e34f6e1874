"""Model folders: a MONAI Bundle of plain JSON and safetensors, from which nothing is executed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from cellcam.errors import ModelError, UsageError
from cellcam.explain.memory import is_out_of_memory
from cellcam.models.device import choose_device, is_broken
from cellcam.models.engine_choice import choose_engine
from cellcam.models.folder_files import (
    COPY_AGAIN,
    read_json,
    read_tensors,
    refuse_active_content,
    unreadable_is_refused,
)
from cellcam.models.model import CellModel
from cellcam.models.model_card import bundle_metadata, model_card
from cellcam.models.registry import build_network
from cellcam.models.spec import ModelSpec
from cellcam.models.training_cells_file import read_training_cells, write_training_cells
from cellcam.stacks.writing import whole_file, write_json
from cellcam.versions import package_versions

if TYPE_CHECKING:
    from torch import Tensor, nn

METADATA = Path("configs/metadata.json")
SPEC = Path("configs/inference.json")
WEIGHTS = Path("models/model.safetensors")
CARD = Path("docs/README.md")

_TRAIN = "'cellcam train --out'"
_FORMAT = 1  # of the description, see `ModelSpec.format_version`


def save_model(model: CellModel, folder: str | Path) -> CellModel:
    """Write a model folder; returns the model with the hash of its weights in the description.

    The description is written last and carries the hash of the weights, so that an
    interrupted save is recognised when the folder is opened.
    """
    from safetensors.torch import save

    folder = Path(folder)
    tensors = {
        name: t.detach().cpu().contiguous() for name, t in model.network.state_dict().items()
    }
    weights = save(tensors)
    spec = model.spec.model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    if model.training_cells is not None:
        known = write_training_cells(folder, model.training_cells)
        spec = spec.model_copy(update={"known_cells": known})
    with whole_file(folder / WEIGHTS) as temporary:
        temporary.write_bytes(weights)
    with whole_file(folder / CARD) as temporary:
        temporary.write_text(model_card(spec), "utf-8")
    versions = package_versions(("cellcam", "monai", "torch", "numpy"))
    write_json(folder / METADATA, bundle_metadata(spec, versions))
    write_json(folder / SPEC, spec.model_dump(mode="json"))
    return CellModel(spec, model.network, model.device, model.training_cells, model.engine)


def load_model(folder: str | Path, device: str = "auto", engine: str = "torch") -> CellModel:
    """Open a model folder.

    Parameters
    ----------
    folder : as written by `save_model`
    device : see `choose_device`
    engine : of calls: ``"torch"`` or ``"openvino"``, see `choose_engine`; conversion for OpenVINO
        takes up to seconds

    Raises
    ------
    UsageError
        If device or engine cannot be used here.
    ModelError
        If something in the folder cannot be read or could carry code, the description is not
        valid, the weights do not fit it tensor by tensor or are not finite, or a crop cannot be
        called and explained. Nothing in the folder is ever executed.
    """
    folder = Path(folder)
    chosen = choose_device(device)
    spec = read_spec(folder)
    with unreadable_is_refused(folder):
        tensors = _read_weights(folder, spec)
        known = read_training_cells(folder, spec)
    network = build_network(spec.network, spec.spatial_dims, len(spec.channels), len(spec.classes))
    network.load_state_dict(tensors, strict=True)
    model = CellModel(spec, network, chosen, known)
    check_on_a_crop(model, folder)
    if engine != model.engine.facts.name:
        model.engine = choose_engine(engine, network, chosen, spec.input_shape, spec.temperature)
    return model


def read_spec(folder: Path) -> ModelSpec:
    """The checked description of a model folder, without its weights."""
    with unreadable_is_refused(folder):
        if not (folder / SPEC).is_file():
            raise ModelError(f"{_why_no_model(folder)} Give the folder that {_TRAIN} wrote.")
        refuse_active_content(folder)
        content = read_json(folder / SPEC)
    _refuse_later_format(content, folder)
    try:
        return ModelSpec.model_validate(content)
    except ValidationError as error:
        why = _first_problem(error)
        raise ModelError(f"{folder / SPEC} describes no model ({why}). {COPY_AGAIN}") from error


def _why_no_model(folder: Path) -> str:
    """What stands in the place of a model, as a sentence."""
    if folder.is_dir():
        return f"{folder} is no CellCam model: {SPEC} is missing, or no file."
    if folder.exists():
        return f"{folder} is a file; a CellCam model is a folder."
    return f"There is no folder {folder}."


def _first_problem(error: ValidationError) -> str:
    """The first of the problems, in one line; names in the file may be of any length."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    text = ": ".join(filter(None, [where, first["msg"].removeprefix("Value error, ")]))
    return " ".join(text.split())[:300]


def _refuse_later_format(content: JsonValue, folder: Path) -> None:
    version = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > _FORMAT:
        raise ModelError(
            f"{folder / SPEC} was written by a later CellCam (format {version}; this one reads "
            f"{_FORMAT}). Update CellCam."
        )


def _read_weights(folder: Path, spec: ModelSpec) -> dict[str, Tensor]:
    """Weights of the described network, checked tensor by tensor."""
    from safetensors.torch import load

    path = folder / WEIGHTS
    expected = expected_tensors(spec)
    room = sum(t.numel() * t.element_size() for t in expected.values()) + 100_000
    tensors = read_tensors(path, spec.weights_sha256, 2 * room, load)
    check_tensors(tensors, expected, path)
    return tensors


def expected_tensors(spec: ModelSpec) -> dict[str, Tensor]:
    """Names, shapes and types of the network's tensors, without allocating them."""
    import torch

    with torch.device("meta"):
        network: nn.Module = build_network(
            spec.network, spec.spatial_dims, len(spec.channels), len(spec.classes)
        )
    return dict(network.state_dict())


def check_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    """Refuse tensors that differ in name, shape or type from those expected, or are not finite."""
    import torch

    odd = sorted(set(tensors) ^ set(expected))
    if odd:
        raise ModelError(
            f"{path} does not fit the network: {odd[0]} is missing or unknown. {COPY_AGAIN}"
        )
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ModelError(
                f"{path} does not fit the network: {name} is {tensor.dtype} "
                f"{tuple(tensor.shape)}, expected {wanted.dtype} {tuple(wanted.shape)}. "
                f"{COPY_AGAIN}"
            )
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path} holds NaN or infinite values in {name}. Train it again.")


def check_on_a_crop(model: CellModel, folder: Path) -> None:
    """Call a crop without light, and find the layer of its maps."""
    import numpy as np

    spec = model.spec
    size = " x ".join(map(str, spec.crop_size))
    try:
        called = model.probabilities(np.zeros((1, *spec.input_shape), np.uint16))
        layers = model.layers
    except Exception as error:
        if is_broken(error):
            raise
        if is_out_of_memory(error) or isinstance(error, MemoryError):
            raise UsageError(
                f"The device {model.device} has not enough free memory for one crop of {size} "
                "pixels. Free some, or use another --device."
            ) from error
        raise ModelError(
            f"{folder / SPEC} describes no model: {spec.network} cannot see crops of {size} "
            f"pixels ({str(error).partition(chr(10))[0]}). {COPY_AGAIN}"
        ) from error
    if not np.isfinite(called).all():
        raise ModelError(
            f"{folder} gives no probabilities: numbers in its weights, normalisation or "
            "temperature are too large or too small. Train the model again."
        )
    if spec.target_layer not in layers:
        raise ModelError(
            f"{folder / SPEC} names the layer {spec.target_layer!r}, of which {spec.network} makes "
            f"no maps. {COPY_AGAIN}"
        )
