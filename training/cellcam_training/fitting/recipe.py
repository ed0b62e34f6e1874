"""Recipes: every choice of a training, in YAML, checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from cellcam.errors import UsageError
from cellcam.models.spec import Finding

_Share = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Augmentation(_Section):
    """Random changes of a crop that do not change its class.

    Attributes
    ----------
    flips : flips and quarter turns, which need no interpolation
    rotation_degrees : at most, either way; 2-D only
    scaling : at most, as a share of the size, either way; 2-D only
    shift : at most, in pixels, either way; 2-D only
    brightness : at most, as a share, for each channel; keep it small where total intensity
        carries the class, as DNA content does
    background : shift of each channel's level, at most, in its standard deviations either way
    blur : standard deviation, at most, in pixels; 2-D only; not where focus is the class
    noise : standard deviation, in units of the normalised image
    missing_stain : part of the crops in which a given channel is blank, at the level of empty
        field, or blurred beyond recognition; channel shares ask about such images, and only a
        network that has seen some can answer
    """

    flips: bool = True
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 45.0
    scaling: _Share = 0.08
    shift: Annotated[float, Field(ge=0)] = 2.0
    brightness: _Share = 0.05
    background: Annotated[float, Field(ge=0)] = 0.0
    blur: Annotated[float, Field(ge=0)] = 0.0
    noise: Annotated[float, Field(ge=0)] = 0.02
    missing_stain: _Share = 0.0


class Recipe(_Section):
    """How to train.

    Attributes
    ----------
    network : name in the registry, or ``auto``: one that fits the crops
    pretrained : of a torchvision network: file with its ImageNet weights; ``auto`` takes them
        where torchvision finds or fetches them, ``no`` starts from random weights
    crop_size : pixels, (y, x) or (z, y, x); default: the crops' own size, else 64
    channels : names of the images' channels, overruling the files'
    pixel_size_um : of a crop, (y, x) or (z, y, x); default: the first image's
    field : what a stack with several planes is seen as
    finding : written into the model, so that it finds its cells itself
    epochs : at most; default: 15 to 80, more for fewer cells
    patience : epochs without improvement after which training stops, and takes the weights of
        the best epoch; default: all epochs are run, and the last weights taken
    batch_size : default: 64, or 32 for less than a thousand cells
    learning_rate, weight_decay : of AdamW
    label_smoothing : part of each cell's label that is spread over all classes; default: 0.05,
        or none for less than 500 cells
    validation_share : of the cells, where the table has no split
    all_cells : whether a second network, the one that is kept, is trained on all cells after
        the validation cells have judged a first; not where the table has a split
    risk : part of the calls that may be wrong; less certain ones are flagged as uncertain
    tensorboard : folder for logs that TensorBoard shows while it trains
    seed : the same seed, data and machine give the same model
    """

    network: str = "auto"
    pretrained: Path | Literal["auto", "no"] = "auto"
    crop_size: tuple[PositiveInt, ...] | None = None
    channels: tuple[str, ...] | None = None
    pixel_size_um: tuple[PositiveFloat, ...] | None = None
    field: Literal["plane", "max", "mean", "volume"] = "plane"
    finding: Finding | None = None
    epochs: PositiveInt | None = None
    patience: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    learning_rate: PositiveFloat = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    label_smoothing: _Share | None = None
    validation_share: Annotated[float, Field(gt=0, lt=0.9)] = 0.2
    all_cells: bool = True
    risk: Annotated[float, Field(gt=0, lt=1)] = 0.05
    augmentation: Augmentation = Augmentation()
    tensorboard: Path | None = None
    seed: int = 0


# Epochs for so many cells; more for fewer cells, as this power of their number, within limits.
_EPOCHS, _FOR_CELLS, _POWER, _LIMITS = 64, 2000, 0.2, (15, 80)
# From so many cells on batches are larger, and labels smoothed.
_FOR_LARGE_BATCHES, _FOR_SMOOTHING = 1000, 500
_BATCH_SIZES, _SMOOTHING = (32, 64), (0.0, 0.05)


class Schedule(NamedTuple):
    """How long a training is, in what steps, and toward what."""

    epochs: int
    patience: int | None
    batch_size: int
    label_smoothing: float


def schedule_of(recipe: Recipe, n_cells: int) -> Schedule:
    """What the recipe says, and for a number of cells what it leaves open.

    Few cells are seen more often and in more steps; the time still grows with their number.
    """
    fewest, most = _LIMITS
    wanted = round(_EPOCHS * (_FOR_CELLS / n_cells) ** _POWER)
    epochs = recipe.epochs or min(most, max(fewest, wanted))
    smoothing = _SMOOTHING[n_cells >= _FOR_SMOOTHING]
    return Schedule(
        epochs,
        recipe.patience,
        recipe.batch_size or _BATCH_SIZES[n_cells >= _FOR_LARGE_BATCHES],
        smoothing if recipe.label_smoothing is None else recipe.label_smoothing,
    )


def read_recipe(path: Path | None) -> Recipe:
    """Recipe of a YAML file; the default recipe without one.

    Raises
    ------
    UsageError
        If the file is missing, or an entry is unknown or makes no sense.
    """
    if path is None:
        return Recipe()
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise UsageError(f"Recipe {path} cannot be used: {error}") from error
