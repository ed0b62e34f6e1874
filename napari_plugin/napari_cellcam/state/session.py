"""One image in the window: its cells, their classes, their importance maps. No Qt here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.models.model import CellModel
    from cellcam.pipeline.classify_field import CalledCells
    from cellcam.progress import Progress
    from cellcam.request import Classes, Request
    from cellcam.stacks.stack import Stack

Maps = dict[str, NDArray[np.float32]]
Pixel = TypeVar("Pixel", bound=np.generic)

# The user waits for a card, and does not see an error of 10 %; the true error is mostly 4 %.
_CARD_RTOL = 0.1


@dataclass(frozen=True, eq=False)
class CellCard:
    """Everything about one cell.

    Attributes
    ----------
    label : in the label image of its field
    predicted : its most probable class
    probability : of that class, calibrated
    flags : doubts about the cell, separated by ``;``
    crop : (C, Y, X) counts; for a volume their maximum over z
    channels : C names
    probabilities : of each class, calibrated
    maps : importance (Y, X) for each class, unnormalised; empty before the cell is explained
    shares : channel share of each channel for the predicted class; empty before
    error : estimated error of the maps, relative to the strongest map
    """

    label: int
    predicted: str
    probability: float
    flags: str
    crop: NDArray[np.generic]
    channels: tuple[str, ...]
    probabilities: dict[str, float]
    maps: Maps = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    error: float = float("nan")

    @property
    def runner_up(self) -> str:
        """The second most probable class."""
        return sorted(self.probabilities, key=self.probabilities.__getitem__)[-2]


@dataclass(frozen=True, eq=False)
class EvidenceMaps:
    """Importance maps of all cells.

    Attributes
    ----------
    maps : importance for each class, on the axes of `Session.kept_axes`; of several classes, those
        without any importance are left out
    largest : largest importance in all maps
    table : cell table with its columns about evidence, see `cell_table`
    """

    maps: Maps
    largest: float
    table: pd.DataFrame


class Session:
    """The classified fields of one stack.

    Attributes
    ----------
    stack, model, request : what was classified, by which model, and how
    fields : classified cells of each (t, z)
    table : one row for each cell of all fields, see `cell_table`; row i is cell number i + 1
    """

    def __init__(
        self, stack: Stack, model: CellModel, request: Request, fields: list[CalledCells]
    ) -> None:
        import pandas as pd

        self.stack, self.model, self.request, self.fields = stack, model, request, fields
        self.table = pd.concat([field.table() for field in fields], ignore_index=True)
        self._first_rows = np.cumsum([0, *(len(field.found.cells) for field in fields)])

    @property
    def kept_axes(self) -> str:
        """Axes of label and map images: YX, with T and Z if the fields span several."""
        spans_z = self.is_volume or len({field.found.place.z for field in self.fields}) > 1
        n_times = self.stack.data.shape[0]
        return ("T" if n_times > 1 else "") + ("Z" if spans_z else "") + "YX"

    @property
    def is_volume(self) -> bool:
        """Whether the fields are volumes."""
        return self.fields[0].found.labels.ndim == 3

    @cached_property
    def cells_image(self) -> NDArray[np.int32]:
        """Label image of the cell numbers 1, 2, ..., on the axes of `kept_axes`."""
        images = []
        for called, first in zip(self.fields, self._first_rows, strict=False):
            found = called.found
            lookup = np.zeros(int(found.labels.max()) + 1, np.int32)
            lookup[found.cells.numbers] = first + 1 + np.arange(len(found.cells))
            images.append(lookup[found.labels])
        return self._on_axes(images)

    def explain(self, classes: Classes, progress: Progress) -> EvidenceMaps:
        """Importance of all cells for some classes, see `Request`."""
        import pandas as pd

        from cellcam.pipeline.explain_field import explain_fields

        request = self.request.with_classes(classes)
        results = []
        for called, first in zip(self.fields, self._first_rows, strict=False):
            report = partial(self._report, progress, int(first))
            results += explain_fields([called], self.model, request, report)
        names = results[0].classes
        maps = {
            name: self._on_axes([result.maps[i] for result in results])
            for i, name in enumerate(names)
        }
        largest = {name: float(image.max()) for name, image in maps.items()}
        shown = {name: maps[name] for name in names if largest[name] > 0 or len(names) == 1}
        table = pd.concat([result.cells for result in results], ignore_index=True)
        return EvidenceMaps(shown, max(largest.values()), table)

    def brief_card(self, row: int) -> CellCard:
        """Card of the cell in one row of the table, without maps and shares: nothing to compute."""
        field, index = self._locate(row)
        spec, crop = self.model.spec, field.found.crops[index]
        probabilities = field.probabilities[index].tolist()
        facts = self.table.iloc[row]
        return CellCard(
            label=int(facts["label"]),
            predicted=str(facts["class"]),
            probability=float(facts["probability"]),
            flags=str(facts["flags"]),
            crop=crop.max(axis=1) if crop.ndim == 4 else crop,
            channels=spec.channels,
            probabilities=dict(zip(spec.classes, probabilities, strict=True)),
        )

    def card(self, row: int, progress: Progress) -> CellCard:
        """Card of the cell in one row of the table, with maps and shares."""
        field, index = self._locate(row)
        spec, crop = self.model.spec, field.found.crops[[index]]
        explanation = self.model.explain(
            crop, "all", rtol=_CARD_RTOL, rtol_of="strongest", progress=progress
        )
        strongest = explanation.maps[0].flatten(1).norm(dim=1).argmax()
        shares = self.model.channel_shares(crop)[0]
        maps = explanation.importance[0].cpu().numpy()
        maps = maps.max(axis=1) if maps.ndim == 4 else maps
        return replace(
            self.brief_card(row),
            maps=dict(zip(spec.classes, maps, strict=True)),
            shares=dict(zip(spec.channels, shares.tolist(), strict=True)),
            error=float(explanation.error[0, strongest]),
        )

    def crop(self, row: int) -> NDArray[np.generic]:
        """Counts (C, *crop_size) of the cell in one row of the table."""
        field, index = self._locate(row)
        return field.found.crops[index]

    def probabilities(self) -> NDArray[np.float32]:
        """Calibrated probabilities (N, n_classes) of all cells, in the order of the table."""
        return np.concatenate([field.probabilities for field in self.fields])

    def _locate(self, row: int) -> tuple[CalledCells, int]:
        """Field of the cell in a row of the table, and the cell's index in it."""
        number = int(np.searchsorted(self._first_rows, row, "right")) - 1
        return self.fields[number], row - int(self._first_rows[number])

    def _report(
        self, progress: Progress, before: int, done: int, total: int, note: str = ""
    ) -> None:
        progress(before + done, len(self.table))

    def _on_axes(self, images: list[NDArray[Pixel]]) -> NDArray[Pixel]:
        """Stack the images of all fields on the axes of `kept_axes`."""
        n_times = self.stack.data.shape[0]
        whole = np.stack(images).reshape(n_times, -1, *images[0].shape)
        spans_z = len(images) > n_times
        whole = whole if spans_z else whole[:, 0]
        return whole if n_times > 1 else whole[0]


def classify(
    stack: Stack,
    model_folder: str,
    labels: Stack | None,
    request: Request,
    device: str,
    progress: Progress,
) -> Session:
    """Find and classify all cells of a stack.

    Parameters
    ----------
    labels : the user's label image with one channel, on the stack's axes; None finds the cells
    request : how to find cells, and what the model sees
    progress : called with (fields done, fields in all)
    """
    from cellcam import load_model
    from cellcam.cells.user_labels import UserLabels
    from cellcam.pipeline.classify_field import classify_fields
    from cellcam.pipeline.find_field import find_field
    from cellcam.pipeline.matching import match

    model = load_model(model_folder, device)
    matched = match(stack, model.spec, request, UserLabels(labels) if labels else None)
    places = list(matched.fields())
    fields = []
    for i, place in enumerate(places):
        progress(i, len(places))
        fields += classify_fields([find_field(matched, place)], model)
    progress(len(places), len(places))
    session = Session(stack, model, request, fields)
    _ = session.cells_image  # computed here, not later in the GUI thread
    return session
