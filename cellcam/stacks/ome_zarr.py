"""OME-Zarr: results written block by block (0.5), images read (0.1 to 0.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import NOT_THE_FILE, InputError
from cellcam.stacks.blocks import Part, reading_chunks
from cellcam.stacks.image_file import ImageFile
from cellcam.stacks.stack import UNKNOWN_PIXEL_SIZE, Stack, unnamed_channels
from cellcam.stacks.writing import ome_tiff_metadata, whole_file
from cellcam.stacks.zarr_chunks import ZarrPixels, missing_chunks
from cellcam.stacks.zarr_metadata import axes_of, metadata_of

if TYPE_CHECKING:
    import zarr

    # zarr types its arrays by their metadata.
    ZarrArray: TypeAlias = zarr.Array[Any]

_CHUNK = 512
_MAX_LEVELS = 4
# Marks results, in which blocks of zeros are not stored.
_CREATOR = {"name": "CellCam"}


def create_zarr(
    path: Path,
    stack: Stack,
    channels: Sequence[str],
    dtype: type[np.generic],
    block: tuple[int, int],
    planes: int,
) -> None:
    """Create an empty image with a pyramid; each block will be one file (shard) of each level.

    Parameters
    ----------
    path : folder, ``NAME.ome.zarr``
    stack : image that gives the size, pixel size and time step
    channels : C names
    block : (y, x) size of the blocks that will be written, multiples of 16
    planes : number of planes along z
    """
    import zarr

    n_times, _, _, height, width = stack.data.shape
    group = zarr.create_group(path, overwrite=True)
    shape = (n_times, len(channels), planes, height, width)
    edges = [_shard_edge(edge, n) for edge, n in zip(block, shape[-2:], strict=True)]
    for level in range(_levels(block, (height, width))):
        sizes = tuple(-(-n // 2**level) for n in shape[-2:])
        shard = tuple(edge >> level for edge in edges)
        chunk = tuple(min(_CHUNK, _largest_divisor(edge)) for edge in shard)
        group.create_array(
            str(level),
            shape=(*shape[:3], *sizes),
            dtype=dtype,
            shards=(1, 1, 1, *shard),
            chunks=(1, 1, 1, *chunk),
            fill_value=0,
            dimension_names=list("tczyx"),
        )
    group.attrs["ome"] = _metadata(stack, channels, _levels(block, (height, width)))


def write_block(path: Path, t: int, z: int, core: Part, images: NDArray[np.number]) -> list[Path]:
    """Write one block into all levels of the pyramid.

    Coarser levels hold means of 2 x 2 pixels, or of label images every second pixel.

    Parameters
    ----------
    core : (y, x) place of the block; one of the blocks that the image was created for
    images : (C, Z, Y, X), planes beginning at ``z``

    Returns
    -------
    the files that hold it; zarr writes none where a block is zero
    """
    import zarr

    group = zarr.open_group(path, mode="r+")
    files: list[Path] = []
    for level in range(len(list(group.array_keys()))):
        array: ZarrArray = group[str(level)]
        y, x = (first >> level for first in core.start)
        assert array.shards is not None
        # Two writers of one shard would overwrite each other silently.
        assert y % array.shards[-2] == x % array.shards[-1] == 0
        height, width = images.shape[-2:]
        region = (t, slice(None), slice(z, z + images.shape[1]))
        array[(*region, slice(y, y + height), slice(x, x + width))] = images
        place = f"{y // array.shards[-2]}/{x // array.shards[-1]}"
        for channel, plane in np.ndindex(*images.shape[:2]):
            files.append(path / f"{level}/c/{t}/{channel}/{z + plane}/{place}")
        images = _half(images)
    return [file for file in files if file.is_file()]


def open_zarr(path: Path, series: int | None = None) -> tuple[ZarrArray, dict[str, Any]]:
    """Full resolution of an OME-Zarr image, and its OME metadata as JSON.

    Parameters
    ----------
    series : number of the image in a folder of several, as bioformats2raw writes them

    Raises
    ------
    InputError
        If the folder holds no image, or several and none was chosen.
    """
    import zarr

    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        metadata: Any = attributes.get("ome", attributes)
        if "multiscales" not in metadata:
            group, metadata = _image_in(group, metadata, path, series)
        array: Any = group[metadata["multiscales"][0]["datasets"][0]["path"]]
        return array, metadata
    except NOT_THE_FILE:
        raise
    except Exception as error:  # damaged metadata can make zarr raise anything
        raise InputError(f"{path} is no OME-Zarr image ({error!r}). Export it again.") from error


def _image_in(group: zarr.Group, metadata: Any, path: Path, series: int | None) -> tuple[Any, Any]:
    """One image of a folder of several, and its metadata."""
    if "plate" in metadata:
        well = metadata["plate"]["wells"][0]["path"]
        raise InputError(
            f"{path} is a plate of wells, not an image. Give its images, such as {path}/{well}/0."
        )
    numbers = sorted(int(key) for key in group.group_keys() if key.isdecimal())
    if series is None and len(numbers) != 1:
        raise InputError(
            f"{path} holds {len(numbers)} images. Choose one: series=... (--series)."
            if numbers
            else f"{path} is no OME-Zarr image: it describes none. Export it again."
        )
    number = numbers[0] if series is None else series
    if number not in numbers:
        raise InputError(f"{path} holds the images {numbers}; there is no series={number}.")
    image: Any = group[str(number)]
    attributes = dict(image.attrs)
    return image, attributes.get("ome", attributes)


def open_ome_zarr(path: Path, axes: str | None = None, series: int | None = None) -> ImageFile:
    """Open an OME-Zarr image, see `cellcam.stacks.image_file.Opener`.

    The folder states its axes: ``axes`` change nothing. Chunks that are not there count as zeros
    in label images and in CellCam's results, which are written so; elsewhere they are missing.
    """
    import dask.array as da

    array, metadata = open_zarr(path, series)
    try:
        names = axes_of(metadata["multiscales"][0])
        stated = metadata_of(metadata)
    except NOT_THE_FILE:
        raise
    except Exception as error:  # damaged metadata can be of any form
        raise InputError(
            f"{path}: its OME metadata are damaged ({error!r}). Export it again."
        ) from error
    if len(names) != array.ndim:
        raise InputError(f"{path} names the axes {names}; its array has {array.ndim}.")
    missing = missing_chunks(path, array)
    if "image-label" in metadata or metadata.get("_creator") == _CREATOR:
        missing = None
    chunks = reading_chunks(names, array.shape, array.dtype, array.shards or array.chunks)
    pixels = da.from_array(ZarrPixels(path, array), chunks=chunks, asarray=False, name=False)
    return ImageFile(pixels, names, array.chunks, stated, missing=missing)


def export_tiff(source: Path, target: Path) -> None:
    """Stream an OME-Zarr image into one tiled OME-TIFF; memory holds one row of tiles.

    Raises
    ------
    InputError
        If ``source`` holds no image.
    """
    import tifffile

    array, _ = open_zarr(source)
    stated = open_ome_zarr(source).metadata
    named = [name for name in stated.channels if name]
    channels = named if len(named) == array.shape[1] else unnamed_channels(array.shape[1])
    with whole_file(target) as temporary:
        tifffile.imwrite(
            temporary,
            _tiles(array),
            shape=array.shape,
            dtype=array.dtype,
            ome=True,
            bigtiff=array.size * array.dtype.itemsize > 2**31,
            photometric="minisblack",
            tile=(_CHUNK, _CHUNK),
            compression="zlib",
            metadata=ome_tiff_metadata(channels, stated.pixel_size_um, stated.time_step_s),
            software="CellCam",
        )


def _tiles(array: ZarrArray) -> Iterator[NDArray[np.generic]]:
    """Tiles in the order of a TIFF; those at the right and lower edge are padded with zeros."""
    *outer, height, width = array.shape
    for plane in np.ndindex(*outer):
        for y in range(0, height, _CHUNK):
            band = np.asarray(array[(*plane, slice(y, y + _CHUNK))])
            for x in range(0, width, _CHUNK):
                tile = np.zeros((_CHUNK, _CHUNK), array.dtype)
                part = band[:, x : x + _CHUNK]
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile


def _half(images: NDArray[np.number]) -> NDArray[np.number]:
    """Half the resolution: means of 2 x 2 pixels, or every second pixel of whole numbers."""
    if images.dtype.kind in "ui":
        return images[..., ::2, ::2]
    padded = np.pad(images, [(0, 0), (0, 0), *((0, n % 2) for n in images.shape[-2:])], mode="edge")
    corners = padded[..., ::2, ::2], padded[..., 1::2, ::2], padded[..., ::2, 1::2]
    total: NDArray[np.number] = sum(corners) + padded[..., 1::2, 1::2]
    return total / np.asarray(4, images.dtype)


def _levels(block: tuple[int, int], shape: tuple[int, int]) -> int:
    """Number of levels, until the longer side fits into a chunk; `_MAX_LEVELS` at most."""
    useful = max(1, (max(shape) // _CHUNK).bit_length())
    return min(_MAX_LEVELS, useful)


def _shard_edge(edge: int, length: int) -> int:
    """Edge of a shard: that of the block, or whole chunks that hold a smaller image."""
    return edge if edge < length else -(-length // _CHUNK) * _CHUNK


def _largest_divisor(edge: int) -> int:
    """Largest divisor of an edge that is no larger than a chunk."""
    return next(n for n in range(min(edge, _CHUNK), 0, -1) if edge % n == 0)


def _metadata(stack: Stack, channels: Sequence[str], levels: int) -> dict[str, object]:
    size, step = stack.pixel_size_um or UNKNOWN_PIXEL_SIZE, stack.time_step_s
    axes: list[dict[str, str]] = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space"} for axis in "zyx"]
    if step is not None:
        axes[0]["unit"] = "second"
    for axis, known in zip(axes[2:], size, strict=True):
        if known is not None:
            axis["unit"] = "micrometer"
    datasets = []
    for level in range(levels):
        scale = [step or 1, 1, size.z or 1, *((known or 1) * 2**level for known in size[1:])]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    return {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": datasets, "name": stack.name}],
        "_creator": _CREATOR,
        "omero": {"channels": [{"label": name, "color": "FFFFFF"} for name in channels]},
    }
