"""The card of one cell: its class, its evidence and its stains. No Qt here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cellcam.progress import Progress
    from napari_cellcam.state.session import Session

Maps = dict[str, NDArray[np.float32]]

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


def brief_card(session: Session, row: int) -> CellCard:
    """Card of the cell in one row of the table, without maps and shares: nothing to compute."""
    field, index = session.locate(row)
    spec, crop = session.spec, session.crop(row)
    probabilities = session.called[field].probabilities[index].tolist()
    facts = session.table.iloc[row]
    return CellCard(
        label=int(facts["label"]),
        predicted=str(facts["class"]),
        probability=float(facts["probability"]),
        flags=str(facts["flags"]),
        crop=crop.max(axis=1) if crop.ndim == 4 else crop,
        channels=spec.channels,
        probabilities=dict(zip(spec.classes, probabilities, strict=True)),
    )


def explained_card(session: Session, row: int, progress: Progress) -> CellCard:
    """Card of the cell in one row of the table, with maps and shares."""
    assert session.model is not None
    spec, crop = session.spec, session.crop(row)[None]
    explanation = session.model.explain(
        crop, "all", rtol=_CARD_RTOL, rtol_of="strongest", progress=progress
    )
    strongest = explanation.maps[0].flatten(1).norm(dim=1).argmax()
    shares = session.model.channel_shares(crop)[0]
    maps = explanation.importance[0].cpu().numpy()
    maps = maps.max(axis=1) if maps.ndim == 4 else maps
    return replace(
        brief_card(session, row),
        maps=dict(zip(spec.classes, maps, strict=True)),
        shares=dict(zip(spec.channels, shares.tolist(), strict=True)),
        error=float(explanation.error[0, strongest]),
    )
