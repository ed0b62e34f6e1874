"""How a stack and a model fit together: channels, planes, and how cells are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cellcam.errors import InputError, UsageError
from cellcam.models.spec import ModelSpec
from cellcam.stacks.stack import Stack, ZChoice


def matching_channels(
    stack: Stack, spec: ModelSpec, mapping: Mapping[str, str] | None = None
) -> list[str]:
    """The stack's channel for each channel of the model, by name, never by guess.

    A single unnamed channel matches a model of one channel.

    Raises
    ------
    InputError
        If a channel is missing; both lists of names are given.
    """
    mapping = dict(mapping or {})
    unknown = set(mapping) - set(spec.channels)
    if unknown:
        raise InputError(
            f"The model has no channel {', '.join(sorted(unknown))}; "
            f"it has {', '.join(spec.channels)}."
        )
    if len(spec.channels) == len(stack.channels) == 1 and not stack.channels_named:
        mapping.setdefault(spec.channels[0], stack.channels[0])
    names = [mapping.get(name, name) for name in spec.channels]
    missing = [w for w, n in zip(spec.channels, names, strict=True) if n not in stack.channels]
    if not missing:
        return names
    told = (
        f"The model wants the channels {', '.join(spec.channels)}; {stack.name} has "
        f"{', '.join(stack.channels)}. Missing: {', '.join(missing)}. "
    )
    if len(stack.channels) < len(spec.channels):
        raise InputError(
            f"{told}An image of {len(stack.channels)} channels cannot be used with a model of "
            f"{len(spec.channels)}."
        )
    spare = next(name for name in stack.channels if name not in names)
    raise InputError(
        f"{told}Name the image's channels in the file's order (--channels A,B,...) or say which "
        f"is which (--map '{missing[0]}={spare}')."
    )


def field_seen(stack: Stack, spec: ModelSpec, z: ZChoice) -> ZChoice:
    """What the model sees of a stack's planes: ``z`` checked, or the model's own choice."""
    if spec.spatial_dims == 3:
        if z not in (None, "volume"):
            raise UsageError(f"The model sees volumes; z={z!r} does not apply.")
        return "volume"
    if z == "volume":
        raise UsageError("The model sees planes, not volumes. Choose a plane or a projection.")
    several = stack.data.shape[2] > 1
    if z is None and several and spec.field in ("max", "mean"):
        return spec.field
    return z if several else None


def fields_of(stack: Stack, spec: ModelSpec, z: ZChoice) -> Iterator[tuple[int, ZChoice]]:
    """Time point and plane of every field of a stack.

    Of several planes each is a field, unless ``z`` or the model chooses one, a projection or
    the volume.
    """
    n_times, _, n_planes = stack.data.shape[:3]
    each_plane = z is None and n_planes > 1 and spec.field == "plane"
    for t in range(n_times):
        for plane in range(n_planes) if each_plane else [z]:
            yield t, plane


def finding_choices(
    stack: Stack,
    spec: ModelSpec,
    channels: Mapping[str, str] | None,
    channel: str | None,
    diameter_um: float | None,
) -> dict[str, Any]:
    """Channel and diameter for `find_cells`: what the user said, else what the model says.

    Parameters
    ----------
    channels : the stack's channel for each of the model's channels whose names differ
    """
    finding = spec.finding
    own = (channels or {}).get(finding.channel, finding.channel) if finding else None
    if channel is None and own in stack.channels:
        channel = own
    if finding and diameter_um is None and stack.pixel_size_um.x is not None:
        diameter_um = finding.diameter_um
    return {"channel": channel, "diameter_um": diameter_um}
