"""`ModelSpec`: the description of a model, stored as JSON in its folder."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, NonNegativeFloat, PositiveFloat, model_validator

from cellcam.models.normalisation import Normalisation
from cellcam.models.plain_data import PlainData
from cellcam.models.registry import network_entry

_Name = Annotated[str, Field(min_length=1, max_length=200)]
# Of a crop in all channels: any network needs many times their memory for one crop.
_MOST_VALUES = 2**26
_Pixels = Annotated[int, Field(ge=1, le=4096)]


class Finding(PlainData):
    """How the cells of the training were found.

    Attributes
    ----------
    channel : that shows them
    diameter_um : typical diameter; None: measured on each image
    look_for : what they look like there, see `ThresholdFinder`; None: told from each image
    """

    channel: _Name
    diameter_um: PositiveFloat | None = None
    look_for: Literal["bright", "dark", "hematoxylin"] | None = None


class KnownImages(PlainData):
    """When an image, taken as a whole, is unlike the training images.

    Attributes
    ----------
    values : of each training image, the median `unlike` of its cells, compared with the cells of
        the other training images; ascending
    fewest_cells : an image with fewer cells is not judged
    false_alarms : share of images like those of the training that get a warning
    missing_counts : for each channel, the share that this few training images reach, see
        `missing_counts`; 1 where it cannot be told
    """

    values: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1, max_length=10_000)]
    fewest_cells: Annotated[int, Field(ge=1)]
    false_alarms: Annotated[float, Field(gt=0, lt=1)]

    missing_counts: tuple[Annotated[float, Field(ge=0, le=1)], ...]

    def is_unlike(self, value: float) -> bool:
        """Whether an image of this value is among the farthest of all images, itself included."""
        as_far = sum(other >= value for other in self.values)
        return (1 + as_far) <= self.false_alarms * (1 + len(self.values))


class KnownCells(PlainData):
    """When a cell is unlike the training cells; the measures are in a file beside the weights.

    Attributes
    ----------
    farthest, sparsest : thresholds, see `TrainingCells`
    false_alarms : share of held-out cells of the training's images that exceed one of them
    sha256 : of the file
    images : when a whole image is unlike; None where the training had too few images, and in
        folders of older versions
    """

    farthest: PositiveFloat
    sparsest: PositiveFloat
    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    sha256: str
    images: KnownImages | None = None


class ModelSpec(PlainData):
    """Everything about a model but its weights, as in ``configs/inference.json``.

    Attributes
    ----------
    network : name in the registry
    spatial_dims : 2 or 3
    channels : names, in the order of the network's input
    classes : names, in the order of its output
    crop_size : pixels of a crop, (y, x) or (z, y, x)
    pixel_size_um : of a crop, (y, x) or (z, y, x); None if unknown
    normalisation : `Normalisation`
    target_layer, formula, baseline : settings of `IntegratedGradCAM` for its calls; the defaults
        are the paper's, as in folders that do not state them
    error_factor : estimated errors of explanations with these settings are multiplied by this; it
        was measured on training cells, where 95 % of the true errors are smaller
    field : input from a stack with several planes: each plane, a projection, or the volume
    finding : how cells are found without a label image of the user
    temperature : scores are divided by it before softmax
    uncertain_below : calls below this probability are flagged as uncertain
    known_cells : when a cell is unlike the training cells; None in folders of older versions
    note : what every user of the model must know, such as that it knows simulated cells only
    training : history and metrics of the training
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
    error_factor: PositiveFloat = 1.0
    field: Literal["plane", "max", "mean", "volume"] = "plane"
    finding: Finding | None = None
    temperature: PositiveFloat = 1.0
    uncertain_below: Annotated[float, Field(ge=0, le=1)] = 0.0
    known_cells: KnownCells | None = None
    note: Annotated[str, Field(max_length=500)] = ""
    training: dict[str, JsonValue] = Field(default_factory=dict)
    weights_sha256: str = ""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input of the network: (C, *crop_size)."""
        return (len(self.channels), *self.crop_size)

    @property
    def explaining(self) -> str:
        """Settings of the explanations, as text."""
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
        if math.prod(self.input_shape) > _MOST_VALUES:
            raise ValueError(f"crops of {' x '.join(map(str, self.input_shape))} are too large")
        self.normalisation.check_channels(len(self.channels))
        for name, names in {"channels": self.channels, "classes": self.classes}.items():
            if len(set(names)) != len(names):
                raise ValueError(f"{name} must differ from each other: {', '.join(names)}")
        images = self.known_cells and self.known_cells.images
        if images and len(images.missing_counts) != len(self.channels):
            raise ValueError("missing_counts must hold a value for each channel")
        if (self.field == "volume") != (self.spatial_dims == 3):
            raise ValueError("a 3-D network sees volumes, a 2-D network planes or projections")
        return self
