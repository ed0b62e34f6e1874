"""All that is known about a model but its weights, as plain data."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, PositiveFloat, model_validator

from cellcam.models.normalisation import Normalisation
from cellcam.models.plain_data import PlainData
from cellcam.models.registry import network_entry

_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Pixels = Annotated[int, Field(ge=1, le=4096)]


class Finding(PlainData):
    """How the cells that the network was trained on were found."""

    channel: _Name
    diameter_um: PositiveFloat | None = None


class ModelSpec(PlainData):
    """Everything about a model but its weights; plain data, as in ``configs/inference.json``.

    Attributes
    ----------
    network : name in the registry
    spatial_dims : 2 or 3
    channels : names, in the order of the network's input
    classes : names, in the order of its output
    crop_size : pixels of a crop, (y, x) or (z, y, x)
    pixel_size_um : of a crop, (y, x) or (z, y, x); None if it was never known
    normalisation : `Normalisation`
    target_layer, formula, baseline : how CellCam explains its calls, see `IntegratedGradCAM`;
        by default as the paper does, as folders of before the choice was there expect
    field : what a stack with several planes is seen as: each plane, a projection, the volume
    finding : how cells are found where the user brings no label image
    temperature : scores are divided by it before softmax
    uncertain_below : probability of a call under which it is flagged as uncertain
    training : how it was trained and how well it did
    weights_sha256 : of the weights file
    """

    format_version: Literal[1] = 1
    network: _Name
    spatial_dims: Literal[2, 3] = 2
    channels: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=64)]
    classes: Annotated[tuple[_Name, ...], Field(min_length=2, max_length=1000)]
    crop_size: tuple[_Pixels, ...]
    pixel_size_um: tuple[PositiveFloat, ...] | None = None
    normalisation: Normalisation
    target_layer: _Name
    formula: Literal["paper", "complete"] = "paper"
    baseline: Literal["black", "background", "blur"] = "black"
    field: Literal["plane", "max", "mean", "volume"] = "plane"
    finding: Finding | None = None
    temperature: PositiveFloat = 1.0
    uncertain_below: Annotated[float, Field(ge=0, le=1)] = 0.0
    training: dict[str, JsonValue] = Field(default_factory=dict)
    weights_sha256: str = ""

    @property
    def explaining(self) -> str:
        """How calls are explained, for people."""
        return f"{self.formula} formula at {self.target_layer}, from {self.baseline}"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        entry = network_entry(self.network)
        if self.spatial_dims not in entry.spatial_dims:
            raise ValueError(f"network {self.network!r} does not come in {self.spatial_dims}-D")
        lengths = {
            "crop_size": (self.crop_size, self.spatial_dims),
            "pixel_size_um": (self.pixel_size_um, self.spatial_dims),
        }
        for name, (values, length) in lengths.items():
            if values is not None and len(values) != length:
                raise ValueError(f"{name} must hold {length} values, not {len(values)}")
        self.normalisation.check_channels(len(self.channels))
        for name, names in {"channels": self.channels, "classes": self.classes}.items():
            if len(set(names)) != len(names):
                raise ValueError(f"{name} must differ from each other: {', '.join(names)}")
        if (self.field == "volume") != (self.spatial_dims == 3):
            raise ValueError("a 3-D network sees volumes, a 2-D network planes or projections")
        return self
