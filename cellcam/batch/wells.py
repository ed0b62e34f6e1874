"""Per-well summaries of a batch: ``wells.csv``, and the plates of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cellcam.batch.plate_metadata import PLATE, WELL, ImageMetadata, well_place
from cellcam.stacks.writing import spreadsheet_safe, whole_file

_COUNTED = ("cells", "no call", "uncertain", "edge", "unlike")
# Of an image: another site of the same well has others.
_OF_IMAGES = ("Metadata_Site",)


class Well(NamedTuple):
    """What was found in the images of one well.

    Attributes
    ----------
    plate, place : the plate, and the well as ``B03``
    metadata : ``Metadata_`` columns that all its images share
    images, failed : number of images, and of those without result
    counts : number of cells in all, ``cells``; without call; with a flag; of ``class NAME``
    """

    plate: str
    place: str
    metadata: Mapping[str, str]
    images: int
    failed: int
    counts: Counter[str]

    def shares(self, classes: Sequence[str]) -> dict[str, float]:
        """Part of the called cells that has each class; empty without a called cell."""
        called = sum(self.counts[f"class {name}"] for name in classes)
        return {name: self.counts[f"class {name}"] / called for name in classes} if called else {}


def wells_of(
    names: Sequence[str],
    failed: set[str],
    counts: Mapping[str, Counter[str]],
    metadata: ImageMetadata,
) -> list[Well]:
    """Wells of the images, by plate and place; none of images whose names state no well.

    Parameters
    ----------
    names : of all images
    failed : of those without result
    counts : of the cells of each image
    """
    images: dict[tuple[str, str], list[str]] = {}
    facts = {name: metadata.of(name) for name in names}
    for name, stated in facts.items():
        if stated.get(WELL):
            images.setdefault((stated.get(PLATE, ""), well_place(stated[WELL])), []).append(name)
    wells = []
    for (plate, place), mine in sorted(images.items()):
        shared = {
            column: value
            for column, value in facts[mine[0]].items()
            if column not in _OF_IMAGES and all(facts[n].get(column) == value for n in mine)
        }
        total: Counter[str] = sum((counts.get(name, Counter()) for name in mine), Counter())
        n_failed = sum(name in failed for name in mine)
        wells.append(Well(plate, place, shared, len(mine), n_failed, total))
    return wells


def write_wells(wells: Sequence[Well], classes: Sequence[str], out: Path) -> list[Path]:
    """Write ``wells.csv``, where there are wells.

    Returns
    -------
    the files
    """
    import pandas as pd

    path = out / "wells.csv"
    if not wells:
        path.unlink(missing_ok=True)
        return []
    with whole_file(path) as temporary:
        table = pd.DataFrame(list(_rows(wells, classes)))
        spreadsheet_safe(table.fillna("")).to_csv(temporary, index=False)
    return [path]


def _rows(wells: Sequence[Well], classes: Sequence[str]) -> Iterator[dict[str, object]]:
    for well in wells:
        row: dict[str, object] = dict(well.metadata)
        row |= {"images": well.images, "failed": well.failed}
        # Of a well without a result the numbers are unknown, not 0.
        is_known, parts = well.failed < well.images, well.shares(classes)
        for name in _COUNTED:
            row[name] = well.counts[name] if is_known else ""
        for name in classes:
            row[f"n_{name}"] = well.counts[f"class {name}"] if is_known else ""
        for name in classes:
            row[f"part_{name}"] = parts.get(name, "")
        yield row
