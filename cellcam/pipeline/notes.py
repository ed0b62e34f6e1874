"""What the user must know about an image: facts that stop nothing, and must not stay unsaid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cellcam.models.spec import ModelSpec
from cellcam.models.unlike import in_words

if TYPE_CHECKING:
    import pandas as pd

# From this share of unlike cells on, and this number of cells, an image is said to differ.
_MANY, _FEWEST = 0.2, 3


def image_notes(notes: Iterable[str], cells: pd.DataFrame, spec: ModelSpec) -> tuple[str, ...]:
    """All notes about one image, each once.

    Parameters
    ----------
    notes : about its fields
    cells : its cell table
    spec : of the model that called them
    """
    return each_once([*([spec.note] if spec.note else []), *notes, *unlike_notes(cells)])


def unlike_notes(cells: pd.DataFrame) -> Sequence[str]:
    """What differs in an image many of whose cells are unlike those of the training."""
    unlike = cells[cells["unlike"] > 1]
    known = int(cells["unlike"].notna().sum())
    if len(unlike) < max(min(_FEWEST, known), _MANY * known, 1):
        return []
    counts = unlike["differs"].value_counts()
    main = str(counts.index[0])
    figures = unlike.loc[unlike["differs"] == main, "differs_by"].dropna()
    by = float(figures.median()) if len(figures) else float("nan")
    text = (
        f"{len(unlike)} of {known} cells look unlike those the model was trained on: "
        f"{in_words(main, by)}. Do not rely on their classes."
    )
    return [text]


def each_once(notes: Iterable[str]) -> tuple[str, ...]:
    """The same notes, each once, in the order in which they came."""
    return tuple(dict.fromkeys(notes))
