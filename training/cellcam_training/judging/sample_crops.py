"""Some crops of each class with what lies around them, to see whether their size is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cellcam.reporting.sample_page import ClassSamples, ShownCrop
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.image_crops import Pixels
from cellcam_training.tables.table_checks import READY_MADE

_OF_A_CLASS, _MOST_CLASSES = 6, 40
_CONTEXT = 2  # times the crop, along y and x


def sample_crops(
    table: CellTable,
    crop_size: tuple[int, ...],
    channels: tuple[str, ...],
    read: Callable[[CellTable, tuple[int, ...]], Pixels],
) -> list[ClassSamples]:
    """Crops of some cells of each class, spread over the table.

    Parameters
    ----------
    crop_size, channels : that the network sees
    read : reads the crops of a table at a size: (N, C, *size)
    """
    classes = [name for name in table.classes if (table.rows["cls"] == name).any()][:_MOST_CLASSES]
    chosen = {name: _spread(np.flatnonzero(table.rows["cls"] == name)) for name in classes}
    rows = np.concatenate(list(chosen.values()))
    images = [Path(name).name for name in table.rows["image"]]
    is_colour = channels[:3] == ("red", "green", "blue")
    ready_made = table.place in READY_MADE
    size = crop_size if ready_made else (*crop_size[:-2], *(_CONTEXT * n for n in crop_size[-2:]))
    pixels = dict(zip(rows.tolist(), read(table.part(rows), size), strict=True))
    return [
        ClassSamples(
            name,
            int((table.rows["cls"] == name).sum()),
            [
                ShownCrop(pixels[row], crop_size[-2:], images[row], is_colour)
                for row in chosen[name].tolist()
            ],
        )
        for name in classes
    ]


def _spread(rows: np.ndarray) -> np.ndarray:
    """Some of the rows, evenly over all of them."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, _OF_A_CLASS).round().astype(int))]
