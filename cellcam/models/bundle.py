"""Model folders: a MONAI Bundle of plain JSON and safetensors, from which nothing is executed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from cellcam.errors import CellCamError, ModelError
from cellcam.models.device import choose_device
from cellcam.models.engine_choice import choose_engine
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

_PASSIVE_ENDINGS = {".json", ".safetensors", ".md", ".txt", ".csv", ".png", ".html"}
_PASSIVE_NAMES = {"LICENSE", ".DS_Store", "Thumbs.db", "desktop.ini"}
_MAX_JSON_BYTES = 2**22
_COMMAND_PREFIXES = ("$", "@", "%")


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
        If something in the folder could carry code, the description is not valid, or the
        weights do not fit it tensor by tensor or are not finite. Nothing in the folder is
        ever executed.
    """
    folder = Path(folder)
    chosen = choose_device(device)
    spec = read_spec(folder)
    tensors = _read_weights(folder, spec)
    network = build_network(spec.network, spec.spatial_dims, len(spec.channels), len(spec.classes))
    _check_target_layer(network, spec, folder)
    network.load_state_dict(tensors, strict=True)
    known = read_training_cells(folder, spec)
    network = network.to(chosen).eval()
    calls_by = choose_engine(engine, network, chosen, spec.input_shape, spec.temperature)
    return CellModel(spec, network, chosen, known, calls_by)


def read_spec(folder: Path) -> ModelSpec:
    """The checked description of a model folder, without its weights."""
    if not (folder / SPEC).is_file():
        raise ModelError(
            f"{folder} is no CellCam model: {SPEC} is missing. "
            "Give the folder that 'cellcam train --out' wrote."
        )
    _refuse_active_content(folder)
    try:
        return ModelSpec.model_validate(_read_json(folder / SPEC))
    except (ValidationError, CellCamError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{folder / SPEC} does not describe a model: {error}") from error


def _refuse_active_content(folder: Path) -> None:
    """Refuse files that can carry code: pickles, scripts, JSON with bundle expressions."""
    inside = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if not path.resolve().is_relative_to(inside):
            raise ModelError(f"{path} is a link that leads out of the model folder. Refused.")
        if path.is_dir() or path.name in _PASSIVE_NAMES:
            continue
        if path.suffix not in _PASSIVE_ENDINGS:
            raise ModelError(
                f"{path} is no file that CellCam writes; such files can carry code. "
                "Weights are read from models/model.safetensors alone. Refused."
            )
        if path.suffix == ".json":
            _refuse_commands(_read_json(path), path)


def _read_json(path: Path) -> JsonValue:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise ModelError(f"{path} is larger than any description of a model. Refused.")
    try:
        content: JsonValue = json.loads(path.read_text("utf-8"))
        return content
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no valid JSON: {error}.") from error


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


def _read_weights(folder: Path, spec: ModelSpec) -> dict[str, Tensor]:
    """Weights of the described network, checked tensor by tensor."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{folder} has no weights: {WEIGHTS} is missing.")
    expected = _expected_tensors(spec)
    room = sum(t.numel() * t.element_size() for t in expected.values()) + 100_000
    if path.stat().st_size > 2 * room:
        raise ModelError(f"{path} is larger than a {spec.network} can be. Refused.")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != spec.weights_sha256:
        raise ModelError(f"{path} is not the file that {SPEC} was written for (sha256 differs).")
    try:
        tensors = load(content)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{path} is no safetensors file: {error}.") from error
    _check_tensors(tensors, expected, path)
    return tensors


def _expected_tensors(spec: ModelSpec) -> dict[str, Tensor]:
    """Names, shapes and types of the network's tensors, without allocating them."""
    import torch

    with torch.device("meta"):
        network: nn.Module = build_network(
            spec.network, spec.spatial_dims, len(spec.channels), len(spec.classes)
        )
    return dict(network.state_dict())


def _check_target_layer(network: nn.Module, spec: ModelSpec, folder: Path) -> None:
    names = {name for name, _ in network.named_modules() if name}
    if spec.target_layer not in names:
        raise ModelError(
            f"{folder / SPEC} names the layer {spec.target_layer!r}, which {spec.network} lacks."
        )


def _check_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    import torch

    odd = sorted(set(tensors) ^ set(expected))
    if odd:
        raise ModelError(f"{path} does not fit the network: {odd[0]} is missing or unknown.")
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ModelError(
                f"{path} does not fit the network: {name} is {tensor.dtype} "
                f"{tuple(tensor.shape)}, expected {wanted.dtype} {tuple(wanted.shape)}."
            )
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path} holds NaN or infinite values in {name}. Train it again.")
