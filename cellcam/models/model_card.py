"""Texts of a model folder: the metadata of a MONAI Bundle and a model card in Markdown."""

from __future__ import annotations

from pydantic import JsonValue

from cellcam.models.spec import ModelSpec
from cellcam.notice import RESEARCH_USE

WEIGHTS_FROM = "weights_from"  # entry of a spec's ``training``


def bundle_metadata(spec: ModelSpec, versions: dict[str, str]) -> dict[str, JsonValue]:
    """Content of ``configs/metadata.json`` with the keys that a MONAI Bundle must have.

    Parameters
    ----------
    spec : ModelSpec
    versions : of cellcam, monai, torch and numpy
    """
    return {
        "version": "1.0.0",
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"],
        "numpy_version": versions["numpy"],
        "required_packages_version": {"cellcam": versions["cellcam"]},
        "task": "Classification of single cells in microscopy images",
        "description": f"{spec.network} that tells apart {', '.join(spec.classes)}. {RESEARCH_USE}",
        "authors": "The users of CellCam who trained it",
        "copyright": "See the training data's licence",
        "network_data_format": {
            "inputs": {"image": _input_format(spec)},
            "outputs": {"pred": _output_format(spec)},
        },
    }


def model_card(spec: ModelSpec) -> str:
    """Content of ``docs/README.md``, in Markdown."""
    size = " x ".join(map(str, spec.crop_size))
    pixel = " x ".join(f"{edge:g}" for edge in spec.pixel_size_um or ())
    lines = [
        "# A cell classifier made with CellCam",
        "",
        f"It calls a cell one of: {', '.join(spec.classes)}.",
        *([spec.note] if spec.note else []),
        "",
        f"- Network: {spec.network}, {spec.spatial_dims}-D",
        f"- Channels, in this order: {', '.join(spec.channels)}",
        f"- Crop: {size} pixels" + (f" of {pixel} um" if pixel else " of unknown size"),
        f"- Explanations: {spec.explaining}; estimated errors times {spec.error_factor:.2g}",
        "",
        "## How well it did on cells it was not trained on",
        "",
        *_metric_lines(spec),
        *_unlike_lines(spec),
        *_origin_lines(spec),
        "",
        f"{RESEARCH_USE} Nothing in this folder is executed when it is opened.",
        "",
    ]
    return "\n".join(lines)


def _metric_lines(spec: ModelSpec) -> list[str]:
    metrics = spec.training.get("validation")
    if not isinstance(metrics, dict):
        return ["Not measured."]
    return [
        f"- {name.replace('_', ' ')}: {value:.3g}"
        for name, value in metrics.items()
        if isinstance(value, int | float)
    ]


def _unlike_lines(spec: ModelSpec) -> list[str]:
    if spec.known_cells is None:
        return []
    text = (
        "It flags cells that look unlike those it was trained on; of cells that look like them, "
        f"{spec.known_cells.false_alarms:.0%} are flagged by mistake."
    )
    if spec.known_cells.images is not None:
        images = spec.known_cells.images
        text += (
            f" It warns of images that are, as a whole, unlike its {len(images.values)} training "
            f"images; of images like them, of {images.false_alarms:.0%} by mistake."
        )
    return ["", text]


def _origin_lines(spec: ModelSpec) -> list[str]:
    """What the weights began with, and under which licence that was given."""
    origins = spec.training.get(WEIGHTS_FROM)
    if not isinstance(origins, list) or not origins:
        return []
    lines = []
    for origin in origins:
        if isinstance(origin, dict):
            licence = origin.get("licence") or "not stated; ask its makers before you pass this on"
            sha256 = str(origin.get("sha256"))[:12]
            lines.append(f"- {origin.get('name')} (sha256 {sha256}...), licence: {licence}")
    return ["", "## What its weights began with", "", *lines]


def _input_format(spec: ModelSpec) -> dict[str, JsonValue]:
    return {
        "type": "image",
        "format": "magnitude",
        "modality": "microscopy",
        "num_channels": len(spec.channels),
        "spatial_shape": list(spec.crop_size),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(i): name for i, name in enumerate(spec.channels)},
    }


def _output_format(spec: ModelSpec) -> dict[str, JsonValue]:
    return {
        "type": "probabilities",
        "format": "classes",
        "num_channels": len(spec.classes),
        "spatial_shape": [len(spec.classes)],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(i): name for i, name in enumerate(spec.classes)},
    }
