"""ROIs of ImageJ: one (``.roi``) or a set (``.zip``), as Fiji and StarDist write them too.

Areas of ImageJ are bounded by corners of pixels, counted from the upper left corner of the image,
as in `Cells`. Planes count from 1, and 0 is none.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from cellcam.errors import InputError, UsageError, how_to_install
from cellcam.exchange.cells import NOT_STATED, Cells, Outline, Ring, centres_of, numbers_of
from cellcam.exchange.polygons import polygons_of_rings
from cellcam.exchange.reading import measurement_columns
from cellcam.stacks.writing import whole_file

if TYPE_CHECKING:
    from roifile import ImagejRoi

_LARGEST_ROI, _MOST_BYTES, _MOST_ROIS = 2**24, 2**31, 10**7
_CLASS = "class"
_HOW_TO_EXPORT = "Save the ROIs again: in Fiji's ROI Manager with More > Save."


def read_rois(path: Path) -> Cells:
    """Read the cells of a ROI or a set of ROIs.

    A ROI's name is the cell's label, where all names are different whole numbers.

    Raises
    ------
    InputError
        If it is damaged, or holds no area.
    UsageError
        If roifile is not installed.
    """
    rois = list(_rois(path))
    if not rois:
        raise InputError(f"{path} holds no ROI. {_HOW_TO_EXPORT}")
    try:
        outlines = [_outline(roi) for roi in rois]
        planes = np.array([_plane(roi) for roi in rois], np.int64)
        about = [_properties(roi) for roi in rois]
    except Exception as error:  # a damaged ROI can be anything
        raise InputError(f"{path} holds a damaged ROI: {error!r}. {_HOW_TO_EXPORT}") from error
    kept = [i for i, outline in enumerate(outlines) if outline is not None]
    if not kept:
        raise InputError(f"{path} holds no area: points, lines and text are no cells.")
    found: list[Outline] = [outline for outline in outlines if outline is not None]
    names = [rois[i].name.removesuffix(".roi") for i in kept]
    colours = {
        about[i][_CLASS]: rois[i].hexcolor(rois[i].stroke_color) or ""
        for i in kept
        if about[i].get(_CLASS)
    }
    left = len(rois) - len(kept)
    return Cells(
        ids=tuple(name or str(i) for i, name in enumerate(names, start=1)),
        numbers=numbers_of(names, planes[kept]),
        planes=planes[kept],
        centres=centres_of(found),
        outlines=tuple(found),
        classes=tuple(about[i].get(_CLASS, "") for i in kept),
        colours={name: colour for name, colour in colours.items() if colour},
        measurements=measurement_columns([_numbers(about[i]) for i in kept]),
        notes=(f"{left} ROIs that are points, lines or text were left out.",) if left else (),
    )


def write_rois(cells: Cells, target: Path) -> None:
    """Write cells as a set of ROIs, with class and measurements among their properties."""
    with (
        whole_file(target) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for i in range(len(cells)):
            # A fixed date: the same cells give the same bytes.
            entry = zipfile.ZipInfo(f"{i + 1:06}-{cells.numbers[i]}.roi")
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, _roi(cells, i).tobytes())


def _roi(cells: Cells, i: int) -> ImagejRoi:
    from_points, roi_type = _roifile().ImagejRoi.frompoints, _roifile().ROI_TYPE
    outline = cells.outlines[i]
    rings = [ring for polygon in outline for ring in polygon]
    roi: ImagejRoi = from_points(_exact(np.concatenate(rings) if rings else cells.centres[i][None]))
    roi.name = str(cells.numbers[i])
    if len(rings) > 1:
        # A composite: a path of several rings, in a box.
        path = np.concatenate([_path(ring) for ring in rings])
        roi.roitype, roi.n_coordinates, roi.options = roi_type.RECT, 0, type(roi.options)(0)
        roi.integer_coordinates = roi.subpixel_coordinates = None
        roi.multi_coordinates, roi.shape_roi_size = path.astype(np.float32), len(path)
        roi.right, roi.bottom = roi.right - 1, roi.bottom - 1
    elif rings:
        roi.roitype = roi_type.POLYGON
    else:
        roi.roitype = roi_type.POINT
    t, z = cells.planes[i].tolist()
    if NOT_STATED not in (t, z) and (cells.image.n_times > 1 or cells.image.n_planes > 1):
        roi.t_position, roi.z_position = t + 1, z + 1
    said = {name: f"{value:.9g}" for name, value in cells.measured(i).items()}
    if name := cells.classes[i]:
        said[_CLASS] = name
        if name in cells.colours:
            roi.stroke_color = b"\xff" + bytes.fromhex(cells.colours[name][1:])
    roi.props = "".join(f"{_key(key)}: {_line(value)}\n" for key, value in sorted(said.items()))
    return roi


def _key(text: str) -> str:
    return _line(text).replace(":", ";")


def _line(text: str) -> str:
    return " ".join(text.split())


def _exact(corners: Ring) -> Ring:
    """Whole numbers, where they fit into ImageJ's, else floating point."""
    whole = np.round(corners)
    fits = (whole == corners).all() and np.abs(whole).max(initial=0) < 2**15
    return whole.astype(np.int32) if fits else np.asarray(corners, np.float64)


def _path(ring: Ring) -> Ring:
    """Move to the first corner, a line to each other, close."""
    steps = np.column_stack([np.ones(len(ring)), ring])
    steps[0, 0] = 0
    return np.append(steps.ravel(), 4)


def _rois(path: Path) -> Iterator[ImagejRoi]:
    read = _roifile().ImagejRoi.frombytes
    for name, content in _files(path):
        try:
            yield read(content)
        except Exception as error:  # a damaged ROI can be anything
            raise InputError(
                f"{path}: {name} is no ROI that can be read: {error!r}. {_HOW_TO_EXPORT}"
            ) from error


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each ROI; declared sizes are checked before anything is unpacked."""
    try:
        if path.suffix.lower() == ".roi":
            yield path.name, path.read_bytes()
            return
        with zipfile.ZipFile(path) as archive:
            entries = [one for one in archive.infolist() if one.filename.lower().endswith(".roi")]
            largest = max((one.file_size for one in entries), default=0)
            total = sum(one.file_size for one in entries)
            if largest > _LARGEST_ROI or total > _MOST_BYTES or len(entries) > _MOST_ROIS:
                raise InputError(
                    f"{path} would unpack to {len(entries)} ROIs of {total} bytes, the largest of "
                    f"{largest}: more than any set of ROIs. Refused."
                )
            for one in entries:
                yield one.filename, archive.read(one)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path} is no set of ROIs: {error}. {_HOW_TO_EXPORT}") from error


def _outline(roi: ImagejRoi) -> Outline | None:
    """Polygons of a ROI; None of what is no area."""
    kinds = _roifile().ROI_TYPE
    areas = (kinds.POLYGON, kinds.FREEHAND, kinds.TRACED, kinds.RECT, kinds.OVAL)
    if roi.roitype not in areas:
        return None
    rings = [_open(np.asarray(ring, np.float64)) for ring in roi.coordinates(multi=True)]
    if roi.subpixelrect:
        x, y, width, height = roi.xd, roi.yd, roi.widthd, roi.heightd
        rings = [np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])]
    rings = [ring for ring in rings if len(ring) > 2]
    if not rings or not all(np.isfinite(ring).all() for ring in rings):
        raise ValueError("its outline has no three finite corners")
    return polygons_of_rings(rings)


def _open(ring: Ring) -> Ring:
    return ring[:-1] if len(ring) > 3 and (ring[0] == ring[-1]).all() else ring


def _plane(roi: ImagejRoi) -> tuple[int, int]:
    """Time point and plane; a position in a stack without axes is taken for a plane."""
    if roi.t_position or roi.z_position:
        return max(roi.t_position - 1, 0), max(roi.z_position - 1, 0)
    return (NOT_STATED, roi.position - 1) if roi.position else (NOT_STATED, NOT_STATED)


def _properties(roi: ImagejRoi) -> dict[str, str]:
    pairs = (line.partition(":") for line in roi.props.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _numbers(properties: dict[str, str]) -> dict[str, float]:
    number = re.compile(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", re.IGNORECASE)
    return {name: float(text) for name, text in properties.items() if number.fullmatch(text)}


def _roifile() -> ModuleType:
    try:
        import roifile
    except ImportError as error:
        raise UsageError(f"ROIs of ImageJ need the extra: {how_to_install('exchange')}.") from error
    return roifile
