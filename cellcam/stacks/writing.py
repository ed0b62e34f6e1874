"""Write files that appear whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray

from cellcam.stacks.stack import UNKNOWN_PIXEL_SIZE, PixelSize

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue


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
        table.to_csv(temporary, index=False)
    return written


def write_json(path: Path, content: object) -> None:
    """Write plain data as indented JSON; NaN and infinity are refused."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", "utf-8")


def label_dtype(labels: NDArray[np.integer]) -> type[np.uint16 | np.uint32]:
    """Smallest unsigned type of at least 16 bits that holds the labels."""
    return np.uint16 if labels.max(initial=0) < 2**16 else np.uint32
