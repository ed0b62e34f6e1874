"""The cells of a run, written for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cellcam.errors import UsageError
from cellcam.exchange.formats import writing_format, written_endings
from cellcam.pipeline.run_cells import cells_of, images_of_run

NAME = "{name}"


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes
    ----------
    written : the files
    cells : number of cells in all of them
    notes : what the user must know about them
    """

    written: tuple[Path, ...]
    cells: int
    notes: tuple[str, ...]


def is_cell_file(target: Path) -> bool:
    """Whether `export_cells` can write a file of this ending."""
    return writing_format(target) is not None


def check_image_target(source: Path, target: Path) -> None:
    """Refuse to write an image from what is no OME-Zarr, or under the name of another format.

    Raises
    ------
    UsageError
        Says which endings there are, or what to give.
    """
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(
            f"{target}: its ending does not say what to write. Of an OME-Zarr image: .ome.tif; of "
            f"the cells of a run: {', '.join(written_endings())}, .h5ad."
        )
    if not source.is_dir():
        raise UsageError(f"{source} is no folder, as OME-Zarr images and runs are. Check the path.")


def export_cells(run: Path, target: Path) -> Exported:
    """Write the cells of a run in another program's format, which the ending of the target names.

    Parameters
    ----------
    run : output folder of `explain_stack` or of a batch
    target : file; for a run of several images with ``{name}`` for the name of each

    Raises
    ------
    InputError
        If the folder holds no results.
    UsageError
        If the format is unknown, or the run holds several images and the target one name.
    """
    known = writing_format(target)
    if known is None:
        raise UsageError(
            f"{target}: cells cannot be written as {target.suffix or 'this'}; known endings: "
            f"{', '.join(written_endings())}."
        )
    images = images_of_run(run)
    if len(images) > 1 and NAME not in str(target):
        suggested = target.with_name(f"{NAME}{target.suffix}")
        raise UsageError(
            f"{run} holds the results of {len(images)} images, and a {known.name} file has the "
            f"cells of one. Write {NAME} for the image's name, such as {suggested}."
        )
    written: list[Path] = []
    notes: list[str] = []
    n_cells = 0
    for image in images:
        cells = cells_of(image)
        written.append(Path(str(target).replace(NAME, image.name)))
        known.write(cells, written[-1])
        notes += cells.notes
        n_cells += len(cells)
    return Exported(tuple(written), n_cells, tuple(notes))
