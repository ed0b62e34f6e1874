"""The page of a batch: failed images, counts by plate, and pictures of cells.

What it shows is gathered by `cellcam.batch.report`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cellcam.reporting.cell_pictures import ShownCell, cell_picture
from cellcam.reporting.colours import class_colours
from cellcam.reporting.html_page import write_page
from cellcam.reporting.plate_map import plate_maps

# Plates with heat maps; the page would not open quickly with more.
_MOST_MAPS = 24


@dataclass(frozen=True)
class PlateRow:
    """Counts of one plate, or of one folder.

    Attributes
    ----------
    images, failed : number of images, and of those without result
    cells, uncertain, edge, unlike : number of cells, and of those with this flag
    without_call : number of cells that could not be called
    counts : cells of each class
    """

    name: str
    images: int
    failed: int
    cells: int
    uncertain: int
    edge: int
    unlike: int
    without_call: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class PlateMaps:
    """What the heat maps of one plate show.

    Attributes
    ----------
    plate : name
    values : of the number of cells and of each class's part, the value of each well
    """

    plate: str
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class BatchReport:
    """Content of the page.

    Attributes
    ----------
    title, subtitle : of the page
    explained : number of cells that the batch explained
    classes : names
    failed : image, status and reason of every input without result
    notes : image, or number of images, and text of what the user must know about them
    knows_its_cells : whether the model flags cells unlike those of its training
    plates, total : one row for each plate, and their sum
    plate_maps : of each plate whose images name their wells
    examples, doubtful : cells to show
    parameters : name and value of each setting of the batch
    """

    title: str
    subtitle: str
    explained: int
    classes: Sequence[str]
    failed: Sequence[tuple[str, str, str]]
    notes: Sequence[tuple[str, str]]
    knows_its_cells: bool
    plates: Sequence[PlateRow]
    total: PlateRow
    plate_maps: Sequence[PlateMaps]
    examples: Sequence[ShownCell]
    doubtful: Sequence[ShownCell]
    parameters: Sequence[tuple[str, str]]


def write_batch_page(path: Path, report: BatchReport) -> None:
    """Write one HTML file that needs no network."""
    write_page(
        path,
        "batch.html.j2",
        title=report.title,
        report=report,
        colours=class_colours(report.classes),
        maps=[(one.plate, plate_maps(one.values)) for one in report.plate_maps[:_MOST_MAPS]],
        n_plates=len(report.plate_maps),
        examples=[cell_picture(cell) for cell in report.examples],
        doubtful=[cell_picture(cell) for cell in report.doubtful],
    )
