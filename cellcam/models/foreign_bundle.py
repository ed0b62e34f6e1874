"""MONAI Bundles of others as models: the network by name, weights as numbers, nothing executed.

A bundle's configuration is a program in JSON. Of it only the network is read: its class must be one
that CellCam builds itself, with plain numbers or references to them as arguments. Transforms are
not run: what they do to the counts must be said.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue, ValidationError

from cellcam.errors import ModelError
from cellcam.models.bundle import (
    METADATA,
    check_on_a_crop,
    check_tensors,
    expected_tensors,
    save_model,
)
from cellcam.models.device import choose_device
from cellcam.models.folder_files import read_json, unreadable_is_refused
from cellcam.models.foreign_weights import read_state
from cellcam.models.model import CellModel
from cellcam.models.normalisation import Normalisation
from cellcam.models.registry import BASELINE, FORMULA, build_network, network_entry
from cellcam.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

CONFIGS = ("inference.json", "evaluate.json", "train.json")
_NETWORK_KEYS = ("network_def", "network", "net")
_WEIGHTS = ("model.safetensors", "model.pt")
_STATE_KEYS = ("model", "state_dict", "network", "net")
_WAY_OUT = "Ask its makers for the weights alone, as safetensors or a state dict."
# Arguments that say where first weights came from; they change nothing of a network.
_OF_FIRST_WEIGHTS = {"pretrained", "progress"}


@dataclass(frozen=True)
class _Known:
    """A class of MONAI that CellCam builds.

    Attributes
    ----------
    name : in the registry
    inputs, outputs : its arguments for the number of channels and of classes
    base : class of MONAI whose defaults hold as well
    fixed : arguments that must have this value
    """

    name: str
    inputs: str = "in_channels"
    outputs: str = "out_channels"
    base: str = "DenseNet"
    fixed: tuple[tuple[str, JsonValue], ...] = ()


_RESNET = ("n_input_channels", "num_classes", "ResNet")
_CLASSES = {
    "DenseNet121": _Known("densenet121"),
    "DenseNet169": _Known("densenet169"),
    "resnet18": _Known("resnet18", *_RESNET),
    "resnet34": _Known("resnet34", *_RESNET),
    "resnet50": _Known("resnet50", *_RESNET),
    "SEResNet50": _Known("seresnet50", outputs="num_classes", base="SENet"),
    "EfficientNetBN": _Known(
        "efficientnet_b0",
        outputs="num_classes",
        base="EfficientNet",
        fixed=(("model_name", "efficientnet-b0"),),
    ),
}


def import_bundle(
    bundle: str | Path,
    out: str | Path,
    *,
    normalisation: Normalisation,
    channels: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    crop_size: Sequence[int] | None = None,
    pixel_size_um: Sequence[float] | None = None,
) -> CellModel:
    """Make a model folder of somebody's MONAI Bundle for classification.

    Parameters
    ----------
    bundle : its folder, with ``configs/*.json`` and ``models/model.pt`` or ``model.safetensors``
    out : model folder to write
    normalisation : what the bundle's own transforms do to the counts of each channel; they are
        not run
    channels, classes, crop_size : where ``configs/metadata.json`` does not state them
    pixel_size_um : of the crops, (y, x) or (z, y, x); None if it does not matter

    Raises
    ------
    ModelError
        If the network is none that CellCam builds, is described by an expression, or does not fit
        the weights, or if something is not stated. Nothing in the folder is executed.
    InputError
        If the weights would run code, or cannot be read.
    """
    bundle = Path(bundle)
    with unreadable_is_refused(bundle):
        known, arguments = _network_of(bundle)
        data = _data_format(bundle)
        tensors = _weights_of(bundle)
    dims, n_inputs, n_classes = (
        _number(arguments, name, bundle) for name in ("spatial_dims", known.inputs, known.outputs)
    )
    spec = _spec(
        bundle,
        network=known.name,
        spatial_dims=dims,
        channels=channels or _names(data, "inputs", n_inputs, "channel"),
        classes=classes or _names(data, "outputs", n_classes, "class"),
        crop_size=crop_size or _shape(data, bundle),
        pixel_size_um=pixel_size_um,
        normalisation=normalisation,
    )
    if (len(spec.channels), len(spec.classes)) != (n_inputs, n_classes):
        raise ModelError(
            f"{bundle} has {n_inputs} channels and {n_classes} classes; {len(spec.channels)} and "
            f"{len(spec.classes)} were named."
        )
    check_tensors(tensors, expected_tensors(spec), bundle)
    network = build_network(spec.network, dims, n_inputs, n_classes)
    network.load_state_dict(tensors, strict=True)
    model = CellModel(spec, network, choose_device("cpu"))
    check_on_a_crop(model, bundle)
    return save_model(model, out)


def _network_of(bundle: Path) -> tuple[_Known, dict[str, JsonValue]]:
    """The known class of the bundle's network, and its arguments, all checked."""
    path, config, described = _described_network(bundle)
    target = str(described.get("_target_", ""))
    known = _CLASSES.get(target.rpartition(".")[2])
    if known is None or target.rpartition(".")[0] not in ("", "monai.networks.nets"):
        raise ModelError(
            f"{path}: the network is {target[:60]!r}. CellCam builds {', '.join(_CLASSES)} of "
            "monai.networks.nets, and looks up no other."
        )
    arguments = {
        name: _plain(value, config, path) for name, value in described.items() if name[:1] != "_"
    }
    usual = _defaults(target.rpartition(".")[2], known)
    own = {"spatial_dims", known.inputs, known.outputs, *_OF_FIRST_WEIGHTS}
    for name in set(usual) & own:
        arguments.setdefault(name, usual[name])
    for name, value in arguments.items():
        wanted = dict(known.fixed).get(name, usual.get(name))
        if name not in own and _listed(value) != _listed(wanted):
            raise ModelError(
                f"{path}: {name}={value!r} makes another {target} than CellCam builds. Not "
                "imported."
            )
    return known, arguments


def _described_network(bundle: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    for name in CONFIGS:
        path = bundle / "configs" / name
        content = read_json(path) if path.is_file() else None
        for key in _NETWORK_KEYS:
            described = content.get(key) if isinstance(content, dict) else None
            if isinstance(described, dict) and isinstance(content, dict):
                return path, content, described
    raise ModelError(
        f"{bundle} describes no network: no {', '.join(CONFIGS)} in its configs has an entry "
        f"{' or '.join(_NETWORK_KEYS)}. Configurations in YAML are not read: save them as JSON."
    )


def _plain(value: JsonValue, config: Mapping[str, JsonValue], path: Path) -> JsonValue:
    """A plain value, or the plain value of the entry that ``@name`` refers to."""
    if isinstance(value, str) and value[:1] == "@" and value[1:] in config:
        value = config[value[1:]]
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict) or (isinstance(one, str) and one[:1] in "$@%"):
            raise ModelError(
                f"{path} contains {str(one)[:60]!r}, which MONAI would execute or look up. Write "
                "its value in its place."
            )
        pending += one if isinstance(one, list) else []
    return value


def _defaults(target: str, known: _Known) -> dict[str, Any]:
    """Arguments of a class of MONAI and of its base that need not be given."""
    from monai.networks import nets

    found: dict[str, Any] = {}
    for kind in (getattr(nets, known.base), getattr(nets, target)):
        parameters = inspect.signature(kind).parameters.values()
        found |= {p.name: p.default for p in parameters if p.default is not p.empty}
    return found


def _listed(value: object) -> object:
    """Tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value


def _weights_of(bundle: Path) -> dict[str, Tensor]:
    """The network's tensors, whatever entry they are stored under."""
    path = next((p for n in _WEIGHTS if (p := bundle / "models" / n).is_file()), None)
    if path is None:
        raise ModelError(f"{bundle} has no weights: models/{' or models/'.join(_WEIGHTS)}.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(path.read_bytes())
        except (SafetensorError, ValueError) as error:
            raise ModelError(f"{path} is no safetensors file: {error}. {_WAY_OUT}") from error
    state = read_state(path, _WAY_OUT)
    for key in _STATE_KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(hasattr(t, "shape") for t in state.values()):
        raise ModelError(f"{path} holds no state dict of a network. {_WAY_OUT}")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _data_format(bundle: Path) -> dict[str, Any]:
    path = bundle / METADATA
    content = read_json(path) if path.is_file() else {}
    found = content.get("network_data_format") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def _entry(data: dict[str, Any], side: str) -> dict[str, Any]:
    """The first input or output."""
    of_side = data.get(side)
    first = next(iter(of_side.values()), None) if isinstance(of_side, dict) else None
    return first if isinstance(first, dict) else {}


def _names(data: dict[str, Any], side: str, count: int, kind: str) -> tuple[str, ...]:
    """Names that the metadata give to channels or classes, else numbers."""
    named = _entry(data, side).get("channel_def")
    if not isinstance(named, dict):
        named = {}
    return tuple(str(named.get(str(i)) or f"{kind} {i + 1}") for i in range(count))


def _shape(data: dict[str, Any], bundle: Path) -> tuple[int, ...]:
    shape = _entry(data, "inputs").get("spatial_shape")
    if not isinstance(shape, list) or not all(isinstance(n, int) for n in shape):
        raise ModelError(
            f"{bundle / METADATA} does not say how large a crop is. Say it: crop_size=(64, 64)."
        )
    return tuple(shape)


def _number(arguments: Mapping[str, JsonValue], name: str, bundle: Path) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ModelError(f"{bundle}: the network has no number {name}. Write it into its entry.")
    return value


def _spec(bundle: Path, **entries: Any) -> ModelSpec:
    try:
        return ModelSpec(
            target_layer=network_entry(entries["network"]).target_layer,
            formula=FORMULA,
            baseline=BASELINE,
            field="volume" if entries["spatial_dims"] == 3 else "plane",
            note="Imported from a MONAI Bundle: its own transforms are not part of it, and its "
            "probabilities were not calibrated.",
            **{
                name: tuple(value) if isinstance(value, list | tuple) else value
                for name, value in entries.items()
            },
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{bundle} makes no model ({where} {first['msg']}).") from error
