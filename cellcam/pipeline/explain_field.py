"""Step 3: explain the cells of a field and paste their maps onto it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import crop_cells
from cellcam.cells.finder import Labels, Pixels
from cellcam.cells.no_data import Mask
from cellcam.cells.user_labels import UserLabels
from cellcam.evaluate.localisation import energy_inside, rims
from cellcam.explain.memory import slices
from cellcam.models.model import CellModel
from cellcam.pipeline.cell_table import CellEvidence
from cellcam.pipeline.classify_field import CalledCells, classify_fields
from cellcam.pipeline.find_field import find_field
from cellcam.pipeline.map_canvas import MapCanvas
from cellcam.pipeline.matching import FieldPlace, MatchedStack, map_planes, match
from cellcam.progress import Progress, nobody
from cellcam.request import Request
from cellcam.stacks.stack import Stack

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.explain.settings import Exactness


@dataclass(frozen=True, eq=False)
class FieldResult:
    """Cells, calls and importance maps of one field, or of one block of it.

    Attributes
    ----------
    place : time point and planes of the field
    cells : one row per cell, see `cell_table`
    maps : (class, y, x) float32 importance on the field, (class, z, y, x) for volumes
        With ``classes="predicted"`` each cell appears in the plane of its call alone.
    classes : names of the planes of ``maps``
    labels : int32 label image, the same field
    notes : what the user must know about the image and how its cells were found
    missing : pixels of the field without data, where maps are 0; None if all have
    """

    place: FieldPlace
    cells: pd.DataFrame
    maps: NDArray[np.float32]
    classes: tuple[str, ...]
    labels: Labels
    notes: tuple[str, ...] = ()
    missing: Mask | None = None


def explain_field(
    stack: Stack,
    model: CellModel,
    labels: Pixels | Stack | UserLabels | None = None,
    request: Request | None = None,
    *,
    t: int = 0,
    classes: str | Sequence[str] | None = None,
    progress: Progress | None = None,
) -> FieldResult:
    """Call every cell of one field and show where the evidence lies.

    Parameters
    ----------
    stack, model : see `open_stack` and `load_model`
    labels : the user's label image: an array of the field, a stack like the image, or what
        `open_labels` gives
        Without it the request's finder finds the cells.
    request : finder, channel map, planes, classes, exactness; see `Request`
    t : time point
    classes : which maps; overrules the request
    progress : called with (0, 0, what is being done), and before each pass through the network
        with (cells done, cells in all, "")

    Returns
    -------
    FieldResult

    Raises
    ------
    InputError
        If stack, labels and model do not fit together, or several planes are left to choose from.
    UsageError
        If a class does not exist.
    """
    request = replace(request or Request(), t=t)
    if classes is not None:
        request = request.with_classes(classes)
    finder = None
    if labels is not None:
        finder = as_user_labels(labels)
    matched = match(stack, model.spec, request, finder)
    # Not `matched.fields`: it would take each of several planes for a field of its own.
    return explain_place(matched, FieldPlace(t, matched.z), model, progress)


def as_user_labels(labels: Pixels | Stack | UserLabels) -> UserLabels:
    """The user's label image as a finder."""
    if isinstance(labels, UserLabels):
        return labels
    return UserLabels(labels) if isinstance(labels, Stack) else UserLabels.from_array(labels)


def explain_place(
    matched: MatchedStack, place: FieldPlace, model: CellModel, progress: Progress | None = None
) -> FieldResult:
    """Find, call and explain the cells of one field of a matched stack."""
    report = progress or nobody
    report(0, 0, "finding cells")
    found = find_field(matched, place)
    report(0, 0, f"classifying {len(found.cells)} cells")
    called = classify_fields([found], model)
    return explain_fields(called, model, matched.request, progress)[0]


def explain_fields(
    fields: Sequence[CalledCells],
    model: CellModel,
    request: Request,
    progress: Progress | None = None,
    *,
    chosen: Sequence[NDArray[np.bool_]] | None = None,
    n_steps: int | None = None,
) -> list[FieldResult]:
    """Importance maps of the cells of several fields; they share the network's batches.

    Parameters
    ----------
    request : says which classes, which part of the cells, and how exact
    progress : called before each pass through the network with (cells done, cells in all)
    chosen : which cells of each field are explained, (N,) each, in place of the request's part
    n_steps : steps of the paper's sum, in place of the request's error
    """
    planes, class_idx = map_planes(model.spec, request.classes)
    pastings = [_Pasting.onto(field, len(planes)) for field in fields]
    if chosen is None:
        chosen = [cells_to_explain(field, request.explained) for field in fields]
    places = [
        (pasting, int(cell))
        for pasting, cells in zip(pastings, chosen, strict=True)
        for cell in np.flatnonzero(cells & pasting.field.is_called)
    ]
    exactness: Exactness = {"n_steps": n_steps} if n_steps else {"rtol": request.rtol}

    for part in slices(len(places), model.cells_at_once):

        def tick(done: int, total: int, note: str = "", first: int = part.start) -> None:
            if progress:
                progress(first + done, len(places))

        for pasting, _ in places[part]:
            # Now: beside the explanations it would raise the peak of memory.
            _ = pasting.canvas.owner
        _explain_batch(places[part], model, class_idx, exactness, tick)
    if progress:
        progress(len(places), len(places))
    return [pasting.result(planes) for pasting in pastings]


def cells_to_explain(field: CalledCells, part: float) -> NDArray[np.bool_]:
    """Which cells are explained: (N,), of those with a call.

    Chosen by place, so that all blocks choose the same.
    """
    cells = field.found.cells
    if part >= 1:
        return field.is_called
    digests = [sha256(centre.tobytes()).digest()[:4] for centre in cells.centres]
    numbers = np.array([int.from_bytes(digest, "big") for digest in digests], np.float64)
    return (numbers < part * 2.0**32) & field.is_called


@dataclass(frozen=True, eq=False)
class _Pasting:
    """A field whose maps and figures are being put together.

    Attributes
    ----------
    canvas : importance, one plane for each class
    """

    field: CalledCells
    canvas: MapCanvas
    evidence: CellEvidence

    @classmethod
    def onto(cls, field: CalledCells, n_planes: int) -> _Pasting:
        found = field.found
        evidence = CellEvidence.unknown(len(found.cells), len(found.spec.channels))
        return cls(field, MapCanvas.empty(found, n_planes), evidence)

    def paste(self, cell: int, maps: NDArray[np.float32]) -> None:
        """Put the (K, *crop_size) maps of one cell in their place."""
        import torch

        found, row = self.field.found, slice(cell, cell + 1)
        called = self.field.probabilities[cell].argmax()
        is_whole = len(maps) == len(self.canvas.planes)
        self.canvas.paste(cell, maps, np.arange(len(maps)) if is_whole else called[None])
        position, part = found.cells_at_scale[row], found.read_at_scale
        labels = crop_cells(found.labels_at_scale[None], position, found.spec.crop_size, part)[:, 0]
        importance = torch.from_numpy(maps.sum(0, keepdims=True))
        region = torch.from_numpy(labels == position.numbers[0])
        self.evidence.inside[cell] = energy_inside(importance, region)[0]
        self.evidence.rim[cell] = energy_inside(importance, rims(region))[0]

    def result(self, planes: tuple[str, ...]) -> FieldResult:
        """The maps at the field's own pixel size, and the table."""
        found, maps = self.field.found, self.canvas.on_field()
        core = found.core.within(found.read)
        labels, missing = found.labels[core], found.missing
        missing = None if missing is None else missing[core]
        cells = self.field.table(self.evidence)
        return FieldResult(found.place, cells, maps, planes, labels, self.field.notes, missing)


def _explain_batch(
    places: Sequence[tuple[_Pasting, int]],
    model: CellModel,
    class_idx: list[int] | None,
    exactness: Exactness,
    tick: Progress,
) -> None:
    """Explain cells of any fields together, and paste each map onto its field."""
    crops = np.stack([pasting.field.found.crops[cell] for pasting, cell in places])
    # All maps of a field are shown on one scale, so the strongest map sets the tolerance.
    explanation = model.explain(crops, class_idx, **exactness, rtol_of="strongest", progress=tick)
    maps = explanation.importance.cpu().numpy()
    strongest = explanation.maps.flatten(2).norm(dim=2).argmax(1, keepdim=True)
    errors = explanation.error.gather(1, strongest)[:, 0].cpu().numpy()
    shares = model.channel_shares(crops)
    for i, (pasting, cell) in enumerate(places):
        pasting.evidence.error[cell] = errors[i]
        pasting.evidence.shares[cell] = shares[i]
        pasting.paste(cell, maps[i])
