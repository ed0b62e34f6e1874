"""Where the weights of a training come from, with their licences, for the model card."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import JsonValue

from cellcam.models.bundle import read_spec
from cellcam.models.model_card import WEIGHTS_FROM
from cellcam_training.fitting.recipe import Recipe

_LICENCE_KEYS = ("license", "licence")


def weight_origins(recipe: Recipe) -> dict[str, JsonValue]:
    """Entry of a model's description on the files and models that its weights began with.

    Empty where they began as random numbers, or with torchvision's own files. A model hands on
    what its own weights began with.
    """
    found: list[JsonValue] = []
    for source in (recipe.start_from, recipe.pretrained, recipe.backbone):
        if isinstance(source, Path):
            found += _origins_of(source, recipe.licence)
    return {WEIGHTS_FROM: found} if found else {}


def _origins_of(source: Path, licence: str | None) -> list[JsonValue]:
    """Name, hash and licence of a file or of a model folder, and before it what that began with."""
    if not source.is_dir():
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        return [{"name": source.name, "sha256": sha256, "licence": licence or _stated_in(source)}]
    spec = read_spec(source)
    earlier = spec.training.get(WEIGHTS_FROM)
    own: JsonValue = {"name": source.name, "sha256": spec.weights_sha256, "licence": licence}
    return [*(earlier if isinstance(earlier, list) else []), own]


def _stated_in(file: Path) -> str | None:
    """Licence in the metadata of a safetensors file."""
    if file.suffix != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        metadata = opened.metadata() or {}
    return next(filter(None, map(metadata.get, _LICENCE_KEYS)), None)
