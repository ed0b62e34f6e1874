"""The card of one cell: its class, why this class and not another, its stains. No Qt here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from cellcam.explain.explanation import Explanation
    from cellcam.models.model import CellModel
    from cellcam.progress import Progress
    from napari_cellcam.state.session import Session

Maps = dict[str, NDArray[np.float32]]

# The user waits for a card, and does not see an error of 10 %; the true error is mostly 4 %.
_CARD_RTOL = 0.1


@dataclass(frozen=True, eq=False)
class Difference:
    """Why a cell is called one class rather than another.

    The complete formula is linear in the score, so the map of a difference of two scores is the
    difference of their maps.

    Attributes
    ----------
    rather_than : the class that lost
    lead : score of the called class less the score of the other, before softmax
    map : (Y, X) signed; positive speaks for the called class, negative for the other
    stain_losses : how much the lead falls when each stain is replaced by background
    error : estimated error of the map, relative to it
    stain_maps : (Y, X) signed map of each stain alone; empty until they are computed
    """

    rather_than: str
    lead: float
    map: NDArray[np.float32]
    stain_losses: dict[str, float]
    error: float
    stain_maps: Maps = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CellCard:
    """Everything about one cell.

    Attributes
    ----------
    row : in the table of its session
    label : in the label image of its field
    predicted : its most probable class; empty without a model
    probability : of that class, calibrated
    flags : doubts about the cell, separated by ``;``
    crop : (C, Y, X) counts; for a volume their maximum over z
    channels : C names
    probabilities : of each class, calibrated; empty without a model
    maps : importance (Y, X) for each class, unnormalised; empty before the cell is explained
    difference : why this class and not another; None before the cell is explained
    error : estimated error of the maps, relative to the strongest map
    """

    row: int
    label: int
    predicted: str
    probability: float
    flags: str
    crop: NDArray[np.generic]
    channels: tuple[str, ...]
    probabilities: dict[str, float]
    maps: Maps = field(default_factory=dict)
    difference: Difference | None = None
    error: float = float("nan")

    @property
    def runner_up(self) -> str:
        """The second most probable class."""
        return sorted(self.probabilities, key=self.probabilities.__getitem__)[-2]


def brief_card(session: Session, row: int) -> CellCard:
    """Card of the cell in one row of the table, without maps: nothing to compute."""
    field, index = session.locate(row)
    spec, crop = session.spec, session.crop(row)
    facts = session.table.iloc[row]
    has_call = session.model is not None
    calls = session.called[field].probabilities[index].tolist() if has_call else ()
    return CellCard(
        row=row,
        label=int(facts["label"]),
        predicted=str(facts["class"]) if has_call else "",
        probability=float(facts["probability"]) if has_call else float("nan"),
        flags=str(facts["flags"]),
        crop=crop.max(axis=1) if crop.ndim == 4 else crop,
        channels=spec.channels,
        probabilities=dict(zip(spec.classes, calls, strict=True)) if has_call else {},
    )


def explained_card(
    session: Session, row: int, rather_than: str | None, progress: Progress
) -> CellCard:
    """Card of the cell in one row of the table, with its maps.

    Parameters
    ----------
    rather_than : class to compare the call with; None for the runner-up
    """
    model, card = _model(session), brief_card(session, row)
    crop, names = session.crop(row)[None], session.spec.classes
    explained = model.explain(crop, "all", rtol=_CARD_RTOL, rtol_of="strongest", progress=progress)
    strongest = explained.maps[0].flatten(1).norm(dim=1).argmax()
    maps = [_flat(image.clamp(min=0)) for image in explained.maps[0]]
    pair = names.index(card.predicted), names.index(rather_than or card.runner_up)
    return replace(
        card,
        maps=dict(zip(names, maps, strict=True)),
        difference=_difference(model, crop, explained, pair, progress),
        error=float(explained.error[0, strongest]),
    )


def with_stain_maps(session: Session, card: CellCard, progress: Progress) -> CellCard:
    """The card with a difference map of each stain, on whose path the stain moves alone."""
    model, difference = _model(session), card.difference
    assert difference is not None
    names = session.spec.classes
    pair = [names.index(card.predicted), names.index(difference.rather_than)]
    explained = model.explain(
        session.crop(card.row)[None],
        pair,
        formula="complete",
        channels="each",
        rtol=_CARD_RTOL,
        rtol_of="strongest",
        progress=progress,
    )
    maps = [_flat(image) for image in explained.maps[0, 0] - explained.maps[0, 1]]
    by_stain = dict(zip(session.spec.channels, maps, strict=True))
    return replace(card, difference=replace(difference, stain_maps=by_stain))


def _difference(
    model: CellModel,
    crop: NDArray[np.generic],
    explained: Explanation,
    pair: tuple[int, int],
    progress: Progress,
) -> Difference:
    """Why class ``pair[0]`` rather than ``pair[1]``, from the complete maps of both."""
    import torch

    called, other = pair
    if model.spec.formula == "complete":
        maps, errors = explained.maps[0, [called, other]], explained.error[0, [called, other]]
    else:
        again = model.explain(
            crop, [called, other], formula="complete", rtol=_CARD_RTOL, progress=progress
        )
        maps, errors = again.maps[0], again.error[0]
    difference = maps[0] - maps[1]
    # The errors of two maps add up at worst.
    size = maps.flatten(1).norm(dim=1)
    error = float((errors.nan_to_num() * size).sum() / difference.norm().clamp(min=1e-30))
    losses = model.channel_shares(np.concatenate([crop, crop]), torch.tensor([[called], [other]]))
    return Difference(
        rather_than=model.spec.classes[other],
        lead=float(explained.logits[0, called] - explained.logits[0, other]),
        map=_flat(difference),
        stain_losses=dict(zip(model.spec.channels, (losses[0] - losses[1]).tolist(), strict=True)),
        error=error,
    )


def _flat(image: Tensor) -> NDArray[np.float32]:
    """A map (Y, X); of a volume the strongest value over z, with its sign."""
    values: NDArray[np.float32] = image.cpu().numpy()
    if values.ndim == 2:
        return values
    strongest = np.abs(values).argmax(axis=0)[None]
    return np.take_along_axis(values, strongest, axis=0)[0]


def _model(session: Session) -> CellModel:
    assert session.model is not None
    return session.model
