"""Stacks as napari layers: one for each channel, with name, colour, scale, units and axes."""

from __future__ import annotations

from typing import Any

from cellcam.stacks.stack import Stack

LayerData = tuple[Any, dict[str, Any], str]

# The first three tell apart DNA, cytoskeleton and a marker at a glance.
_COLOURS = ("bop blue", "green", "magenta", "yellow", "cyan", "red")


def stack_layers(stack: Stack) -> list[LayerData]:
    """One image layer for each channel of a stack, lazily read.

    Axes of length 1 in front of y and x are dropped; what remains keeps the stack's scale in um
    (s for time, and pixels where the file is silent).
    """
    kept = [axis for axis, n in zip("TZYX", _sizes(stack), strict=True) if axis in "YX" or n > 1]
    single = len(stack.channels) == 1
    return [
        (
            _without_single_axes(stack.data[:, index], kept),
            {
                "name": f"{stack.name} {name}" if single else name,
                "colormap": "gray" if single else _COLOURS[index % len(_COLOURS)],
                "blending": "additive",
                "scale": [_step(stack, axis) or 1.0 for axis in kept],
                "units": [_unit(stack, axis) for axis in kept],
                "axis_labels": [axis.lower() for axis in kept],
                "metadata": {"cellcam": {"path": str(stack.path), "channel": name}},
            },
            "image",
        )
        for index, name in enumerate(stack.channels)
    ]


def _sizes(stack: Stack) -> tuple[int, int, int, int]:
    t, _, z, y, x = stack.data.shape
    return t, z, y, x


def _without_single_axes(channel: Any, kept: list[str]) -> Any:
    return channel[tuple(slice(None) if axis in kept else 0 for axis in "TZYX")]


def _step(stack: Stack, axis: str) -> float | None:
    return stack.time_step_s if axis == "T" else getattr(stack.pixel_size_um, axis.lower())


def _unit(stack: Stack, axis: str) -> str:
    if _step(stack, axis) is None:
        return "pixel"
    return "second" if axis == "T" else "micrometer"
