"""One field of view: find its cells, crop, classify, explain, paste the maps back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import crop_cells, nearest_cells, paste_maps, resized
from cellcam.cells.finding import Labels
from cellcam.errors import UsageError
from cellcam.evaluate.localisation import energy_inside, rims
from cellcam.models.model import CellModel
from cellcam.models.spec import ModelSpec
from cellcam.pipeline.found_field import FoundField, find_field
from cellcam.pipeline.table import Evidence, cell_table
from cellcam.stacks.stack import Stack, ZChoice

if TYPE_CHECKING:
    import pandas as pd

# Estimated error of a cell's strongest map; as a rule the true one is half of it.
MAP_RTOL = 0.03

Classes = Sequence[str] | Literal["predicted", "all"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class FieldResult:
    """What was found out about one field, or one block of it.

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
class ClassifiedField(FoundField):
    """The cells of one field with their calls, ready to be explained.

    Attributes
    ----------
    model : what called them
    probabilities : (N, n_classes)
    """

    model: CellModel
    probabilities: NDArray[np.float32]

    def table(self, evidence: Evidence | None = None) -> pd.DataFrame:
        """One row per cell that is owned, see `cell_table`; without evidence NaN in its columns."""
        if evidence is None:
            evidence = Evidence.unknown(len(self.cells), len(self.spec.channels))
        return cell_table(self, self.probabilities, evidence)

    def explained(
        self, classes: Classes = "predicted", progress: Progress | None = None
    ) -> FieldResult:
        """Importance maps of all cells on the field, see `explain_field`."""
        return explain_fields([self], self.model, classes, progress=progress)[0]


def classify_field(
    stack: Stack, model: CellModel, labels: NDArray[Any] | None = None, **how: Any
) -> ClassifiedField:
    """Find the cells of a field and call every one; parameters and errors of `explain_field`."""
    return classify_fields([find_field(stack, model.spec, labels, **how)], model)[0]


def classify_fields(found: Sequence[FoundField], model: CellModel) -> list[ClassifiedField]:
    """Call the cells of several fields; the network sees them together."""
    counts = [len(field.crops) for field in found]
    crops = np.concatenate([field.crops for field in found])
    parts = np.split(model.probabilities(crops), np.cumsum(counts)[:-1])
    return [
        ClassifiedField(**_attributes(field), model=model, probabilities=part)
        for field, part in zip(found, parts, strict=True)
    ]


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
    map_planes(model.spec, classes)  # a class that does not exist is told before any work
    field = classify_field(
        stack, model, labels, t=t, z=z, channels=channels, find_channel=find_channel,
        diameter_um=diameter_um, threshold=threshold,
    )  # fmt: skip
    return field.explained(classes, progress)


def explain_fields(
    fields: Sequence[ClassifiedField],
    model: CellModel,
    classes: Classes = "predicted",
    chosen: Sequence[NDArray[np.bool_]] | None = None,
    progress: Progress | None = None,
) -> list[FieldResult]:
    """Importance maps of the cells of several fields; the network sees them together.

    Parameters
    ----------
    classes : see `explain_field`
    chosen : for each field (N,) which of its cells are explained; all of them by default
    progress : called before each pass through the network with (cells done, cells in all)
    """
    planes, wanted = map_planes(model.spec, classes)
    pastings = [_Pasting.onto(field, len(planes)) for field in fields]
    places = [
        (pasting, cell)
        for i, pasting in enumerate(pastings)
        for cell in (
            range(len(fields[i].cells)) if chosen is None else np.flatnonzero(chosen[i]).tolist()
        )
    ]

    def explain(part: slice) -> None:
        def tick(done: int, _: int) -> None:
            if progress:
                progress(part.start + done, len(places))

        for pasting, _ in places[part]:
            _ = pasting.owner  # now: found beside the explanations, it would be the peak of memory
        _explain_batch(places[part], model, wanted, tick)

    model.explaining.run(len(places), explain)
    if progress:
        progress(len(places), len(places))
    return [pasting.result(planes) for pasting in pastings]


def map_planes(spec: ModelSpec, classes: Classes) -> tuple[tuple[str, ...], list[int] | None]:
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


@dataclass(frozen=True, eq=False)
class _Pasting:
    """A field whose maps are being put together.

    Attributes
    ----------
    canvas : (class, *spatial) at the model's scale
    """

    field: ClassifiedField
    canvas: NDArray[np.float32]
    evidence: Evidence

    @classmethod
    def onto(cls, field: ClassifiedField, n_planes: int) -> _Pasting:
        canvas = np.zeros((n_planes, *field.labels_at_scale.shape), np.float32)
        evidence = Evidence.unknown(len(field.cells), len(field.spec.channels))
        return cls(field, canvas, evidence)

    @cached_property
    def owner(self) -> Labels:
        """Which cell each pixel of the canvas belongs to."""
        return nearest_cells(self.field.labels_at_scale, self.field.spec.crop_size)

    def paste(self, cell: int, maps: NDArray[np.float32]) -> None:
        """Put the (K, *crop_size) maps of one cell in their place."""
        import torch

        field, one = self.field, slice(cell, cell + 1)
        called = field.probabilities[cell].argmax()
        planes = np.arange(len(maps)) if len(maps) == len(self.canvas) else called[None]
        position, part = field.cells_at_scale[one], field.read_at_scale
        paste_maps(self.canvas, maps[None], planes[None], position, self.owner, part)
        own = crop_cells(field.labels_at_scale[None], position, field.spec.crop_size, part)[:, 0]
        importance = torch.from_numpy(maps.sum(0, keepdims=True))
        region = torch.from_numpy(own == position.numbers[0])
        self.evidence.inside[cell] = energy_inside(importance, region)[0]
        self.evidence.rim[cell] = energy_inside(importance, rims(region))[0]

    def result(self, planes: tuple[str, ...]) -> FieldResult:
        """The maps at the field's own scale, and the table."""
        field = self.field
        maps = resized(self.canvas, field.core.whole, own=field.read_at_scale, wanted=field.core)
        labels = field.labels[field.core.within(field.read)]
        return FieldResult(field.table(self.evidence), maps, planes, labels)


def _explain_batch(
    places: Sequence[tuple[_Pasting, int]],
    model: CellModel,
    wanted: list[int] | None,
    tick: Progress,
) -> None:
    """Explain cells of any fields together, and paste every map onto its own."""
    crops = np.stack([pasting.field.crops[cell] for pasting, cell in places])
    # The maps of a field are looked at on one scale.
    explanation = model.explain(crops, wanted, rtol=MAP_RTOL, rtol_of="strongest", progress=tick)
    maps = explanation.importance.cpu().numpy()
    strongest = explanation.maps.flatten(2).norm(dim=2).argmax(1, keepdim=True)
    errors = explanation.error.gather(1, strongest)[:, 0].cpu().numpy()
    shares = model.channel_shares(crops)
    for i, (pasting, cell) in enumerate(places):
        pasting.evidence.error[cell] = errors[i]
        pasting.evidence.shares[cell] = shares[i]
        pasting.paste(cell, maps[i])


def _attributes(field: FoundField) -> dict[str, Any]:
    return {name: getattr(field, name) for name in FoundField.__dataclass_fields__}
