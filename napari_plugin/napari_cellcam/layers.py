"""Stacks as napari layers: one for each channel, with name, colour, scale, units and axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellcam.stacks.stack import Stack

if TYPE_CHECKING:
    import dask.array as da
    import napari
    from napari.layers import Layer

LayerData = tuple[Any, dict[str, Any], str]

# The first three tell apart DNA, cytoskeleton and a marker at a glance.
_COLOURS = ("bop blue", "green", "magenta", "yellow", "cyan", "red")


def stack_layers(stack: Stack) -> list[LayerData]:
    """One image layer for each channel of a stack, lazily read.

    Axes of length 1 in front of y and x are dropped; what remains keeps the stack's scale in um
    (s for time, and pixels where the file is silent).
    """
    single = len(stack.channels) == 1
    place = place_of_stack(stack)
    return [
        (
            channel_pixels(stack, index),
            {
                "name": f"{stack.name} {name}" if single else name,
                "colormap": "gray" if single else _COLOURS[index % len(_COLOURS)],
                "blending": "additive",
                "metadata": {"cellcam": {"path": str(stack.path), "channel": name}},
                **place,
            },
            "image",
        )
        for index, name in enumerate(stack.channels)
    ]


def add_stack(viewer: napari.viewer.Viewer, stack: Stack) -> list[Layer]:
    """Show a stack that was opened in Python, for files whose axes or series must be named."""
    from napari.layers import Layer

    return [viewer.add_layer(Layer.create(*layer)) for layer in stack_layers(stack)]


def channel_pixels(stack: Stack, index: int) -> da.Array:
    """Lazy pixels of one channel, without axes of length 1 in front of y and x."""
    kept = _kept_axes(stack)
    return stack.data[:, index][tuple(slice(None) if axis in kept else 0 for axis in "TZYX")]


def place_of_stack(stack: Stack) -> dict[str, Any]:
    """Scale, units and axis labels for layers that show `channel_pixels`."""
    kept = _kept_axes(stack)
    return {
        "scale": [_step(stack, axis) or 1.0 for axis in kept],
        "units": [_unit(stack, axis) for axis in kept],
        "axis_labels": [axis.lower() for axis in kept],
    }


def _kept_axes(stack: Stack) -> str:
    t, _, z, _, _ = stack.data.shape
    return ("T" if t > 1 else "") + ("Z" if z > 1 else "") + "YX"


def _step(stack: Stack, axis: str) -> float | None:
    return stack.time_step_s if axis == "T" else getattr(stack.pixel_size_um, axis.lower())


def _unit(stack: Stack, axis: str) -> str:
    if _step(stack, axis) is None:
        return "pixel"
    return "second" if axis == "T" else "micrometer"
