"""Axes, channels and scale in the metadata of OME-Zarr images (NGFF 0.1 to 0.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellcam.stacks.image_file import Metadata
from cellcam.stacks.stack import PixelSize

_UM = {
    "micrometer": 1.0,
    "micron": 1.0,
    "nanometer": 1e-3,
    "angstrom": 1e-4,
    "picometer": 1e-6,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
}
_SECONDS = {
    "second": 1.0,
    "millisecond": 1e-3,
    "microsecond": 1e-6,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}
# Before 0.3 the axes were not written down, but fixed.
_OLD_AXES = "TCZYX"


def axes_of(scales: Mapping[str, Any]) -> str:
    """Axes of a multiscale image, one letter each."""
    listed = scales.get("axes")
    if listed is None:
        return _OLD_AXES
    return "".join(axis if isinstance(axis, str) else axis["name"] for axis in listed).upper()


def metadata_of(metadata: Mapping[str, Any]) -> Metadata:
    """Channels and scale of the full resolution of an image."""
    scales = metadata["multiscales"][0]
    axes = axes_of(scales)
    steps = dict.fromkeys(axes, 1.0)
    for transformations in (scales["datasets"][0], scales):
        for change in transformations.get("coordinateTransformations", ()):
            if "scale" in change:
                given = zip(axes, change["scale"], strict=True)
                steps = {axis: steps[axis] * float(scale) for axis, scale in given}
    listed = scales.get("axes") or ()
    units = {
        str(axis["name"]).upper(): axis.get("unit") for axis in listed if not isinstance(axis, str)
    }
    size = PixelSize(*(_length(steps.get(axis), units.get(axis), _UM) for axis in "ZYX"))
    channels = [channel.get("label") for channel in metadata.get("omero", {}).get("channels", [])]
    return Metadata(channels, size, _length(steps.get("T"), units.get("T"), _SECONDS))


def _length(step: float | None, unit: str | None, factors: Mapping[str, float]) -> float | None:
    """A positive length or time in um or s; None where it or its unit is missing or unknown."""
    factor = factors.get(unit or "")
    return step * factor if step is not None and step > 0 and factor is not None else None
