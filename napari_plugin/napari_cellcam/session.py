"""What is known about one image in the window: its cells, their calls, their evidence.

No Qt here: everything can be used and tested without a window.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

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

# A card is looked at, and waited for: nobody sees 10 %, which as a rule are 4 %.
_CARD_RTOL = 0.1


@dataclass(frozen=True, eq=False)
class CellCard:
    """Everything about one cell.

    Attributes
    ----------
    crop : (C, Y, X) counts as the network sees them; a volume is seen from above
    channels : C names
    probabilities : of each class, calibrated
    facts : the cell's row of the table
    maps : of each class, (Y, X) importance, unnormalised; empty before the cell is explained
    shares : of each channel, what the score of the call loses without it; empty before
    error : estimated relative error of the strongest map; the others are as exact beside it
    """

    crop: NDArray[Any]
    channels: tuple[str, ...]
    probabilities: dict[str, float]
    facts: dict[str, Any]
    maps: Maps = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    error: float = float("nan")

    @property
    def runner_up(self) -> str:
        """The class that the call would change to first."""
        return sorted(self.probabilities, key=self.probabilities.__getitem__)[-2]


@dataclass(frozen=True, eq=False)
class EvidenceMaps:
    """Where the evidence lies, for all cells.

    Attributes
    ----------
    maps : importance for each class in which some lies, on the axes of `Session.kept_axes`; for
        a single class also where none does
    largest : importance in all of them
    table : of the cells, see `cell_table`
    """

    maps: Maps
    largest: float
    table: pd.DataFrame


class Session:
    """The classified fields of one stack.

    Attributes
    ----------
    stack, model, request : what was asked
    fields : one for each (t, z)
    table : one row per cell of all fields, see `cell_table`; row i is cell number i + 1
    """

    def __init__(
        self, stack: Stack, model: CellModel, request: Request, fields: list[CalledCells]
    ) -> None:
        import pandas as pd

        self.stack, self.model, self.request, self.fields = stack, model, request, fields
        self.table = pd.concat([field.table() for field in fields], ignore_index=True)
        self._firsts = np.cumsum([0, *(len(field.found.cells) for field in fields)])

    @property
    def kept_axes(self) -> str:
        """Axes of label and map images, of TZYX: those that the fields span."""
        spans_z = self.is_volume or len({field.found.place.z for field in self.fields}) > 1
        n_times = self.stack.data.shape[0]
        return ("T" if n_times > 1 else "") + ("Z" if spans_z else "") + "YX"

    @property
    def is_volume(self) -> bool:
        """Whether the fields are volumes."""
        return self.fields[0].found.labels.ndim == 3

    @cached_property
    def cells_image(self) -> NDArray[np.int32]:
        """Numbers of all cells, each once, on the axes of `kept_axes`."""
        images = []
        for called, first in zip(self.fields, self._firsts, strict=False):
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
        for called, first in zip(self.fields, self._firsts, strict=False):
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

    def glance(self, row: int) -> CellCard:
        """What is known without computing about the cell in one row of the table."""
        owner, place = self._place(row)
        spec, crop = self.model.spec, owner.found.crops[place]
        called = owner.probabilities[place].tolist()
        return CellCard(
            crop=crop.max(axis=1) if crop.ndim == 4 else crop,
            channels=spec.channels,
            probabilities=dict(zip(spec.classes, called, strict=True)),
            facts={str(name): value for name, value in self.table.iloc[row].items()},
        )

    def card(self, row: int, progress: Progress) -> CellCard:
        """Everything about the cell in one row of the table."""
        owner, place = self._place(row)
        spec, crop = self.model.spec, owner.found.crops[[place]]
        explanation = self.model.explain(
            crop, "all", rtol=_CARD_RTOL, rtol_of="strongest", progress=progress
        )
        strongest = explanation.maps[0].flatten(1).norm(dim=1).argmax()
        shares = self.model.channel_shares(crop)[0]
        maps = explanation.importance[0].cpu().numpy()
        maps = maps.max(axis=1) if maps.ndim == 4 else maps
        return replace(
            self.glance(row),
            maps=dict(zip(spec.classes, maps, strict=True)),
            shares=dict(zip(spec.channels, shares.tolist(), strict=True)),
            error=float(explanation.error[0, strongest]),
        )

    def crop(self, row: int) -> NDArray[Any]:
        """Counts (C, *crop_size) of the cell in one row of the table."""
        field, place = self._place(row)
        return field.found.crops[place]

    def probabilities(self) -> NDArray[np.float32]:
        """Of all cells, in the order of the table: (N, n_classes)."""
        return np.concatenate([field.probabilities for field in self.fields])

    def _place(self, row: int) -> tuple[CalledCells, int]:
        """Field of a row of the table, and the cell's number in it."""
        number = int(np.searchsorted(self._firsts, row, "right")) - 1
        return self.fields[number], row - int(self._firsts[number])

    def _report(
        self, progress: Progress, before: int, done: int, total: int, note: str = ""
    ) -> None:
        progress(before + done, len(self.table))

    def _on_axes(self, images: list[NDArray[Any]]) -> NDArray[Any]:
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
    """Find and call all cells of a stack.

    Parameters
    ----------
    labels : the user's cells, one channel, on the stack's axes
    request : how to find cells, and what the model sees
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
    _ = session.cells_image  # now, not in the GUI thread
    return session
