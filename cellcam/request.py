"""The request: everything that a user asks for, in one frozen object that is checked once.

Python, the command line, batches and the window all build a `Request`; `Request.words` turns it
into command-line options again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cellcam.cells.finder import CellFinder, finder_options
from cellcam.cells.threshold_finder import ThresholdFinder
from cellcam.errors import UsageError
from cellcam.names import joined_names
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import Stack, ZChoice

if TYPE_CHECKING:
    from pydantic import JsonValue

Classes = tuple[str, ...] | Literal["predicted", "all"]

# Estimated relative error of a cell's strongest map. Models that measured their errors reach it in
# 95 % of the cells; with others the true error is about half of it.
DEFAULT_RTOL = 0.05
# Finder options that have a command-line option of their own; others go through --finder-option.
FINDER_WORDS = {
    "channel": "--find-channel",
    "diameter_um": "--diameter-um",
    "threshold": "--threshold",
    "look_for": "--look-for",
}
CLASS_WORDS: dict[str, Literal["predicted", "all"]] = {"predicted": "predicted", "all": "all"}
PlanesWanted = ZChoice | Literal["each"]
PLANE_WORDS: dict[str, Literal["each", "max", "mean", "volume"]] = {
    "each": "each",
    "max": "max",
    "mean": "mean",
    "volume": "volume",
}


@dataclass(frozen=True)
class ImageOptions:
    """Facts about an image that overrule its file, or that the file does not state.

    Attributes
    ----------
    axes, channels, series, tolerate_missing : see `open_stack`
    pixel_size_um : edge of a pixel along y and x; or (y, x), or (z, y, x)
    """

    axes: str | None = None
    channels: tuple[str, ...] | None = None
    pixel_size_um: float | tuple[float, ...] | None = None
    series: int | None = None
    tolerate_missing: bool = False

    def __post_init__(self) -> None:
        if self.channels is not None:
            object.__setattr__(self, "channels", tuple(self.channels))
        if isinstance(self.pixel_size_um, Sequence):
            object.__setattr__(self, "pixel_size_um", tuple(self.pixel_size_um))
        sizes = _sizes(self.pixel_size_um)
        if len(sizes) > 3 or not all(0 < size < inf for size in sizes):
            raise UsageError(
                f"pixel_size_um={self.pixel_size_um!r} must be positive (um): one number, "
                "(y, x) or (z, y, x)."
            )
        if self.series is not None and self.series < 0:
            raise UsageError(f"series={self.series!r}: images of a file are counted from 0.")

    def open(self, path: Path, name: str | None = None, only_t: int | None = None) -> Stack:
        """Open an image with these facts; results are written under ``name``.

        Parameters
        ----------
        only_t : see `open_stack`
        """
        stack = open_stack(
            path,
            axes=self.axes,
            channels=self.channels,
            pixel_size_um=self.pixel_size_um,
            series=self.series,
            tolerate_missing=self.tolerate_missing,
            only_t=only_t,
        )
        return stack if name is None else replace(stack, name=name)


@dataclass(frozen=True)
class Request:
    """What to do with every image.

    Attributes
    ----------
    image : facts about the images that their files do not state
    finder : how cells are found where the user brings no label image
    channel_map : image channel of each model channel whose name differs; a mapping is accepted
    t : the only time point to work on; None: all of them
    z : plane number, ``"each"`` (every plane is a field), ``"max"``, ``"mean"`` or ``"volume"``;
        None: as the model was trained
    classes : which maps: ``"predicted"`` (each cell's own call), ``"all"``, or class names
    explained : part of the cells that are explained, 0 to 1; all are classified
    rtol : estimated relative error to reach in a cell's strongest map

    Raises
    ------
    UsageError
        If a value makes no sense.
    """

    image: ImageOptions = field(default_factory=ImageOptions)
    finder: CellFinder = field(default_factory=ThresholdFinder)
    channel_map: tuple[tuple[str, str], ...] = ()
    t: int | None = None
    z: PlanesWanted = None
    classes: Classes = "predicted"
    explained: float = 1.0
    rtol: float = DEFAULT_RTOL

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel_map", _pairs(self.channel_map))
        object.__setattr__(self, "classes", _checked_classes(self.classes))
        if self.t is not None and self.t < 0:
            raise UsageError(f"t={self.t!r}: time points are counted from 0.")
        if isinstance(self.z, str) and self.z not in PLANE_WORDS:
            raise UsageError(f"z={self.z!r}: give a plane number, {', '.join(PLANE_WORDS)}.")
        if isinstance(self.z, int) and self.z < 0:
            raise UsageError(f"z={self.z!r}: planes are counted from 0.")
        if not 0 <= self.explained <= 1:
            raise UsageError(f"explained={self.explained!r} must lie between 0 and 1.")
        if not 0 < self.rtol < 1:
            raise UsageError(f"rtol={self.rtol!r} must lie between 0 and 1, as 0.05 does.")

    def open(self, path: Path, name: str | None = None) -> Stack:
        """Open an image of which this is asked; results are written under ``name``."""
        return self.image.open(path, name, self.t)

    def with_classes(self, classes: str | Sequence[str]) -> Request:
        """Same request for other maps."""
        return replace(self, classes=_checked_classes(classes))

    def words(self) -> list[str]:
        """Options of ``cellcam explain`` and ``cellcam batch`` that ask for the same."""
        image = self.image
        values: list[tuple[str, object]] = [
            ("--axes", image.axes),
            ("--channels", image.channels and joined_names(image.channels)),
            ("--pixel-size", ",".join(map(_text, _sizes(image.pixel_size_um))) or None),
            ("--series", image.series),
            *(("--map", f"{model}={image}") for model, image in self.channel_map),
            *self._finder_words(),
            ("--t", self.t),
            ("--z", self.z),
            (
                "--classes",
                self.classes if isinstance(self.classes, str) else joined_names(self.classes),
            ),
            ("--explain", self.explained),
            ("--rtol", self.rtol),
        ]
        defaults = {("--classes", "predicted"), ("--explain", 1.0), ("--rtol", DEFAULT_RTOL)}
        given = [pair for pair in values if pair[1] is not None and pair not in defaults]
        words = [word for option, value in given for word in (option, _text(value))]
        return [*words, "--tolerate-missing"] if image.tolerate_missing else words

    def description(self) -> dict[str, JsonValue]:
        """The request as plain data, for ``run.json`` and as part of a batch's fingerprint."""
        image = self.image
        return {
            "axes": image.axes,
            "channels": list(image.channels) if image.channels else None,
            "pixel_size_um": list(image.pixel_size_um)
            if isinstance(image.pixel_size_um, tuple)
            else image.pixel_size_um,
            "series": image.series,
            "tolerate_missing": image.tolerate_missing,
            "finder": {"name": self.finder.name, **_plain(finder_options(self.finder))},
            "channel_map": dict(self.channel_map),
            "t": self.t,
            "z": self.z,
            "classes": self.classes if isinstance(self.classes, str) else list(self.classes),
            "explained": self.explained,
            "rtol": self.rtol,
        }

    def _finder_words(self) -> Iterable[tuple[str, object]]:
        if self.finder.name != ThresholdFinder.name:
            yield "--finder", self.finder.name
        defaults = finder_options(type(self.finder))
        for option, value in finder_options(self.finder).items():
            if value == defaults[option]:
                continue
            if option in FINDER_WORDS:
                yield FINDER_WORDS[option], value
            else:
                yield "--finder-option", f"{option}={_text(value)}"


def _pairs(
    channel_map: Mapping[str, str] | Sequence[tuple[str, str]],
) -> tuple[tuple[str, str], ...]:
    pairs = channel_map.items() if isinstance(channel_map, Mapping) else channel_map
    return tuple((model, image) for model, image in pairs)


def _checked_classes(classes: Sequence[str] | str) -> Classes:
    if isinstance(classes, str):
        if classes in CLASS_WORDS:
            return CLASS_WORDS[classes]
        raise UsageError(f"classes={classes!r}: use 'predicted', 'all' or a list of class names.")
    if not classes:
        raise UsageError("classes is empty: use 'predicted', 'all' or a list of class names.")
    return tuple(classes)


def _sizes(pixel_size_um: float | tuple[float, ...] | None) -> tuple[float, ...]:
    if pixel_size_um is None:
        return ()
    return pixel_size_um if isinstance(pixel_size_um, tuple) else (pixel_size_um,)


def _text(value: object) -> str:
    """Shortest text of a value that reads back as the same value."""
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _plain(options: Mapping[str, object]) -> dict[str, JsonValue]:
    plain = (str, int, float, bool, type(None))
    return {k: v if isinstance(v, plain) else str(v) for k, v in options.items()}
