"""Cell finders: from a field to a label image.

A finder is a frozen dataclass that implements `CellFinder`; its fields are its options. Packages
register theirs in the entry-point group ``cellcam.finders``, under the name that ``--finder``
takes. The user's own label images are a finder too, see `cellcam.cells.user_labels`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.no_data import (
    NOTHING_KNOWN,
    FieldSample,
    Fill,
    Mask,
    measure_fill,
    missing_pixels,
)
from cellcam.errors import UsageError
from cellcam.stacks.blocks import Part, edge_parts, sample_parts
from cellcam.stacks.stack import Stack, ZChoice

Labels = NDArray[np.int32]
Pixels = NDArray[np.generic]
# A field is measured on the whole of a smaller plane, else on squares of this edge that add up to
# this size.
SAMPLE_PIXELS, SAMPLE_EDGE = 2**24, 1024


@dataclass(frozen=True, eq=False)
class FieldView:
    """A field, or a rectangle of one, whose pixels are read when they are asked for.

    Attributes
    ----------
    stack : the whole stack
    t : time point
    z : plane number, ``"max"``, ``"mean"`` or ``"volume"``; None for a stack of one plane
    part : (y, x) rectangle of the field
    in_memory : pixels of channels that were read in advance
    fill : values that stand for "no data", measured on the whole field
    kept : what a finder computed for `CellFinder.measure` and needs again in `CellFinder.label`
        Of this view only; views that are made of it begin without.
    """

    stack: Stack
    t: int
    z: ZChoice
    part: Part
    in_memory: Mapping[str, Pixels] = field(default_factory=dict)
    fill: Fill = NOTHING_KNOWN
    kept: dict[str, object] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def whole(cls, stack: Stack, t: int = 0, z: ZChoice = None) -> FieldView:
        """View of a whole field."""
        return cls(stack, t, z, Part.all_of(stack.data.shape[-2:]))

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape: (Y, X), or (Z, Y, X) of a volume."""
        planes = self.stack.data.shape[2:3] if self.z == "volume" else ()
        return (*planes, *self.part.shape)

    def cut(self, part: Part) -> FieldView:
        """View of a rectangle inside this one."""
        y, x = part.within(self.part)
        in_memory = {name: pixels[..., y, x] for name, pixels in self.in_memory.items()}
        return replace(self, part=part, in_memory=in_memory)

    def with_pixels(self, channels: Sequence[str]) -> FieldView:
        """Same view with these channels in memory; the file is read once for all of them."""
        names = list(dict.fromkeys(channels))
        pixels = self.stack.cut(*self.part.slices).field(self.t, self.z, names)
        return replace(self, in_memory=dict(zip(names, pixels, strict=True)))

    def with_fill(self, channels: Sequence[str], crop: int) -> FieldView:
        """Same view of a whole field, with its fill measured; see `measure_fill`.

        Parameters
        ----------
        channels : which fill covers all at once
        crop : pixels along y and x of what is seen of a cell
        """
        names = list(dict.fromkeys(channels))
        parts = self.sample_parts()
        whole = len(parts) == 1
        if not whole:
            parts += self._placed(edge_parts(self.part.shape, max(SAMPLE_EDGE // 2, 2 * crop)))
        samples = [FieldSample(self.cut(part).stacked(names), part.at_edge) for part in parts]
        return replace(self, fill=measure_fill(samples, names, crop, whole=whole))

    def sample_parts(self) -> list[Part]:
        """Rectangles on which the view is measured: all of it, or squares of a large one."""
        return self._placed(sample_parts(self.part.shape, SAMPLE_PIXELS, SAMPLE_EDGE))

    def _placed(self, parts: Sequence[Part]) -> list[Part]:
        """Rectangles of the view as rectangles of the field."""
        y, x = self.part.start
        return [
            Part(
                (part.start[0] + y, part.start[1] + x),
                (part.stop[0] + y, part.stop[1] + x),
                self.part.whole,
            )
            for part in parts
        ]

    @cached_property
    def missing(self) -> Mask | None:
        """Which pixels have no data, of the shape `shape`; None if all have, as far as is known.

        Cells must not be found there, and measurements must leave these pixels out.
        """
        if not self.fill.channels:
            return None
        return missing_pixels(self.stacked(self.fill.channels), self.fill)

    def stacked(self, channels: Sequence[str]) -> Pixels:
        """Pixels of several channels: (C, *shape)."""
        return np.stack(self.several(channels))

    def pixels(self, channel: str) -> Pixels:
        """Pixels of one channel, of the shape `shape`, in the stack's dtype."""
        return self.several([channel])[0]

    def several(self, channels: Sequence[str]) -> list[Pixels]:
        """Pixels of each of several channels; the file is read once for all of them."""
        absent = [name for name in channels if name not in self.in_memory]
        pixels = dict(self.in_memory)
        if absent:
            read = self.stack.cut(*self.part.slices).field(self.t, self.z, absent)
            pixels |= zip(absent, read, strict=True)
        return [pixels[name] for name in channels]


class CellFinder(Protocol):
    """Turns a field into a label image.

    Attributes
    ----------
    name : what ``--finder`` calls it
    """

    name: ClassVar[str]

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of the stack that it looks at."""

    @property
    def is_local(self) -> bool:
        """Whether a cell depends on its surroundings alone, so that a field can be cut in blocks.

        If so, a block that is read with `border` pixels around it holds the same cells as the
        whole field.
        """

    def for_stack(self, stack: Stack, channel: str | None, diameter_um: float | None) -> Self:
        """Same finder with its open options filled in for one stack.

        Parameters
        ----------
        channel, diameter_um : the channel that shows the cells, and their typical diameter, as
            the model suggests; None where it does not say

        Raises
        ------
        InputError
            If the stack lacks a channel, or a scale that the finder needs is unknown.
        """

    def measure(self, view: FieldView) -> object:
        """Whatever must be the same in all blocks of a field, measured once on the whole field.

        Returns
        -------
        a frozen dataclass of plain values that travels to other processes, or None; texts in its
        attribute ``notes``, if it has one, are told to the user
        """

    def label(self, view: FieldView, measured: object) -> Labels:
        """Label image of a view, int32 of its shape; 0 is background.

        Pixels may be NaN where `FieldView.missing` says so; cells are cut off there afterwards.
        """

    def border(self, measured: object) -> int:
        """Pixels around a block on which the cells inside it depend."""


@cache  # reading all packages' entry points takes longer than a frame of the window
def installed_finders() -> EntryPoints:
    """Finders that are registered in the entry-point group ``cellcam.finders``."""
    return entry_points(group="cellcam.finders")


def finder_names() -> list[str]:
    """Names of the finders that are installed, the built-in one first."""
    return sorted(installed_finders().names, key=lambda name: (name != "threshold", name))


def make_finder(name: str, options: Mapping[str, object]) -> CellFinder:
    """Finder by name, with its options.

    Parameters
    ----------
    name : as registered in the entry-point group ``cellcam.finders``
    options : values, or their text, by option; they are checked against the finder's fields

    Raises
    ------
    UsageError
        If there is no such finder, it lacks an option, or a value makes no sense.
    """
    from pydantic import TypeAdapter, ValidationError

    found = [entry for entry in installed_finders() if entry.name == name]
    if not found:
        raise UsageError(f"There is no finder {name!r}. Installed: {', '.join(finder_names())}.")
    kind: type[CellFinder] = found[0].load()
    known = finder_options(kind)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise UsageError(
            f"The finder {name!r} has no option {unknown[0]!r}; it has {', '.join(known)}."
        )
    try:
        finder: CellFinder = TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        wrong = error.errors()[0]
        option = ".".join(map(str, wrong["loc"]))
        raise UsageError(f"Finder {name!r}, option {option!r}: {wrong['msg']}.") from error
    return finder


def finder_options(finder: CellFinder | type[CellFinder]) -> dict[str, object]:
    """Options of a finder with their values; of a class, with their defaults."""
    options = dataclasses.fields(finder)  # type: ignore[arg-type] # a finder is a dataclass
    if isinstance(finder, type):
        return {option.name: option.default for option in options}
    return {option.name: getattr(finder, option.name) for option in options}


def finder_files(finder: CellFinder) -> dict[str, str]:
    """SHA-256 of the file of a finder's network, its option ``model``; empty without one."""
    named = finder_options(finder).get("model")
    path = None if named is None else Path(str(named)).expanduser()
    return {"model": _sha256(path)} if path is not None and path.is_file() else {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
