"""Open Zeiss CZI files with Zeiss' own library, region by region.

What is read is the full resolution of one scene, with its tiles put together as in ZEN.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import NOT_THE_FILE, InputError
from cellcam.stacks.blocks import reading_chunks
from cellcam.stacks.czi_directory import Tile, tiles_of
from cellcam.stacks.czi_metadata import czi_metadata, scene_names
from cellcam.stacks.file_kinds import check_kind
from cellcam.stacks.image_file import ImageFile, StatedImage, UnstatedFactError
from cellcam.stacks.missing_pixels import MissingPixels
from cellcam.stacks.optional_packages import reading_package

_AXES = "TCZYX"
_OTHER_AXES = {"R": "rotations", "I": "illuminations", "H": "phases", "V": "views"}
# Types of pixels: dtype, and samples, which are stored blue first.
_TYPES: dict[str, tuple[type[np.generic], int]] = {
    "Gray8": (np.uint8, 1),
    "Gray16": (np.uint16, 1),
    "Gray32Float": (np.float32, 1),
    "Bgr24": (np.uint8, 3),
    "Bgr48": (np.uint16, 3),
}
_LARGE, _LARGEST_RATIO = 2**30, 500
_PACKAGE = ("pylibCZIrw.czi", "pylibCZIrw")


@dataclass(frozen=True)
class Scene:
    """One image of a file.

    Attributes
    ----------
    number : of the scene in the file; None in a file without scenes
    first : first time point, channel, plane, y and x in the coordinates of the file
    shape : along the same axes
    tiles : of the full resolution
    """

    number: int | None
    first: tuple[int, ...]
    shape: tuple[int, ...]
    tiles: tuple[Tile, ...]

    @classmethod
    def of(cls, number: int | None, tiles: Sequence[Tile]) -> Scene:
        """Scene that is bounded by these tiles."""
        first = [min(tile.start.get(axis, 0) for tile in tiles) for axis in _AXES]
        last = [max(tile.start.get(a, 0) + tile.size.get(a, 1) for tile in tiles) for a in _AXES]
        shape = (b - a for a, b in zip(first, last, strict=True))
        return cls(number, tuple(first), tuple(shape), tuple(tiles))

    @property
    def tile_shape(self) -> tuple[int, int]:
        """(y, x) of most tiles."""
        return Counter((tile.size["Y"], tile.size["X"]) for tile in self.tiles).most_common(1)[0][0]

    def pixels_of_planes(self) -> NDArray[np.int64]:
        """Sum of the tiles' areas, (T, C, Z)."""
        areas = np.zeros(self.shape[:3], np.int64)
        for tile in self.tiles:
            place = tuple(tile.start.get(a, 0) - n for a, n in zip("TCZ", self.first, strict=False))
            areas[place] += tile.size["Y"] * tile.size["X"]
        return areas


def open_czi(path: Path, axes: str | None = None, series: int | None = None) -> ImageFile:
    """Open a scene of a CZI file, see `cellcam.stacks.image_file.Opener`.

    The file states its axes: ``axes`` change nothing. ``series`` counts the scenes from 0, in the
    order of their numbers in the file.
    """
    import dask.array as da

    check_kind(path, ".czi")
    xml, types = _header(path)
    scene = _chosen(_scenes(path), xml, path, series)
    _check(scene, path)
    dtype, samples = _type_of(types, scene, path)
    known_axes = _AXES if samples == 1 else "TZYXS" if scene.shape[1] == 1 else "TCZYXS"
    pixels = CziPixels(path, scene, known_axes, dtype)
    tile = dict(zip("YX", scene.tile_shape, strict=True), S=samples)
    stored = tuple(tile.get(axis, 1) for axis in known_axes)
    chunks = reading_chunks(known_axes, pixels.shape, dtype, stored)
    return ImageFile(
        da.from_array(pixels, chunks=chunks, asarray=False, fancy=False, name=False),
        known_axes,
        stored,
        czi_metadata(xml, path),
        is_colour=samples == 3,
        missing=_missing(scene, known_axes, pixels.shape),
        notes=_notes(scene),
    )


class CziPixels:
    """Array-like view of a scene. The file is opened for each read."""

    def __init__(self, path: Path, scene: Scene, axes: str, dtype: np.dtype[Any]) -> None:
        self.path, self.number, self.first, self.axes = path, scene.number, scene.first, axes
        lengths = dict(zip(_AXES, scene.shape, strict=True), S=3)
        self.shape = tuple(lengths[axis] for axis in axes)
        self.dtype, self.ndim = dtype, len(axes)

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[np.generic]:
        spans = [range(n)[part] for part, n in zip(region, self.shape, strict=True)]
        try:
            pixels = self._read([range(span[0], span[-1] + 1) for span in spans])
        except NOT_THE_FILE:
            raise
        except Exception as error:  # libCZI raises what it likes
            raise InputError(
                f"{self.path} is damaged: its pixels {spans} cannot be read ({error}). Copy or "
                "export it again."
            ) from error
        return pixels[tuple(slice(None, None, span.step) for span in spans)]

    def _read(self, spans: Sequence[range]) -> NDArray[np.generic]:
        """Pixels of a box; its first and last place along each axis are in the ranges."""
        at = {axis: span for axis, span in zip(self.axes, spans, strict=True) if axis != "S"}
        first = dict(zip(_AXES, self.first, strict=True))
        box = (first["X"] + at["X"][0], first["Y"] + at["Y"][0], len(at["X"]), len(at["Y"]))
        outer = [axis for axis in self.axes if axis in "TCZ"]
        pixels = np.empty([len(span) for span in spans], self.dtype)
        with reading_package(*_PACKAGE, self.path).open_czi(str(self.path)) as file:
            for index in np.ndindex(*(len(at[axis]) for axis in outer)):
                places = zip(outer, index, strict=True)
                plane = {axis: first[axis] + at[axis][i] for axis, i in places}
                read = file.read(roi=box, plane=plane, scene=self.number)
                samples = read[..., ::-1][..., spans[-1].start : spans[-1].stop]
                pixels[index] = samples if self.axes[-1] == "S" else read[..., 0]
        return pixels


def _header(path: Path) -> tuple[str, dict[int, str]]:
    """XML, and type of the pixels of each channel."""
    czi = reading_package(*_PACKAGE, path)
    try:
        with czi.open_czi(str(path)) as file:
            return file.raw_metadata, file.pixel_types
    except NOT_THE_FILE:
        raise
    except Exception as error:  # libCZI raises what it likes
        raise InputError(
            f"{path} is no CZI that can be read: {error}. Copy or export it again."
        ) from error


def _scenes(path: Path) -> list[Scene]:
    tiles: dict[int | None, list[Tile]] = defaultdict(list)
    for tile in tiles_of(path):
        tiles[tile.start.get("S")].append(tile)
    if not tiles:
        raise InputError(f"{path} holds no pixels. Export it again.")
    if None in tiles and len(tiles) > 1:
        raise InputError(
            f"{path} is damaged: some of its tiles belong to no scene. Export it again."
        )
    numbers = sorted(tiles, key=lambda number: number or 0)
    return [Scene.of(number, tiles[number]) for number in numbers]


def _chosen(scenes: Sequence[Scene], xml: str, path: Path, series: int | None) -> Scene:
    if series is None and len(scenes) > 1:
        names = scene_names(xml, path)
        shapes = [" x ".join(map(str, scene.shape)) for scene in scenes]
        known = [
            f"{i}: {names.get(s.number or 0, '')} {shape}".replace("  ", " ")
            for i, (s, shape) in enumerate(zip(scenes, shapes, strict=True))
        ]
        raise UnstatedFactError(
            f"{path} holds {len(scenes)} images, TCZYX ({'; '.join(known)}). Choose one: "
            "series=... (--series).",
            {
                i: StatedImage(_AXES, scene.shape, czi_metadata(xml, path))
                for i, scene in enumerate(scenes)
            },
        )
    if not 0 <= (series or 0) < len(scenes):
        raise InputError(f"{path} holds {len(scenes)} images; there is no series={series}.")
    return scenes[series or 0]


def _check(scene: Scene, path: Path) -> None:
    """Refuse axes that a stack does not have, and sizes that only an attack declares."""
    for axis, name in _OTHER_AXES.items():
        n = len({tile.start.get(axis, 0) for tile in scene.tiles})
        if n > 1:
            raise InputError(
                f"{path} holds {n} {name} of each plane, which CellCam does not know. Process it "
                "in ZEN, and export the result."
            )
    size = path.stat().st_size
    if min(scene.shape) < 1 or prod(scene.shape) > max(_LARGE, _LARGEST_RATIO * size):
        raise InputError(
            f"{path} declares {' x '.join(map(str, scene.shape))} pixels in {size} bytes. Refused; "
            "export it again."
        )


def _type_of(types: dict[int, str], scene: Scene, path: Path) -> tuple[np.dtype[Any], int]:
    """Type that holds the pixels of all channels, and number of their samples."""
    named = [types.get(scene.first[1] + i, "Invalid") for i in range(scene.shape[1])]
    unknown = set(named) - set(_TYPES)
    samples = {_TYPES[name][1] for name in named if name in _TYPES}
    if unknown or len(samples) > 1:
        raise InputError(
            f"{path} holds pixels of the kinds {', '.join(sorted(set(named)))}, which are not read"
            f"{'' if unknown else ' together'}. Export its channels as OME-TIFF."
        )
    return np.result_type(*(_TYPES[name][0] for name in named)), samples.pop()


def _missing(scene: Scene, axes: str, shape: tuple[int, ...]) -> MissingPixels | None:
    """Planes without any tile."""
    absent = scene.pixels_of_planes() == 0
    if not absent.any():
        return None
    if "C" not in axes:
        absent = absent[:, 0]
    stored = tuple(1 if axis in "TCZ" else n for axis, n in zip(axes, shape, strict=True))
    return MissingPixels(absent.reshape(*absent.shape, *[1] * (len(axes) - absent.ndim)), stored)


def _notes(scene: Scene) -> tuple[str, ...]:
    """What is said of a mosaic with gaps; tiles overlap, so that they cover less than their sum."""
    covered = scene.pixels_of_planes()
    part = covered[covered > 0].min() / prod(scene.shape[-2:])
    if part >= 1:
        return ()
    return (f"Tiles cover at most {part:.0%} of the image; the rest was not acquired and is 0.",)
