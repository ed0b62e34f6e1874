"""Recipes: all settings of a training, read from YAML and checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cellcam.errors import UsageError
from cellcam.models.registry import network_entry
from cellcam.models.spec import Finding
from cellcam_training.fitting.augmentation import Augmentation, Share
from cellcam_training.fitting.recipe_file import (
    Settings,
    packaged,
    problems_in_words,
    recipe_content,
)
from cellcam_training.tables.crops import CropSettings
from cellcam_training.tables.image_crops import FieldName

CropLength = Annotated[int, Field(ge=1, le=4096)]


class Recipe(Settings):
    """Settings of a training.

    Attributes
    ----------
    network : name in the registry, or ``auto``: chosen by the size and number of the crops
    pretrained : for networks of torchvision and timm: file of weights, safetensors or of torch;
        ``auto``: weights that torchvision has on disk or can download, random ones for networks
        of timm; ``no``: random weights
    licence : of these weights, or of the model to go on from, for the model card; default: what
        a safetensors file says about itself
    frozen : whether only the last layer is fitted, on features that a backbone computes once
    backbone : of a frozen training: folder of any model, of whatever channels and classes; or
        file of weights for ``network``, safetensors or of torch
    start_from : folder of a model that the training goes on from: its network, normalisation and
        weights; it must have the same channels, crop size and pixel size
    crop_size : pixels, (y, x) or (z, y, x); default: see `CropSettings`
    channels : names of the images' channels, overruling those in the files
    pixel_size_um : of a crop, (y, x) or (z, y, x); default: that of the first image
    field : how a stack with several planes is reduced
    finding : how cells are found; stored in the model, for images without a label image
    note : what every user of the model must know; stored in the model
    epochs : at most; default: 15 to 80, more for fewer cells
    patience : early stopping: number of epochs without improvement after which the training
        stops and the weights of the best epoch are used; default: none, all epochs are run and
        the last weights are used
    batch_size : default: 64, or 32 for fewer than 1000 cells
    learning_rate, weight_decay : of AdamW; a training that goes on takes a tenth of this rate
    label_smoothing : share of each label that is spread over all classes; default: 0.05, or 0
        for fewer than 500 cells
    validation_share : share of the cells used for validation, if the table has no split
    validation_folds : validate all cells instead, in so many parts, each judged by a network
        that was trained without it; for tables of few cells. Temperature, threshold and metrics
        come from all of these networks; the final one is trained on all cells.
    all_cells : train a second network, the final one, on all cells once the first has been
        validated; ignored if the table has a split
    risk : accepted share of wrong calls; calls of lower probability are flagged as uncertain
    augmentation : `Augmentation`
    tensorboard : folder for TensorBoard logs
    seed : the same seed, data and machine give the same model
    """

    network: str = "auto"
    pretrained: Path | Literal["auto", "no"] = "auto"
    licence: Annotated[str, Field(max_length=200)] | None = None
    frozen: bool = False
    backbone: Path | None = None
    start_from: Path | None = None
    field: FieldName = "plane"
    crop_size: tuple[CropLength, ...] | None = None
    channels: tuple[str, ...] | None = None
    pixel_size_um: tuple[PositiveFloat, ...] | None = None
    finding: Finding | None = None
    note: Annotated[str, Field(max_length=500)] = ""
    epochs: PositiveInt | None = None
    patience: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    learning_rate: PositiveFloat = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    label_smoothing: Share | None = None
    validation_share: Annotated[float, Field(gt=0, lt=0.9)] = 0.2
    validation_folds: Annotated[int, Field(ge=2)] | None = None
    all_cells: bool = True
    risk: Annotated[float, Field(gt=0, lt=1)] = 0.05
    augmentation: Augmentation = Augmentation()
    tensorboard: Path | None = None
    seed: int = 0

    @field_validator("network")
    @classmethod
    def _check_network(cls, name: str) -> str:
        if name != "auto":
            try:
                network_entry(name)
            except UsageError as error:
                raise ValueError(str(error)) from error
        return name

    @field_validator("crop_size", mode="before")
    @classmethod
    def _square(cls, size: object, info: ValidationInfo) -> object:
        """One number is the length of all sides."""
        if not isinstance(size, int):
            return size
        return (size,) * (3 if info.data.get("field") == "volume" else 2)

    @model_validator(mode="after")
    def _check_axes(self) -> Recipe:
        n_axes = 3 if self.field == "volume" else 2
        for name, values in (("crop_size", self.crop_size), ("pixel_size_um", self.pixel_size_um)):
            if values is not None and len(values) != n_axes:
                axes = "z, y, x" if n_axes == 3 else "y, x"
                raise ValueError(f"{name} needs {n_axes} numbers ({axes}) for field {self.field}")
        return self

    @model_validator(mode="after")
    def _check_backbone(self) -> Recipe:
        if self.backbone and not self.frozen:
            raise ValueError("backbone is for frozen trainings: say frozen: true, or start_from")
        if self.backbone and self.start_from:
            raise ValueError("backbone and start_from exclude each other: leave one out")
        if self.backbone and not self.backbone.is_dir() and self.network == "auto":
            raise ValueError(
                f"backbone {self.backbone} is no model folder; of a file of weights the network "
                "must be named, such as network: timm/vit_small_patch16_224"
            )
        return self

    @model_validator(mode="after")
    def _check_folds(self) -> Recipe:
        if self.validation_folds and self.patience:
            raise ValueError(
                "patience chooses the best epoch by the validation cells, so that these cannot "
                "be all cells: leave out patience or validation_folds"
            )
        return self

    def crop_settings(self) -> CropSettings:
        """How the crops of the training are cut."""
        return CropSettings(self.crop_size, self.channels, self.pixel_size_um, self.field)


# epochs = 64 * (2000 / cells) ** 0.2, within 15 to 80.
_EPOCHS, _FOR_CELLS, _POWER, _EPOCH_LIMITS = 64, 2000, 0.2, (15, 80)
# Number of cells from which batches are larger, and from which labels are smoothed.
_FOR_LARGE_BATCHES, _FOR_SMOOTHING = 1000, 500
_BATCH_SIZES, _SMOOTHING = (32, 64), (0.0, 0.05)


class Schedule(NamedTuple):
    """Settings of a training that depend on the number of cells."""

    epochs: int
    patience: int | None
    batch_size: int
    label_smoothing: float


def schedule_of(recipe: Recipe, n_cells: int) -> Schedule:
    """Schedule of a recipe; settings that it leaves open are chosen by the number of cells.

    Fewer cells get more epochs and smaller batches; the total time still grows with their
    number.
    """
    fewest, most = _EPOCH_LIMITS
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
    """Read a recipe from a YAML file; without a file, the default recipe.

    Parameters
    ----------
    path : of a file, or the name of a recipe that comes with CellCam, such as ``frozen``

    Raises
    ------
    UsageError
        If the file is missing, or a setting is unknown or out of range: every problem in words.
    """
    if path is None:
        return Recipe()
    content = recipe_content(packaged(path) or path)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        problems = problems_in_words(error, Recipe)
        raise UsageError(f"Recipe {path} cannot be used.\n" + "\n".join(problems)) from error


def changed_recipe(recipe: Recipe, **changes: object) -> Recipe:
    """The recipe with other settings, checked; those that are None stay.

    Raises
    ------
    UsageError
        If a setting is out of range, or does not go with the others.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    kept = {name: getattr(recipe, name) for name in recipe.model_fields_set}
    try:
        return Recipe.model_validate(kept | given)
    except ValidationError as error:
        raise UsageError("\n".join(problems_in_words(error, Recipe))) from error
