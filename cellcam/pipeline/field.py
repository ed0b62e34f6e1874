"""One field of view: find its cells, crop, classify, explain, paste the maps back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import (
    CellPositions,
    crop_cells,
    nearest_cells,
    paste_maps,
    resized,
    shape_at_pixel_size,
)
from cellcam.cells.finding import Labels, check_labels, find_cells
from cellcam.errors import InputError, UsageError
from cellcam.evaluate.localisation import energy_inside
from cellcam.models.model import CellModel, ModelSpec
from cellcam.pipeline.table import Evidence, cell_table
from cellcam.stacks.stack import Stack, ZChoice

if TYPE_CHECKING:
    import pandas as pd

Classes = Sequence[str] | Literal["predicted", "all"]
Progress = Callable[[int, int], None]

# Cells explained together. A CPU gains nothing from more, and answers sooner with fewer.
_CELLS_AT_ONCE = 64
_CELLS_AT_ONCE_ON_CPU = 16


@dataclass(frozen=True, eq=False)
class FieldResult:
    """What was found out about one field.

    Attributes
    ----------
    cells : one row per cell, see `cell_table`
    maps : (class, y, x) float32 importance on the field, (class, z, y, x) for volumes
        With ``classes="predicted"`` each cell appears in the plane of its call alone.
    classes : names of the planes of ``maps``
    labels : int32 label image, the same field
    """

    cells: pd.DataFrame
    maps: NDArray[np.float32]
    classes: tuple[str, ...]
    labels: Labels


@dataclass(frozen=True, eq=False)
class ClassifiedField:
    """The cells of one field with their calls, ready to be explained.

    Attributes
    ----------
    stack, model : what was asked
    t, z : the field, as the model sees it
    labels : int32 label image of the field
    cells : their positions, N of them
    crops : (N, C, *crop_size) raw counts at the model's scale
    probabilities : (N, n_classes)
    shape_at_scale : of the field at the model's pixel size
    """

    stack: Stack
    model: CellModel
    t: int
    z: ZChoice
    labels: Labels
    cells: CellPositions
    crops: NDArray[Any]
    probabilities: NDArray[np.float32]
    shape_at_scale: tuple[int, ...]

    def table(self, evidence: Evidence | None = None) -> pd.DataFrame:
        """One row per cell, see `cell_table`; without evidence its columns are empty."""
        if evidence is None:
            evidence = Evidence.unknown(len(self.cells), len(self.model.spec.channels))
        return cell_table(
            self.stack, self.model.spec, self.labels, self.cells, self.probabilities, evidence,
            (self.t, self.z), self.shape_at_scale,
        )  # fmt: skip

    def explained(
        self, classes: Classes = "predicted", progress: Progress | None = None
    ) -> FieldResult:
        """Importance maps of all cells on the field, see `explain_field`."""
        planes, wanted = _planes(self.model.spec, classes)
        canvas = np.zeros((len(planes), *self.shape_at_scale), np.float32)
        evidence = _explain_cells(self, wanted, canvas, progress)
        maps = resized(canvas, self.labels.shape)
        return FieldResult(self.table(evidence), maps, planes, self.labels)


def classify_field(
    stack: Stack,
    model: CellModel,
    labels: NDArray[Any] | None = None,
    *,
    t: int = 0,
    z: ZChoice = None,
    channels: Mapping[str, str] | None = None,
    find_channel: str | None = None,
    diameter_um: float | None = None,
    threshold: float | None = None,
) -> ClassifiedField:
    """Find the cells of a field and call every one; parameters and errors of `explain_field`."""
    spec = model.spec
    names = matching_channels(stack, spec, channels)
    z = field_seen(stack, spec, z)
    pixels = stack.field(t, z, names)
    if labels is None:
        choices = finding_choices(stack, spec, channels, find_channel, diameter_um)
        found = find_cells(stack, t=t, z=z, threshold=threshold, **choices)
    else:
        found = check_labels(labels, pixels.shape[1:])
    shape = shape_at_pixel_size(stack, pixels.shape[1:], spec.pixel_size_um)
    cells = CellPositions.of(found)
    crops = crop_cells(_at_scale(pixels, shape), cells.at_scale(shape), spec.crop_size)
    probabilities = model.probabilities(crops)
    return ClassifiedField(stack, model, t, z, found, cells, crops, probabilities, shape)


def explain_field(
    stack: Stack,
    model: CellModel,
    labels: NDArray[Any] | None = None,
    *,
    classes: Classes = "predicted",
    t: int = 0,
    z: ZChoice = None,
    channels: Mapping[str, str] | None = None,
    find_channel: str | None = None,
    diameter_um: float | None = None,
    threshold: float | None = None,
    progress: Progress | None = None,
) -> FieldResult:
    """Call every cell of a field and show where the evidence lies.

    Parameters
    ----------
    stack, model : see `open_stack` and `load_model`
    labels : the user's label image of the field; without it cells are found with `find_cells`
    classes : which maps: ``"predicted"`` (each cell's own call), ``"all"``, or class names
    t, z : the field, see `Stack.field`; z is left to the model where it was trained on a
        projection or on volumes
    channels : the stack's channel for each of the model's channels whose names differ
    find_channel, diameter_um, threshold : for `find_cells`; default: as the model says, and
        a threshold by itself
    progress : called before each pass through the network with (cells done, cells in all)
        What it raises ends the call.

    Returns
    -------
    FieldResult

    Raises
    ------
    InputError
        If stack, labels and model do not fit together.
    UsageError
        If a class does not exist.
    """
    _planes(model.spec, classes)  # a class that does not exist is told before any work
    field = classify_field(
        stack, model, labels, t=t, z=z, channels=channels, find_channel=find_channel,
        diameter_um=diameter_um, threshold=threshold,
    )  # fmt: skip
    return field.explained(classes, progress)


def matching_channels(
    stack: Stack, spec: ModelSpec, mapping: Mapping[str, str] | None = None
) -> list[str]:
    """The stack's channel for each channel of the model, by name, never by guess.

    A single unnamed channel matches a model of one channel.

    Raises
    ------
    InputError
        If a channel is missing; both lists of names are given.
    """
    mapping = dict(mapping or {})
    unknown = set(mapping) - set(spec.channels)
    if unknown:
        raise InputError(
            f"The model has no channel {', '.join(sorted(unknown))}; "
            f"it has {', '.join(spec.channels)}."
        )
    if len(spec.channels) == len(stack.channels) == 1 and not stack.channels_named:
        mapping.setdefault(spec.channels[0], stack.channels[0])
    names = [mapping.get(name, name) for name in spec.channels]
    missing = [w for w, n in zip(spec.channels, names, strict=True) if n not in stack.channels]
    if not missing:
        return names
    told = (
        f"The model wants the channels {', '.join(spec.channels)}; {stack.name} has "
        f"{', '.join(stack.channels)}. Missing: {', '.join(missing)}. "
    )
    if len(stack.channels) < len(spec.channels):
        raise InputError(
            f"{told}An image of {len(stack.channels)} channels cannot be used with a model of "
            f"{len(spec.channels)}."
        )
    spare = next(name for name in stack.channels if name not in names)
    raise InputError(
        f"{told}Name the image's channels in the file's order (--channels A,B,...) or say which "
        f"is which (--map '{missing[0]}={spare}')."
    )


def field_seen(stack: Stack, spec: ModelSpec, z: ZChoice) -> ZChoice:
    """What the model sees of a stack's planes: ``z`` checked, or the model's own choice."""
    if spec.spatial_dims == 3:
        if z not in (None, "volume"):
            raise UsageError(f"The model sees volumes; z={z!r} does not apply.")
        return "volume"
    if z == "volume":
        raise UsageError("The model sees planes, not volumes. Choose a plane or a projection.")
    several = stack.data.shape[2] > 1
    if z is None and several and spec.field in ("max", "mean"):
        return spec.field
    return z if several else None


def fields_of(stack: Stack, spec: ModelSpec, z: ZChoice) -> Iterator[tuple[int, ZChoice]]:
    """Time point and plane of every field of a stack.

    Of several planes each is a field, unless ``z`` or the model chooses one, a projection or
    the volume.
    """
    n_times, _, n_planes = stack.data.shape[:3]
    each_plane = z is None and n_planes > 1 and spec.field == "plane"
    for t in range(n_times):
        for plane in range(n_planes) if each_plane else [z]:
            yield t, plane


def finding_choices(
    stack: Stack,
    spec: ModelSpec,
    channels: Mapping[str, str] | None,
    channel: str | None,
    diameter_um: float | None,
) -> dict[str, Any]:
    """Channel and diameter for `find_cells`: what the user said, else what the model says.

    Parameters
    ----------
    channels : the stack's channel for each of the model's channels whose names differ
    """
    finding = spec.finding
    own = (channels or {}).get(finding.channel, finding.channel) if finding else None
    if channel is None and own in stack.channels:
        channel = own
    if finding and diameter_um is None and stack.pixel_size_um.x is not None:
        diameter_um = finding.diameter_um
    return {"channel": channel, "diameter_um": diameter_um}


def _planes(spec: ModelSpec, classes: Classes) -> tuple[tuple[str, ...], list[int] | None]:
    """Names of the maps' planes, and the classes to explain for every cell (None: its call)."""
    if classes == "predicted":
        return spec.classes, None
    names = spec.classes if classes == "all" else tuple(classes)
    unknown = [name for name in names if name not in spec.classes]
    if (isinstance(classes, str) and classes != "all") or unknown or not names:
        raise UsageError(
            f"classes={classes!r}: use 'predicted', 'all' or names out of "
            f"{', '.join(spec.classes)}."
        )
    return names, [spec.classes.index(name) for name in names]


def _at_scale(pixels: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Pixels at the model's scale; integers stay integers where nothing is resampled."""
    return pixels if pixels.shape[1:] == shape else resized(pixels, shape)


def _explain_cells(
    field: ClassifiedField,
    wanted: list[int] | None,
    canvas: NDArray[np.float32],
    progress: Progress | None,
) -> Evidence:
    """Paste every cell's maps onto the canvas; where the evidence for each cell lies."""
    model, crops = field.model, field.crops
    size = model.spec.crop_size
    labels = resized(field.labels, field.shape_at_scale, labels=True)
    cells = field.cells.at_scale(labels.shape)
    owner = nearest_cells(labels, size)
    evidence = Evidence.unknown(len(crops), len(model.spec.channels))
    called = field.probabilities.argmax(1)
    at_once = _CELLS_AT_ONCE_ON_CPU if model.device.type == "cpu" else _CELLS_AT_ONCE
    for first in range(0, len(crops), at_once):
        part = slice(first, first + at_once)

        def tick(done: int, _: int, first: int = first) -> None:
            if progress:
                progress(first + done, len(crops))

        explanation = model.explain(crops[part], wanted, progress=tick)
        maps = explanation.maps.cpu().numpy()
        evidence.error[part] = explanation.error.amax(1).cpu().numpy()
        evidence.shares[part] = model.channel_shares(crops[part])
        planes = called[part, None] if wanted is None else np.arange(len(canvas))[None]
        planes = np.broadcast_to(planes, maps.shape[:2])
        paste_maps(canvas, maps, planes, cells[part], owner)
        own = crop_cells(labels[None], cells[part], size)[:, 0]
        regions = own == cells[part].numbers.reshape(-1, *[1] * labels.ndim)
        evidence.inside[part] = energy_inside(maps.sum(1), regions)
    if progress:
        progress(len(crops), len(crops))
    return evidence
