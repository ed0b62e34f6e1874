"""Facts about an image that files often do not state: axes, scale, names of the stains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Fact(NamedTuple):
    """A fact in words.

    Attributes
    ----------
    name : for people
    meaning : what it is, and where one finds it
    """

    name: str
    meaning: str


AXES = Fact(
    "axes",
    "One letter for each axis of the file, in its order: T time, C channel, Z depth, Y and X. "
    "The export dialog of the microscope's software shows the order.",
)
CHANNELS = Fact(
    "channel names",
    "What each channel shows, such as DNA, actin. The acquisition protocol lists the stains.",
)
PIXEL_SIZE = Fact(
    "pixel size",
    "Edge of a pixel in the sample, in um: pixel of the camera divided by the magnification. "
    "The microscope's software shows it with the image, or as a scale bar.",
)
Z_STEP = Fact(
    "z step",
    "Distance between two planes in um, as it was set when the stack was taken.",
)
TIME_STEP = Fact(
    "time step",
    "Seconds between two time points, as it was set when the movie was taken.",
)


@dataclass(frozen=True)
class ImageFacts:
    """What is known about an image.

    Attributes
    ----------
    axes : one letter of TCZYX for each axis, S for colour samples; empty if unknown
    pixel_size_um : edge of a pixel along y and x, in um; None if unknown
    z_step_um : distance of two planes in um
    time_step_s : seconds between two time points
    channels : name of each channel; empty if unknown
    """

    axes: str = ""
    pixel_size_um: tuple[float | None, float | None] = (None, None)
    z_step_um: float | None = None
    time_step_s: float | None = None
    channels: tuple[str, ...] = ()

    def missing(self) -> tuple[str, ...]:
        """Names of the facts that are unknown; a step counts only where there is such an axis."""
        return tuple(fact.name for fact in self.missing_facts())

    def missing_facts(self) -> tuple[Fact, ...]:
        """The facts that are unknown."""
        lacks = {
            AXES: not self.axes,
            PIXEL_SIZE: None in self.pixel_size_um,
            Z_STEP: "Z" in self.axes and self.z_step_um is None,
            TIME_STEP: "T" in self.axes and self.time_step_s is None,
            CHANNELS: not self.channels,
        }
        return tuple(fact for fact, is_missing in lacks.items() if is_missing)

    def step(self, axis: str) -> float | None:
        """Step along T, Z, Y or X, in s or um; None if it is unknown."""
        y, x = self.pixel_size_um
        return {"T": self.time_step_s, "Z": self.z_step_um, "Y": y, "X": x}[axis]


def what_is_wrong_with_axes(axes: str, n_axes: int, allowed: str) -> str:
    """Why these axes cannot be those of an image, in one sentence; empty if they can.

    Parameters
    ----------
    axes : letters, in upper case
    n_axes : number of axes of the image
    allowed : letters that can be used
    """
    unknown = sorted(set(axes) - set(allowed))
    if unknown:
        return f"{', '.join(unknown)} is no axis: use letters of {allowed}."
    if len(set(axes)) < len(axes):
        return "Each letter can be used once."
    if len(axes) != n_axes:
        return f"The image has {n_axes} axes, but {len(axes)} letters were given."
    if not {"Y", "X"} <= set(axes):
        return "Y and X must be among the axes."
    return ""


def what_is_wrong_with_channels(names: tuple[str, ...], n_channels: int) -> str:
    """Why these cannot be the names of the channels, in one sentence; empty if they can.

    No names are allowed: the channels are numbered then.
    """
    if not names:
        return ""
    if len(names) != n_channels:
        return f"There are {n_channels} channels, but {len(names)} names were given."
    if "" in names or len(set(names)) < len(names):
        return "Give each channel a name of its own."
    return ""
