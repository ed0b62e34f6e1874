"""Open Leica LIF files: bioio's plugin, and what it leaves out: colours, time, lost pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cellcam.errors import InputError
from cellcam.stacks.bioio_files import Facts, open_with_plugin
from cellcam.stacks.file_kinds import check_kind
from cellcam.stacks.image_file import ImageFile

if TYPE_CHECKING:
    import xarray as xr


def open_lif(path: Path, axes: str | None = None, series: int | None = None) -> ImageFile:
    """Open an image of a LIF file, see `cellcam.stacks.image_file.Opener`.

    The file states its axes: ``axes`` change nothing.
    """
    check_kind(path, ".lif")
    return open_with_plugin(path, "bioio-lif", series, _facts)


def _facts(path: Path, number: int, image: xr.DataArray) -> Facts:
    import liffile

    with liffile.LifFile(path) as file:
        stored = file.images[number]
        if "S" in stored.sizes:
            raise InputError(
                f"{path} holds colour samples, which its reader does not know. Export it as TIFF."
            )
        try:
            block = stored.memory_block
        except KeyError as error:
            raise InputError(
                f"{path} is cut off: the pixels of its image {number} are missing. Copy it again."
            ) from error
        if block.size < stored.nbytes:
            raise InputError(
                f"{path} is damaged: its image {number} has {stored.nbytes} bytes, and "
                f"{block.size} are stored. Export it again."
            )
    times = image.coords.get("T")
    step = float(times[1] - times[0]) if times is not None and len(times) > 1 else None
    return Facts(time_step_s=step)
