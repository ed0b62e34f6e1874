"""The card of one cell: its class, why this class and not another, its stains. No Qt here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from cellcam.explain.settings import Exactness
    from cellcam.models.model import CellModel
    from cellcam.progress import Progress
    from napari_cellcam.state.session import Session

Map = NDArray[np.float32]

# Of the map itself. The user waits, and does not see an error of 10 %; the true one is mostly 4 %.
DIFFERENCE_RTOL = 0.1
_USUAL: Exactness = {"rtol": DIFFERENCE_RTOL}
_MOST_CLASSES = 6  # that get a map of their own


@dataclass(frozen=True, eq=False)
class Difference:
    """Why a cell is called one class rather than another.

    Attributes
    ----------
    rather_than : the class that lost
    lead : score of the called class less the score of the other, before softmax
    map : (Y, X) complete map of the lead; positive speaks for the called class, negative for the
        other
    stain_losses : how much the lead falls when each stain is replaced by background
    error : estimated error of the map, relative to it
    stain_maps : (Y, X) signed map of each stain alone; empty until they are computed
    """

    rather_than: str
    lead: float
    map: Map
    stain_losses: dict[str, float]
    error: float
    stain_maps: dict[str, Map] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CellCard:
    """Everything about one cell.

    Attributes
    ----------
    row : in the table of its session
    label : in the label image of its field
    image, model : what it is about
    predicted : its most probable class; empty without a call
    probability : of that class, calibrated; NaN without a call
    flags : doubts about the cell, separated by ``;``
    crop : (C, Y, X) counts; for a volume their maximum over z
    channels : C names
    probabilities : of each class, calibrated; empty without a call
    difference : why this class and not another; None before it is explained
    class_maps : (Y, X) signed map of each of `probable_classes` rather than the mean of all; empty
        until they are computed
    class_error : estimated error of the strongest of these maps, relative to it
    settings : how the maps are computed, in words, where it differs from what the model says
    why_no_call : why the cell cannot be called, in words; empty if it can
    """

    row: int
    label: int
    image: str
    model: str
    predicted: str
    probability: float
    flags: str
    crop: NDArray[np.generic]
    channels: tuple[str, ...]
    probabilities: dict[str, float]
    difference: Difference | None = None
    class_maps: dict[str, Map] = field(default_factory=dict)
    class_error: float = float("nan")
    settings: str = ""
    why_no_call: str = ""

    @property
    def probable_classes(self) -> list[str]:
        """The most probable classes, most probable first."""
        ordered = sorted(self.probabilities, key=self.probabilities.__getitem__, reverse=True)
        return ordered[:_MOST_CLASSES]

    @property
    def runner_up(self) -> str:
        """The most probable of the classes that it is not called; empty without a call."""
        others = (name for name in self.probabilities if name != self.predicted)
        return max(others, key=self.probabilities.__getitem__, default="")


def brief_card(session: Session, row: int) -> CellCard:
    """Card of the cell in one row of the table, without maps: nothing to compute."""
    field, index = session.locate(row)
    spec, crop = session.spec, session.crop(row)
    facts = session.table.iloc[row]
    why_no_call = session.why_no_call(row)
    has_call = session.model is not None and not why_no_call
    calls = session.called[field].probabilities[index].tolist() if has_call else ()
    return CellCard(
        row=row,
        label=int(facts["label"]),
        image=session.origin.image.name,
        model=Path(session.origin.model).name,
        predicted=str(facts["class"]) if has_call else "",
        probability=float(facts["probability"]) if has_call else float("nan"),
        flags=_doubts(facts) if has_call else str(facts["flags"]),
        crop=crop.max(axis=1) if crop.ndim == 4 else crop,
        channels=spec.channels,
        probabilities=dict(zip(spec.classes, calls, strict=True)) if has_call else {},
        settings=session.settings_text,
        why_no_call=why_no_call,
    )


def _doubts(facts: pd.Series[Any]) -> str:
    """Flags of a cell, in which ``unlike`` says what differs."""
    from cellcam.models.unlike import in_words

    flags = str(facts["flags"])
    if not facts["differs"]:
        return flags
    why = in_words(str(facts["differs"]), float(facts["differs_by"]))
    return flags.replace("unlike", f"unlike the training cells ({why})")


def explained_card(
    session: Session, row: int, rather_than: str | None, progress: Progress
) -> CellCard:
    """Card of the cell in one row of the table, with its difference map: what the user waits for.

    Parameters
    ----------
    rather_than : class to compare the call with; None for the runner-up
    """
    return compared_card(session, brief_card(session, row), rather_than, progress)


def compared_card(
    session: Session, card: CellCard, rather_than: str | None, progress: Progress
) -> CellCard:
    """The card with the difference map of its call and another class, see `explained_card`."""
    crop = session.crop(card.row)[None]
    pair = card.predicted, rather_than or card.runner_up
    exactness = session.explaining.exactness(DIFFERENCE_RTOL)
    why = difference_map(session.explainer, crop, pair, progress, exactness)
    return replace(card, difference=why)


def completed_card(session: Session, card: CellCard, progress: Progress) -> CellCard:
    """The card with the maps that may come a moment later: of the stains, and of the classes."""
    model, crop = session.explainer, session.crop(card.row)[None]
    exactness = session.explaining.exactness(DIFFERENCE_RTOL)
    assert card.difference is not None
    if len(card.channels) > 1:
        pair = card.predicted, card.difference.rather_than
        maps = stain_difference_maps(model, crop, pair, progress, exactness)
        card = replace(card, difference=replace(card.difference, stain_maps=maps))
    if card.class_maps:
        return card  # only the class to compare with is another
    return _with_class_maps(model, crop, card, progress, exactness)


def difference_map(
    model: CellModel,
    crop: NDArray[np.generic],
    pair: tuple[str, str],
    progress: Progress,
    exactness: Exactness | None = None,
) -> Difference:
    """Why a cell is called the first of two classes rather than the second.

    The complete formula is used whatever formula the model asks for: it alone is linear in the
    score.

    Parameters
    ----------
    crop : (1, C, *crop_size) counts
    exactness : of the integration, by default to an error of 10 %
    """
    import torch

    called, other = map(model.spec.classes.index, pair)
    explained = model.explain_differences(
        crop, [(called, other)], progress=progress, **(exactness or _USUAL)
    )
    losses = model.channel_shares(np.concatenate([crop, crop]), torch.tensor([[called], [other]]))
    return Difference(
        rather_than=pair[1],
        lead=float(explained.logits[0, explained.class_idx[0, 0]]),
        map=_flat(explained.maps[0, 0]),
        stain_losses=dict(zip(model.spec.channels, (losses[0] - losses[1]).tolist(), strict=True)),
        error=float(explained.error[0, 0]),
    )


def stain_difference_maps(
    model: CellModel,
    crop: NDArray[np.generic],
    pair: tuple[str, str],
    progress: Progress,
    exactness: Exactness | None = None,
) -> dict[str, Map]:
    """`difference_map` of each stain, on whose path it moves alone from background to cell."""
    called, other = map(model.spec.classes.index, pair)
    explained = model.explain_differences(
        crop, [(called, other)], channels="each", progress=progress, **(exactness or _USUAL)
    )
    return dict(zip(model.spec.channels, map(_flat, explained.maps[0, 0]), strict=True))


def _with_class_maps(
    model: CellModel,
    crop: NDArray[np.generic],
    card: CellCard,
    progress: Progress,
    exactness: Exactness,
) -> CellCard:
    """The card with a map of each class.

    A map of a single score contradicts the probabilities: what raises the scores of all classes
    alike decides nothing, but would be bright for each of them. So the mean score is subtracted.
    """
    from cellcam.explain.differences import MEAN

    names = card.probable_classes
    explained = model.explain_differences(
        crop,
        [(model.spec.classes.index(name), MEAN) for name in names],
        **exactness,
        rtol_of="strongest",
        progress=progress,
    )
    strongest = explained.maps[0].flatten(1).norm(dim=1).argmax()
    return replace(
        card,
        class_maps=dict(zip(names, map(_flat, explained.maps[0]), strict=True)),
        class_error=float(explained.error[0, strongest]),
    )


def _flat(image: Tensor) -> Map:
    """A map (Y, X); of a volume the strongest value over z, with its sign."""
    values: Map = image.cpu().numpy()
    if values.ndim == 2:
        return values
    strongest = np.abs(values).argmax(axis=0)[None]
    return np.take_along_axis(values, strongest, axis=0)[0]
