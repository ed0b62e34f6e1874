"""The report on a batch: what failed first, then what was found, on each plate and in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellcam.reporting.cell_pictures import ShownCell, cell_picture
from cellcam.reporting.colours import class_colours
from cellcam.reporting.html_page import write_page


@dataclass(frozen=True)
class PlateRow:
    """What was found on one plate, or in one folder.

    Attributes
    ----------
    images, failed : how many there are, and of these without result
    cells, uncertain, edge : how many there are, and of these flagged so
    counts : cells of each class
    """

    name: str
    images: int
    failed: int
    cells: int
    uncertain: int
    edge: int
    counts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class BatchReport:
    """What the report shows.

    Attributes
    ----------
    title, subtitle : of the page
    classes : names
    failed : image, status and reason of every input without result
    plates : one row each, and their sum
    examples, doubtful : cells to show
    parameters : name and value of what was chosen
    """

    title: str
    subtitle: str
    classes: Sequence[str]
    failed: Sequence[tuple[str, str, str]]
    plates: Sequence[PlateRow]
    total: PlateRow
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
        examples=[cell_picture(cell) for cell in report.examples],
        doubtful=[cell_picture(cell) for cell in report.doubtful],
    )
