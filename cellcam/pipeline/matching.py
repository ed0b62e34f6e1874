"""Does a stack fit a model as the request says? Channels, planes and the finder, decided once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from cellcam.cells.finder import CellFinder
from cellcam.cells.threshold_finder import ThresholdFinder
from cellcam.errors import InputError, UsageError
from cellcam.models.network_input import NetworkInput
from cellcam.request import CLASS_WORDS, Classes, PlanesWanted, Request
from cellcam.stacks.stack import Stack, ZChoice


class FieldPlace(NamedTuple):
    """Which field of a stack: time point, and planes as the model sees them."""

    t: int = 0
    z: ZChoice = None


@dataclass(frozen=True, eq=False)
class MatchedStack:
    """A stack and a model that fit together.

    Attributes
    ----------
    stack, spec, request : what was matched
    channels : the stack's channel for each of the model's channels
    finder : with its channel and the size of a cell
    z : planes as the model sees them: a projection, the volume, one plane, or None for each plane
    """

    stack: Stack
    spec: NetworkInput
    request: Request
    channels: tuple[str, ...]
    finder: CellFinder
    z: ZChoice

    def fields(self) -> Iterator[FieldPlace]:
        """All fields that the request asks for, time point by time point, plane by plane."""
        n_times, _, n_planes = self.stack.data.shape[:3]
        each_plane = self.z is None and n_planes > 1
        for t in range(n_times) if self.request.t is None else [self.request.t]:
            for z in range(n_planes) if each_plane else [self.z]:
                yield FieldPlace(t, z)

    def with_stack(self, stack: Stack) -> MatchedStack:
        """Same match for another form of the same image."""
        return replace(self, stack=stack)


def match(
    stack: Stack, spec: NetworkInput, request: Request, finder: CellFinder | None = None
) -> MatchedStack:
    """Fit a stack and a model together.

    Parameters
    ----------
    finder : the user's label image; by default the finder of the request

    Raises
    ------
    InputError
        If the stack lacks a channel or a fact that the model or the finder needs.
    UsageError
        If a class does not exist, or the planes asked for do not suit the model.
    """
    map_planes(spec, request.classes)
    channels = matching_channels(stack, spec, dict(request.channel_map))
    z = _planes_seen(stack, spec, request.z)
    if request.t is not None and request.t >= stack.data.shape[0]:
        raise InputError(
            f"{stack.name} has time points 0 to {stack.data.shape[0] - 1}; t={request.t} is not "
            "there."
        )
    chosen = _finder_for(finder or request.finder, stack, spec, dict(request.channel_map))
    return MatchedStack(stack, spec, request, channels, chosen, z)


def matching_channels(
    stack: Stack, spec: NetworkInput, channel_map: Mapping[str, str]
) -> tuple[str, ...]:
    """The stack's channel for each channel of the model, by name, never by guess.

    A single unnamed channel matches a model of one channel.

    Raises
    ------
    InputError
        If a channel is missing; both lists of names are given.
    """
    renamed = dict(channel_map)
    unknown = set(renamed) - set(spec.channels)
    if unknown:
        raise InputError(
            f"The model has no channel {', '.join(sorted(unknown))}; "
            f"it has {', '.join(spec.channels)}."
        )
    if len(spec.channels) == len(stack.channels) == 1 and not stack.channels_named:
        renamed.setdefault(spec.channels[0], stack.channels[0])
    names = tuple(renamed.get(name, name) for name in spec.channels)
    missing = [w for w, n in zip(spec.channels, names, strict=True) if n not in stack.channels]
    if missing:
        raise InputError(_missing_channels(stack, spec, names, missing))
    return names


def map_planes(spec: NetworkInput, classes: Classes) -> tuple[tuple[str, ...], list[int] | None]:
    """Names of the maps' planes, and indices of the classes to explain for every cell.

    The indices are None where each cell's own call is explained.

    Raises
    ------
    UsageError
        If the model has no such class.
    """
    if classes == "predicted":
        return spec.classes, None
    names = spec.classes if isinstance(classes, str) else classes
    unknown = [name for name in names if name not in spec.classes]
    if unknown:
        raise UsageError(
            f"The model has no class {unknown[0]!r}. Use {', '.join(CLASS_WORDS)} or names out of "
            f"{', '.join(spec.classes)}."
        )
    return names, [spec.classes.index(name) for name in names]


def _planes_seen(stack: Stack, spec: NetworkInput, z: PlanesWanted) -> ZChoice:
    """Planes that the model sees: ``z`` checked, or the model's own choice; None: each plane."""
    if spec.spatial_dims == 3:
        if z not in (None, "volume"):
            raise UsageError(f"The model sees volumes; z={z!r} does not apply.")
        return "volume"
    if z == "volume":
        raise UsageError("The model sees planes, not volumes. Choose a plane or a projection.")
    if z == "each":
        return None
    several = stack.data.shape[2] > 1
    if z is None and several and spec.field in ("max", "mean"):
        return spec.field
    return z if several else None


def _finder_for(
    finder: CellFinder, stack: Stack, spec: NetworkInput, channel_map: Mapping[str, str]
) -> CellFinder:
    """The finder with what the model says about its cells, where the user says nothing."""
    if spec.finding is None:
        return finder.for_stack(stack, None, None)
    channel = channel_map.get(spec.finding.channel, spec.finding.channel)
    if isinstance(finder, ThresholdFinder) and finder.channel in (None, channel):
        # What the cells look like in another channel is not known.
        finder = finder.looking_for(spec.finding.look_for)
    return finder.for_stack(stack, channel, spec.finding.diameter_um)


def _missing_channels(
    stack: Stack, spec: NetworkInput, names: tuple[str, ...], missing: list[str]
) -> str:
    text = (
        f"The model wants the channels {', '.join(spec.channels)}; {stack.name} has "
        f"{', '.join(stack.channels)}. Missing: {', '.join(missing)}. "
    )
    if len(stack.channels) < len(spec.channels):
        return (
            f"{text}An image of {len(stack.channels)} channels cannot be used with a model of "
            f"{len(spec.channels)}."
        )
    spare = next(name for name in stack.channels if name not in names)
    return (
        f"{text}Name the image's channels in the file's order (--channels A,B,...) or say which "
        f"is which (--map '{missing[0]}={spare}')."
    )
