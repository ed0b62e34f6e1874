"""What cells look like: an image in which they are bright, whatever light the picture is taken in.

Fluorescence is bright on dark ground. Stains in white light absorb: their cells are dark on bright
ground. Of the two stains of H&E, haematoxylin shows the nuclei; colour deconvolution measures it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.no_data import Mask, Pixels
from cellcam.errors import InputError
from cellcam.names import joined_names, split_names
from cellcam.stacks.stack import Stack

Look = Literal["bright", "dark", "hematoxylin"]
LookFor = Literal["auto", "bright", "dark", "hematoxylin"]

# White light: in each colour the median pixel has at least this part of the brightest, and lies at
# least so far above the darkest. In fluorescence most pixels are close to the darkest.
_LIT, _ABOVE_DARKEST = 0.4, 0.2
# Pixels of each sample that are enough for percentiles.
_LOOKED_AT = 2**18


def shown_channels(stack: Stack, channel: str | None) -> tuple[str, ...]:
    """Channels that show the cells: those named, the colours of a picture, or the only one.

    Parameters
    ----------
    channel : a name, or several in one text, such as ``"red,green,blue"``

    Raises
    ------
    InputError
        If a channel does not exist, or none was named and there are several.
    """
    if channel is not None:
        names = (channel,) if channel in stack.channels else split_names(channel, stack.channels)
        for name in names:
            stack.channel_index(name)
        return names
    if stack.is_colour:
        return stack.channels[:3]
    if len(stack.channels) > 1:
        first = joined_names(stack.channels[:1])
        raise InputError(
            f"{stack.name} has the channels {', '.join(stack.channels)}, and nothing says which of "
            f"them shows the cells. Name it: --find-channel {shlex.quote(first)}, in "
            f"Python channel={stack.channels[0]!r}, or another of them."
        )
    return stack.channels


def as_one_text(channels: Sequence[str]) -> str:
    """Channels as one text, which `from_one_text` reads back."""
    is_plain = len(channels) == 1 and "," not in channels[0]
    return channels[0] if is_plain else joined_names(channels)


def from_one_text(channels: str) -> tuple[str, ...]:
    """Channels of a text by `as_one_text`."""
    return split_names(channels) if "," in channels else (channels,)


def check_colours(stack: Stack, channels: Sequence[str]) -> None:
    """Refuse to measure haematoxylin in anything but three colours."""
    if len(channels) != 3:
        raise InputError(
            f"Haematoxylin is measured in the red, green and blue of a picture; of {stack.name} "
            f"the finder looks at {', '.join(channels)}. Name the three channels in this order: "
            "--find-channel red,green,blue, or look for dark cells: --look-for dark."
        )


def recognised(samples: Sequence[Sequence[Pixels]], missing: Sequence[Mask | None]) -> Look:
    """Whether the cells of a colour picture are dark on bright ground or bright on dark ground.

    Parameters
    ----------
    samples : rectangles of the field, each with the pixels of its colours
    missing : pixels without data of each rectangle; None if all have
    """
    n_colours = len(samples[0])
    colours = [
        np.concatenate([_some(one[i], no) for one, no in zip(samples, missing, strict=True)])
        for i in range(n_colours)
    ]
    return "dark" if all(map(_is_white_light, colours)) else "bright"


def cells_bright(
    channels: Sequence[Pixels], look: Look, out: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Image in which cells are bright, from the channels that show them.

    Bright cells: the mean of the channels. Dark cells: the negative of their mean. Haematoxylin:
    its optical density, six times the first stain of ``skimage.color.rgb2hed``.

    Parameters
    ----------
    channels : C arrays (*spatial); for haematoxylin red, green and blue
    out : (*spatial) that is filled and returned
    """
    if look == "hematoxylin":
        return _hematoxylin(channels, out)
    out[...] = channels[0]
    for channel in channels[1:]:
        np.add(out, channel, out=out, casting="unsafe")
    divisor = len(channels) if look == "bright" else -len(channels)
    return out if divisor == 1 else np.divide(out, np.float32(divisor), out=out)


def _hematoxylin(colours: Sequence[Pixels], out: NDArray[np.float32]) -> NDArray[np.float32]:
    from skimage.color import hed_from_rgb

    out[...] = 0
    for colour, part in zip(colours, hed_from_rgb[:, 0], strict=True):
        whole = _white(colour.dtype)
        # Black has no optical density: it counts as the first step above.
        least = 1 / max(whole, 255)
        lit = np.maximum(colour.astype(np.float32) / np.float32(whole), np.float32(least))
        out -= np.float32(part) * np.log10(lit, out=lit)
    return np.maximum(out, 0, out=out)


def _white(dtype: np.dtype[Any]) -> int:
    return int(np.iinfo(dtype).max) if dtype.kind in "iu" else 1


def _some(pixels: Pixels, missing: Mask | None) -> NDArray[np.float64]:
    """Evenly spread pixels with data: (P,)."""
    kept = pixels.ravel() if missing is None else pixels[~missing]
    some = kept[:: max(1, kept.size // _LOOKED_AT)].astype(np.float64)
    return some[np.isfinite(some)]


def _is_white_light(values: NDArray[np.float64]) -> bool:
    if not values.size:
        return False
    darkest, median, brightest = np.percentile(values, [0.1, 50, 99.9])
    above = (median - darkest) / max(brightest - darkest, 1e-12)
    return bool(median >= _LIT * brightest and above >= _ABOVE_DARKEST and brightest > darkest)
