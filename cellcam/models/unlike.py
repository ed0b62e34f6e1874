"""Which cells are unlike those that a model was trained on, and what differs, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cellcam.models.appearance import Floats, Measures, appearance, background_level
from cellcam.models.normalisation import Normalisation
from cellcam.models.training_cells import TrainingCells

# So many unlike cells are looked at for exchanged channels before all of them are.
_FIRST_LOOK = 64
# Measures that a factor on the counts shifts alike, and those that blur, noise and scale change.
_LEVELS = ("bright", "brightest", "dark", "detail")
_TEXTURES = ("fine", "medium", "coarse", "sharpest", "edges", "detail")
# Of the logarithm of the brightness: what counts as a change, and as hardly any signal.
_SMALLEST_CHANGE, _HARDLY_ANY = 0.2, 3.0

# What differs, after the name of the channel.
_BRIGHTNESS, _BACKGROUND, _SIZE = "brightness", "background", "size"
_INVERTED, _BLURRED, _SHARPER = "inverted", "blur", "noise"
_EMPTY, _EXCHANGED = "empty", "exchanged"
_IN_WORDS = {
    _BRIGHTNESS: "{name} is {by:.2g} times as bright as in training",
    _BACKGROUND: "the background of {name} is {by:+.3g} counts off that of the training",
    _SIZE: "in {name}, cells are {by:.2g} times as long as in training",
    _INVERTED: "{name} is inverted: dark where it was bright in training",
    _BLURRED: "{name} is more blurred, or more magnified, than in training",
    _SHARPER: "{name} is noisier, sharper or less magnified than in training",
    _EMPTY: "{name} shows hardly any signal",
    _EXCHANGED: "{name} look exchanged",
}


@dataclass(frozen=True, eq=False)
class Unlikeness:
    """How unlike the training cells N cells are.

    Attributes
    ----------
    values : (N,) distance from the training cells; a cell is unlike them above 1
    differs : (N,) what differs most, such as ``"DNA brightness"``; empty for cells that are alike
    by : (N,) how much: a factor for brightness and size, counts for the background, else NaN
    """

    values: Floats
    differs: tuple[str, ...]
    by: Floats

    @classmethod
    def unknown(cls, n: int) -> Unlikeness:
        """Not computed: NaN everywhere."""
        nothing = np.full(n, np.nan, np.float32)
        return cls(nothing, ("",) * n, nothing)

    def among(self, known: NDArray[np.bool_]) -> Unlikeness:
        """Those of all cells (N,), of which the known ones are these, and the others unknown."""
        values, by = np.full((2, len(known)), np.nan, np.float32)
        differs = np.full(len(known), "", object)
        values[known], by[known], differs[known] = self.values, self.by, self.differs
        return Unlikeness(values, tuple(differs), by)

    def of(self, cells: slice | NDArray[np.bool_]) -> Unlikeness:
        """Those of some of the cells."""
        differs = tuple(np.array(self.differs, object)[cells])
        return Unlikeness(self.values[cells], differs, self.by[cells])


def unlike_cells(
    known: TrainingCells,
    crops: NDArray[np.generic],
    normalisation: Normalisation,
    channels: Sequence[str],
) -> Unlikeness:
    """How unlike the training cells some cells are, and in what.

    Parameters
    ----------
    crops : (N, C, *spatial) counts
    channels : C names
    """
    measures = measures_of(crops, normalisation)
    values = known.unlike(measures)
    differs, by = [""] * len(crops), np.full(len(crops), np.nan, np.float32)
    unlike = np.flatnonzero(values > 1)
    for i in unlike.tolist():
        differs[i], by[i] = _difference(known, measures[i], normalisation, channels)
    for i, text in _exchanged(known, crops, unlike, normalisation, channels):
        differs[i], by[i] = text, np.nan
    return Unlikeness(values, tuple(differs), by)


def in_words(differs: str, by: float) -> str:
    """Clause about a difference, such as ``"DNA is 16 times as bright as in training"``.

    Parameters
    ----------
    differs, by : see `Unlikeness`
    """
    name, _, kind = differs.rpartition(" ")
    return _IN_WORDS[kind].format(name=name, by=by)


def measures_of(crops: NDArray[np.generic], normalisation: Normalisation) -> Floats:
    """Measures (N, C, K) of crops, see `appearance`."""
    offset = np.array(normalisation.offset, np.float32)
    return appearance(crops, offset, np.array(normalisation.scale, np.float32))


def _difference(
    known: TrainingCells, measures: Floats, normalisation: Normalisation, channels: Sequence[str]
) -> tuple[str, float]:
    """What differs most in one cell, and by how much."""
    low, middle, high = known.ranges
    beyond = np.maximum(np.maximum(measures - high, low - measures), 0)
    beyond /= np.maximum(high - low, 0.05)
    channel = int(beyond.max(axis=1).argmax())
    of, usual = Measures(*measures[channel]), Measures(*middle[channel].astype(np.float32))
    outside, name = Measures(*beyond[channel]), channels[channel]
    if _is_inverted(known, measures, channel):
        return f"{name} {_INVERTED}", np.nan
    if of.brightest < usual.brightest - _HARDLY_ANY:
        return f"{name} {_EMPTY}", np.nan
    changes = np.array([getattr(of, level) - getattr(usual, level) for level in _LEVELS])
    change = float(np.median(changes))
    # Blur takes more from the detail than from the levels; a factor changes them alike.
    is_factor = changes.std() < 0.2 + 0.3 * abs(change)
    if is_factor and abs(change) > _SMALLEST_CHANGE and max(outside.detail, outside.brightest) > 0:
        return f"{name} {_BRIGHTNESS}", float(np.exp(change))
    texture = max(getattr(outside, measure) for measure in _TEXTURES)
    if outside.background > max(texture, outside.size, outside.spread):
        shift = background_level(float(of.background)) - background_level(float(usual.background))
        return f"{name} {_BACKGROUND}", shift * normalisation.scale[channel]
    if texture >= max(outside.size, outside.spread):
        return f"{name} {_SHARPER if of.fine > usual.fine else _BLURRED}", np.nan
    return f"{name} {_SIZE}", float(np.exp((of.size - usual.size) / 2))


def _is_inverted(known: TrainingCells, measures: Floats, channel: int) -> bool:
    """Whether a cell is dark on bright where training cells are bright on dark, or vice versa."""
    cells = Measures(*np.moveaxis(known.reference[:, channel], 1, 0))
    least, most = np.quantile(cells.bright - cells.dark, [0.1, 0.9])
    of = Measures(*measures[channel])
    asymmetry = float(of.bright - of.dark)
    return bool((least > 0 and asymmetry < -least) or (most < 0 and asymmetry > -most))


def _exchanged(
    known: TrainingCells,
    crops: NDArray[np.generic],
    unlike: NDArray[np.int64],
    normalisation: Normalisation,
    channels: Sequence[str],
) -> Iterator[tuple[int, str]]:
    """Cells that look like training cells once two of their channels are exchanged."""

    def fits(cells: NDArray[np.int64], a: int, b: int) -> NDArray[np.bool_]:
        order = list(range(len(channels)))
        order[a], order[b] = b, a
        measures = measures_of(crops[cells][:, order], normalisation)
        return known.unlike(measures) < 1

    for a, b in combinations(range(len(channels)), 2):
        if not fits(unlike[:_FIRST_LOOK], a, b).any():
            continue
        text = f"{channels[a]} and {channels[b]} {_EXCHANGED}"
        yield from ((int(i), text) for i in unlike[fits(unlike, a, b)])
