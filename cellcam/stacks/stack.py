"""`Stack`: an image as lazy TCZYX pixels, with its channels and scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.stacks.memory import check_fits

if TYPE_CHECKING:
    import dask.array as da

AXES = "TCZYX"
ZChoice = int | Literal["max", "mean", "volume"] | None


class PixelSize(NamedTuple):
    """Edge lengths of a voxel in um; None where the file does not say."""

    z: float | None = None
    y: float | None = None
    x: float | None = None


UNKNOWN_PIXEL_SIZE = PixelSize()


@dataclass(frozen=True, eq=False)
class Stack:
    """One image.

    Attributes
    ----------
    data : dask array, (T, C, Z, Y, X), in the file's dtype
        Read when it is computed; ``numpy.asarray(stack.data[0, 1])`` reads one channel.
    channels : C names
    pixel_size_um : `PixelSize` (z, y, x)
    time_step_s : seconds between time points, or None
    name : the file's name without its ending
    channels_named : whether the names were stated, by the file or by the user
    stored : (y, x) pixels that the file stores, and so reads, together; None if unknown
    is_colour : whether the channels are colours of a picture: red, green, blue, perhaps alpha
    notes : what the user must know about the pixels, such as planes that are missing
    files : the files that hold its planes and its description, where these are several
    """

    data: da.Array
    channels: tuple[str, ...]
    pixel_size_um: PixelSize = UNKNOWN_PIXEL_SIZE
    time_step_s: float | None = None
    name: str = "stack"
    path: Path | None = None
    channels_named: bool = True
    stored: tuple[int, int] | None = None
    is_colour: bool = False
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @classmethod
    def from_array(
        cls,
        array: NDArray[np.generic],
        axes: str,
        channels: Sequence[str] | None = None,
        pixel_size_um: PixelSize | None = None,
        name: str = "stack",
    ) -> Stack:
        """Stack around an array in memory.

        Parameters
        ----------
        array : array with one axis for each letter of ``axes``
        axes : letters of TCZYX in the array's order, such as ``"CYX"``
        """
        import dask.array as da

        if len(axes) != array.ndim:
            raise InputError(f"axes={axes!r} name {len(axes)} axes; the array has {array.ndim}.")
        # name=False: by default Dask hashes all pixels for a name.
        data = to_tczyx(da.from_array(array, name=False), axes)
        return cls(
            data,
            tuple(channels) if channels else unnamed_channels(data.shape[1]),
            pixel_size_um or UNKNOWN_PIXEL_SIZE,
            name=name,
            channels_named=bool(channels),
        )

    def __post_init__(self) -> None:
        if len(self.channels) != self.data.shape[1]:
            raise InputError(
                f"{self.name} has {self.data.shape[1]} channels, but {len(self.channels)} names "
                f"were given: {', '.join(self.channels)}."
            )
        if len(set(self.channels)) != len(self.channels):
            raise InputError(
                f"{self.name} has channels of the same name: {', '.join(self.channels)}. "
                "Name them with channels=[...] (--channels)."
            )

    def channel_index(self, name: str) -> int:
        """Position of a channel; `InputError` names those that exist."""
        if name not in self.channels:
            raise InputError(
                f"{self.name} has no channel {name!r}; it has {', '.join(self.channels)}. "
                "Name its channels with channels=[...] (--channels)."
            )
        return self.channels.index(name)

    def cut(self, y: slice, x: slice) -> Stack:
        """The same stack, cut to a rectangle."""
        return replace(self, data=self.data[..., y, x])

    def loaded(self) -> Stack:
        """The same stack with its pixels in memory."""
        import dask.array as da

        return replace(self, data=da.from_array(_read(self.data, self.name), chunks=-1))

    def field(
        self, t: int = 0, z: ZChoice = None, channels: Sequence[str] | None = None
    ) -> NDArray[np.number]:
        """Pixels of one field of view, read now.

        Parameters
        ----------
        t : time point
        z : plane number, ``"max"`` or ``"mean"`` projection, or ``"volume"``
            May be left out where the stack has one plane.
        channels : names, in the order wanted; all of them when left out

        Returns
        -------
        (C, Y, X) array, or (C, Z, Y, X) for a volume, in the stack's dtype
        (float32 for a mean projection)
        """
        n_times, _, n_planes = self.data.shape[:3]
        if not 0 <= t < n_times:
            raise InputError(f"{self.name} has time points 0 to {n_times - 1}; t={t} is not there.")
        names = self.channels if channels is None else channels
        volume = self.data[t, [self.channel_index(name) for name in names]]
        if z == "volume":
            chosen = volume
        elif z == "max":
            chosen = volume.max(axis=1)
        elif z == "mean":
            chosen = volume.mean(axis=1, dtype=np.float32)
        elif z is None and n_planes > 1:
            raise InputError(
                f"{self.name} has {n_planes} planes. Choose one with z=0 to z={n_planes - 1}, "
                'or z="max", "mean" or "volume" (--z).'
            )
        elif isinstance(z, str) or not 0 <= (z or 0) < n_planes:
            raise InputError(f"{self.name} has planes 0 to {n_planes - 1}; z={z!r} is not there.")
        else:
            chosen = volume[:, z or 0]
        return _read(chosen, self.name)


def _read(pixels: da.Array, name: str) -> NDArray[np.number]:
    """Pixels in memory, read by this process even inside a Dask worker."""
    check_fits(
        pixels.nbytes,
        f"A field of {name}, {' x '.join(map(str, pixels.shape))} pixels,",
        "Work on it with cellcam batch, which reads blocks; or export a part of it.",
    )
    # A worker would hand the reading back to the cluster: a field was lost when another worker
    # died, and pixels went from process to process.
    read: NDArray[np.number] = pixels.compute(scheduler="threads")
    return read


def to_tczyx(data: da.Array, axes: str) -> da.Array:
    """Reorder the axes of a lazy array to TCZYX; missing ones get length 1."""
    import dask.array as da

    if set(axes) - set(AXES) or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise InputError(
            f"axes={axes!r} cannot be used: each letter of TCZYX at most once, Y and X always."
        )
    ordered = da.transpose(data, [axes.index(axis) for axis in AXES if axis in axes])
    return ordered[tuple(slice(None) if axis in axes else None for axis in AXES)]


def unnamed_channels(count: int) -> tuple[str, ...]:
    """Names for channels whose file does not name them."""
    return tuple(f"channel {i + 1}" for i in range(count))
