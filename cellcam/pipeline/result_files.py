"""Results of one stack as files: importance maps and label image as OME-TIFF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from cellcam.cells.finder import Pixels
from cellcam.pipeline.explain_field import FieldResult
from cellcam.stacks.stack import Stack
from cellcam.stacks.writing import label_dtype, write_ome_tiff

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["maps", "labels"]


def kinds_to_write(cells: pd.DataFrame) -> tuple[Kind, ...]:
    """Images to write: without explained cells there are no maps, not empty ones."""
    return ("maps", "labels") if cells["importance_error"].notna().any() else ("labels",)


def write_images(
    stack: Stack,
    out: Path,
    results: Sequence[FieldResult],
    kinds: Sequence[Kind] = ("maps", "labels"),
) -> list[Path]:
    """Write ``NAME.maps.ome.tif`` and ``NAME.labels.ome.tif`` of all fields of a stack.

    Parameters
    ----------
    results : in the order of `MatchedStack.fields`

    Returns
    -------
    the paths written
    """
    n_times = len({result.place.t for result in results})
    written = []
    for kind in kinds:
        names: Sequence[str]
        if kind == "maps":
            names, images = results[0].classes, _stacked([result.maps for result in results])
        else:
            names, labels = ("cells",), np.stack([result.labels[None] for result in results])
            images = _stacked(list(labels.astype(label_dtype(labels))))
        # (T * planes, C, Z, Y, X), where either planes or Z is 1, to TCZYX.
        images = images.reshape(n_times, -1, *images.shape[1:])
        images = np.moveaxis(images, 1, 3).reshape(n_times, len(names), -1, *images.shape[-2:])
        written.append(out / f"{stack.name}.{kind}.ome.tif")
        write_ome_tiff(written[-1], images, names, stack.pixel_size_um, stack.time_step_s)
    return written


def _stacked(images: Sequence[Pixels]) -> Pixels:
    """Images of several fields, (C, Y, X) or (C, Z, Y, X), as one (fields, C, Z, Y, X) array."""
    return np.stack([image[:, None] if image.ndim == 3 else image for image in images])
