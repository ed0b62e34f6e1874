"""The cells of one image in the window, called by a model or not called yet. No Qt here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_cellcam.state.explanation_choices import ExplanationChoices

if TYPE_CHECKING:
    from cellcam.exchange.cells import Cells
    from cellcam.models.model import CellModel
    from cellcam.models.network_input import ClassifierDraft, NetworkInput, Planes
    from cellcam.pipeline.classify_field import CalledCells
    from cellcam.pipeline.find_field import FoundCells
    from cellcam.pipeline.matching import MatchedStack
    from cellcam.progress import Progress
    from cellcam.request import Request
    from cellcam.stacks.stack import Stack
    from napari_cellcam.state.origin import Origin

Pixel = TypeVar("Pixel", bound=np.generic)


class Session:
    """The cells of one stack.

    Attributes
    ----------
    origin : what all of it is about
    found : cells of each (t, z) field
    called : the same cells with their calls; empty if there is no model yet
    model : the model that called them, or None
    table : one row for each cell of all fields, see `cell_table` and, without calls,
        `place_table`; row i is cell number i + 1. Where each plane is a field, the column cell_3d
        has the number of the same cell over planes
    first_rows : row of the first cell of each field, and the number of cells
    explaining : how cells are explained; set in the GUI thread, with no explanation under way
    """

    def __init__(
        self, origin: Origin, found: Sequence[FoundCells], called: Sequence[CalledCells] = ()
    ) -> None:
        import pandas as pd

        from cellcam.pipeline.cell_table import place_table
        from cellcam.pipeline.linked_cells import CELL_3D

        self.origin, self.found, self.called = origin, list(found), list(called)
        self.model: CellModel | None = called[0].model if called else None
        tables = [field.table() for field in called] or [place_table(field) for field in found]
        self.table = pd.concat(tables, ignore_index=True)
        self.first_rows = np.cumsum([0, *(len(field.cells) for field in found)])
        self.explaining = ExplanationChoices()
        self._explainers: dict[ExplanationChoices, CellModel] = {}
        if self.is_by_plane:
            self.table[CELL_3D] = self.cells_3d
        self._table_without_evidence = self.table

    def forget_evidence(self) -> None:
        """Empty the columns of the table that are about evidence."""
        self.table = self._table_without_evidence.copy()

    @property
    def explainer(self) -> CellModel:
        """The model, explaining as chosen; it keeps the facts about its network."""
        assert self.model is not None
        choices = self.explaining
        if choices not in self._explainers:
            self._explainers = {choices: choices.applied_to(self.model)}
        return self._explainers[choices]

    @property
    def settings_text(self) -> str:
        """`ExplanationChoices.text` of the choices; empty without a model."""
        return "" if self.model is None else self.explaining.text(self.model.spec)

    @property
    def matched(self) -> MatchedStack:
        """The image, what a model sees of it, and the finder."""
        return self.found[0].matched

    @property
    def stack(self) -> Stack:
        """The image."""
        return self.matched.stack

    @property
    def request(self) -> Request:
        """How cells were found, and what the model sees."""
        return self.matched.request

    @property
    def spec(self) -> NetworkInput:
        """Stains, scale and classes; `model.spec` has all about a model."""
        return self.matched.spec

    @property
    def planes(self) -> Planes:
        """What the network saw of the planes, as `ModelSpec.field` says it."""
        z = self.matched.z
        if self.stack.data.shape[2] == 1:
            return self.spec.field
        return z if isinstance(z, str) else "plane"

    @property
    def kept_axes(self) -> str:
        """Axes of label and map images: YX, with T and Z if the fields span several."""
        spans_z = self.is_volume or len({field.place.z for field in self.found}) > 1
        n_times = self.stack.data.shape[0]
        return ("T" if n_times > 1 else "") + ("Z" if spans_z else "") + "YX"

    @property
    def is_by_plane(self) -> bool:
        """Whether each of several planes is a field."""
        return not self.is_volume and "Z" in self.kept_axes

    @cached_property
    def cells_3d(self) -> NDArray[np.int32]:
        """Number of the same cell over planes, for each row; see `number_cells_3d`."""
        from cellcam.pipeline.linked_cells import number_cells_3d

        return number_cells_3d(
            [field.place for field in self.found],
            [field.labels for field in self.found],
            [field.cells.numbers for field in self.found],
        )

    def other_planes(self, row: int) -> list[int]:
        """Rows of the same cell on other planes; none unless each plane is a field."""
        if not self.is_by_plane:
            return []
        same = np.flatnonzero(self.cells_3d == self.cells_3d[row])
        return [int(other) for other in same if other != row]

    @property
    def is_volume(self) -> bool:
        """Whether the fields are volumes."""
        return self.found[0].labels.ndim == 3

    @cached_property
    def cells_image(self) -> NDArray[np.int32]:
        """Label image of the cell numbers 1, 2, ..., on the axes of `kept_axes`."""
        from cellcam.cells.numbering import by_label

        images = []
        for found, first in zip(self.found, self.first_rows, strict=False):
            numbers = first + 1 + np.arange(len(found.cells), dtype=np.int32)
            images.append(by_label(found.labels, found.cells.numbers, numbers.astype(np.int32)))
        return self.on_axes(images)

    def exchanged_cells(self) -> Cells:
        """The cells with outlines, calls and figures, for files of other programs."""
        from cellcam.pipeline.run_cells import cells_of_table
        from cellcam.stacks.stack import Stack

        n_times = len({field.place.t for field in self.found})
        images = np.stack([field.labels for field in self.found])
        images = images.reshape(n_times, -1, *images.shape[-2:])
        labels = Stack.from_array(images, "TZYX", ["cells"], self.stack.pixel_size_um)
        return cells_of_table(self.stack.name, self.table, labels, self.spec.classes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know about the image, its cells and their calls."""
        from cellcam.pipeline.notes import each_once, image_notes

        if self.model is None:
            return each_once([*self.stack.notes, *(n for field in self.found for n in field.notes)])
        of_fields = [note for field in self.called for note in field.notes]
        return image_notes(of_fields, self._table_without_evidence, self.model.spec)

    @property
    def calls(self) -> list[str]:
        """Called class of each cell; an empty text for a cell without call, or without a model."""
        if not self.called:
            return [""] * len(self.table)
        return [name if isinstance(name, str) else "" for name in self.table["class"]]

    @cached_property
    def can_be_called(self) -> NDArray[np.bool_]:
        """Whether each row is one cell with data; a model calls these, and can learn from them."""
        return np.concatenate([field.can_be_called for field in self.found])

    def why_no_call(self, row: int) -> str:
        """Why a cell cannot be called, in words; empty if it can."""
        field, index = self.locate(row)
        if self.can_be_called[row]:
            return ""
        if self.found[field].several_pieces[index]:
            return (
                "Its number lies on several distant pieces of the label image. Give each cell a "
                "number of its own."
            )
        return "The image has no data here."

    def crop(self, row: int) -> NDArray[np.generic]:
        """Counts (C, *crop_size) of the cell in one row of the table."""
        field, index = self.locate(row)
        return self.found[field].crops[index]

    def probabilities(self) -> NDArray[np.float32]:
        """Calibrated probabilities (N, n_classes) of all cells, in the order of the table."""
        return np.concatenate([field.probabilities for field in self.called])

    def locate(self, row: int) -> tuple[int, int]:
        """Number of the field of the cell in a row of the table, and the cell's index in it."""
        field = int(np.searchsorted(self.first_rows, row, "right")) - 1
        return field, row - int(self.first_rows[field])

    def by_field(self, values: NDArray[Pixel]) -> list[NDArray[Pixel]]:
        """Values of all cells (N, ...), in the order of the table, split into fields."""
        return np.split(values, self.first_rows[1:-1])

    def on_axes(self, images: list[NDArray[Pixel]]) -> NDArray[Pixel]:
        """Stack the images of all fields on the axes of `kept_axes`."""
        n_times = self.stack.data.shape[0]
        whole = np.stack(images).reshape(n_times, -1, *images[0].shape)
        spans_z = len(images) > n_times
        whole = whole if spans_z else whole[:, 0]
        return whole if n_times > 1 else whole[0]


def classify(
    origin: Origin,
    stack: Stack,
    labels: Stack | None,
    model_folder: str,
    device: str,
    progress: Progress,
) -> Session:
    """Find and call all cells of a stack.

    Parameters
    ----------
    origin : what the session is about; its request says how to find cells
    labels : the user's label image with one channel, on the stack's axes; None finds the cells
    progress : called with (fields done, fields in all)
    """
    from cellcam import load_model
    from cellcam.pipeline.classify_field import classify_fields

    model = load_model(model_folder, device)
    found = _found(_matched(stack, model.spec, labels, origin.request), progress)
    called = []
    for field in found:
        progress(len(found), len(found))  # may cancel
        called += classify_fields([field], model)
    _ = model.layers  # computed here, not later in the GUI thread
    return _ready(Session(origin, found, called))


def find(
    origin: Origin,
    stack: Stack,
    labels: Stack | None,
    draft: ClassifierDraft,
    progress: Progress,
) -> Session:
    """Find all cells of a stack for a classifier that is not trained yet; see `classify`.

    A draft without crop size gets one that fits the cells.
    """
    from napari_cellcam.state.crop_size import measured_draft

    matched = _matched(stack, draft, labels, origin.request)
    matched = replace(matched, spec=measured_draft(draft, matched))
    return _ready(Session(origin, _found(matched, progress)))


def _matched(
    stack: Stack, spec: NetworkInput, labels: Stack | None, request: Request
) -> MatchedStack:
    from cellcam.cells.user_labels import UserLabels
    from cellcam.pipeline.matching import match

    # `match` checks the labels by the rules that hold for label files, too.
    return match(stack, spec, request, UserLabels(labels) if labels else None)


def _found(matched: MatchedStack, progress: Progress) -> list[FoundCells]:
    from cellcam.pipeline.find_field import find_field

    places = list(matched.fields())
    found = []
    for i, place in enumerate(places):
        progress(i, len(places))
        found.append(find_field(matched, place))
    progress(len(places), len(places))
    return found


def _ready(session: Session) -> Session:
    _ = session.cells_image  # computed here, not later in the GUI thread
    return session
