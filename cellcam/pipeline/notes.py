"""What the user must know about an image: facts that stop nothing, and must not stay unsaid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.models.missing_counts import missing_counts
from cellcam.models.spec import KnownCells, ModelSpec
from cellcam.models.unlike import in_words

if TYPE_CHECKING:
    import pandas as pd

# From this share of unlike cells on, and this number of cells, an image is said to differ.
_MANY, _FEWEST = 0.2, 3
# A share of missing counts that is worth a note is so much larger than in the training images.
_MISSING = 0.02
_NO_CELLS = "No cells were found. Give the size of the cells, or a label image."

_SHARE = re.compile(r"(?:Up to )?(?:(\d+)|Less than 1) %")


def image_notes(notes: Iterable[str], cells: pd.DataFrame, spec: ModelSpec) -> tuple[str, ...]:
    """All notes about one image, each once.

    Parameters
    ----------
    notes : about its fields
    cells : its cell table
    spec : of the model that called them
    """
    about_cells = unlike_notes(cells) or unlike_image_notes(cells, spec.known_cells)
    if not len(cells):
        about_cells = [_NO_CELLS]
    return each_once([*([spec.note] if spec.note else []), *notes, *about_cells])


def unlike_notes(cells: pd.DataFrame) -> Sequence[str]:
    """What differs in an image many of whose cells are unlike those of the training."""
    unlike = cells[cells["unlike"] > 1]
    known = int(cells["unlike"].notna().sum())
    if len(unlike) < max(min(_FEWEST, known), _MANY * known, 1):
        return []
    text = (
        f"{len(unlike)} of {known} cells look unlike those the model was trained on: "
        f"{_main_difference(unlike)}. Do not rely on their classes."
    )
    return [text]


def unlike_image_notes(cells: pd.DataFrame, known: KnownCells | None) -> Sequence[str]:
    """What differs in an image whose cells, together, are farther off than training images are.

    Its value is the median of its cells' ``unlike``, which takes no notice of some odd ones.

    Parameters
    ----------
    known : of the model; without images nothing is said
    """
    images = known and known.images
    values = cells["unlike"].dropna()
    if not images or len(values) < images.fewest_cells or not images.is_unlike(values.median()):
        return []
    unlike = cells[cells["unlike"] > 1]
    what = "no single cell is striking"
    if len(unlike):
        what = f"in those that differ most, {_main_difference(unlike)}"
    text = (
        f"Taken together, the cells look unlike those of the training images: {what}. About 1 in "
        f"{round(1 / images.false_alarms)} images of the training's kind gets this warning by "
        "mistake. Check some of the classes."
    )
    return [text]


def stretched_notes(crops: NDArray[np.generic], spec: ModelSpec) -> Iterator[str]:
    """Channels in which counts are missing that the training images have.

    Parameters
    ----------
    crops : (N, C, *spatial) counts of cells of one image
    spec : of the model; without training images nothing is said
    """
    images = spec.known_cells and spec.known_cells.images
    if not images or not len(crops):
        return
    shares = zip(spec.channels, missing_counts(crops), images.missing_counts, strict=True)
    for name, share, most in shares:
        if share > most + _MISSING:  # not for NaN
            yield (
                f"{100 * share:.0f} % of the counts of {name} occur in no pixel, as after a "
                f"stretched contrast; in training images, up to {most:.0%}. Use the image as it "
                "was recorded."
            )


def _main_difference(unlike: pd.DataFrame) -> str:
    """What differs in most of the unlike cells, in words."""
    main = str(unlike["differs"].value_counts().index[0])
    figures = unlike.loc[unlike["differs"] == main, "differs_by"].dropna()
    return in_words(main, float(figures.median()) if len(figures) else float("nan"))


def each_once(notes: Iterable[str]) -> tuple[str, ...]:
    """The same notes, each once, in the order in which they came.

    Of notes that differ in a share alone ("12 % of the field ..."), the largest share is told.
    """
    shares: dict[str, set[float]] = {}
    for note in notes:
        share = _SHARE.match(note)
        shares.setdefault(note[share.end() :] if share else note, set()).add(
            float(share[1] or 0) if share else -1.0
        )
    return tuple(_told(text, found) for text, found in shares.items())


def _told(text: str, shares: set[float]) -> str:
    largest = max(shares)
    if largest < 0:
        return text
    share = f"{largest:g}" if largest else "Less than 1"
    return f"{'Up to ' if len(shares) > 1 and largest else ''}{share} %{text}"
