"""Write files that appear whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError, UsageError
from cellcam.stacks.stack import UNKNOWN_PIXEL_SIZE, PixelSize

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue

# What a result adds to the name of its image, with the process number of a temporary file.
_LONGEST_ADDITION = len(".1234567.") + len(".labels.ome.zarr")
_LONGEST_NAME, _LONGEST_PATH = 255, 4095
# "-3" and "+ctrl" are no formulas that do anything.
_FORMULA = re.compile(r"[=@\t\r\n]|[+\-].*[(|!]", re.DOTALL)


def writable_folder(path: Path) -> Path:
    """The same path, if it is a folder for results or can become one; nothing is made yet.

    Raises
    ------
    UsageError
        If the path, or one above it, is a file or must not be written.
    """
    above = next((folder for folder in (path, *path.absolute().parents) if _exists(folder)), path)
    if above.exists() and not above.is_dir():
        raise UsageError(
            f"{above} is a file; the results need a folder. Give another folder (--out)."
        )
    if above.exists() and not os.access(above, os.W_OK):
        raise UsageError(f"{above} cannot be written. Give another folder (--out).")
    return path


def writable_file(path: Path) -> Path:
    """The same path, if a file can be written there; `UsageError` if not."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; a file is to be written. Give another name.")
    writable_folder(path.parent)
    return path


def check_name(folder: Path, name: str) -> None:
    """Raise `InputError` if the system allows no files of this name, with endings, in a folder."""
    last = len(os.fsencode(Path(name).name)) + _LONGEST_ADDITION
    whole = len(os.fsencode(folder.absolute() / name)) + _LONGEST_ADDITION
    too_long = max(last - _LONGEST_NAME, whole - _LONGEST_PATH)
    if too_long > 0:
        raise InputError(
            f"The name of {Path(name).name[:60]}... is too long for files of its results: shorten "
            f"it, or the path of its folder, by {too_long} characters."
        )


def spreadsheet_safe(table: pd.DataFrame) -> pd.DataFrame:
    """The same table, without text that a spreadsheet would run as a formula.

    Such text, in names of files or classes, gets an apostrophe in front, which spreadsheets hide.
    """
    from pandas.api.types import is_numeric_dtype

    text = [name for name in table if not is_numeric_dtype(table[name])]
    return table.assign(**{str(name): table[name].map(_safe_text) for name in text})


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # below a folder that must not be looked into
        return False


def _safe_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    # Names that cannot be text, since their bytes are not, would stop the writing of all others.
    value = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return f"'{value}" if _FORMULA.match(value) else value


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Temporary path beside ``path`` that becomes ``path`` when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays: writers choose their format by it.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_ome_tiff(
    path: Path,
    data: NDArray[np.generic],
    channels: Sequence[str],
    pixel_size_um: PixelSize = UNKNOWN_PIXEL_SIZE,
    time_step_s: float | None = None,
) -> None:
    """Write TCZYX data as a tiled, compressed OME-TIFF.

    Parameters
    ----------
    data : (T, C, Z, Y, X) array of whole numbers of up to 32 bits, or float32
    channels : C names
    """
    import tifffile

    metadata = ome_tiff_metadata(channels, pixel_size_um, time_step_s)
    # A UUID made of the content, so that the same content gives the same bytes.
    digest = hashlib.sha256(np.ascontiguousarray(data).data).hexdigest()
    metadata["UUID"] = str(uuid5(NAMESPACE_OID, f"{digest} {metadata}"))
    with whole_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            data,
            ome=True,
            photometric="minisblack",
            tile=(256, 256),
            compression="zlib",
            metadata=metadata,
            software="CellCam",
        )


def ome_tiff_metadata(
    channels: Sequence[str], pixel_size_um: PixelSize, time_step_s: float | None
) -> dict[str, JsonValue]:
    """OME metadata of a TCZYX image, by the names that tifffile gives its parts."""
    metadata: dict[str, JsonValue] = {"axes": "TCZYX", "Channel": {"Name": [*channels]}}
    for axis, size in zip("ZYX", pixel_size_um, strict=True):
        if size is not None:
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    if time_step_s is not None:
        metadata |= {"TimeIncrement": time_step_s, "TimeIncrementUnit": "s"}
    return metadata


def write_table(path: Path, table: pd.DataFrame) -> list[Path]:
    """Write a table as ``path``.parquet and ``path``.csv; returns the two paths."""
    written = [path.with_name(f"{path.name}.{ending}") for ending in ("parquet", "csv")]
    with whole_file(written[0]) as temporary:
        table.to_parquet(temporary, index=False)
    with whole_file(written[1]) as temporary:
        spreadsheet_safe(table).to_csv(temporary, index=False)
    return written


def write_json(path: Path, content: object) -> None:
    """Write plain data as indented JSON; NaN and infinity are refused."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", "utf-8")


def label_dtype(labels: NDArray[np.integer]) -> type[np.uint16 | np.uint32]:
    """Smallest unsigned type of at least 16 bits that holds the labels."""
    return np.uint16 if labels.max(initial=0) < 2**16 else np.uint32
