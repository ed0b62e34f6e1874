"""The user's choices in the dock widget, and the command that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellcam.cells.looks import as_one_text, from_one_text
from cellcam.errors import InputError
from cellcam.request import ImageOptions, Request
from cellcam.stacks.stack import UNKNOWN_PIXEL_SIZE
from napari_cellcam.layers.channel_sources import (
    ColourSample,
    full_resolution,
    source_channel,
    source_layer,
    source_name,
)
from napari_cellcam.layers.stack_from_layers import (
    layer_pixel_size,
    layer_time_step,
    stack_from_labels,
    stack_from_layers,
)
from napari_cellcam.layers.stack_layers import FileFacts, cellcam_metadata
from napari_cellcam.state.explanation_choices import ExplanationChoices
from napari_cellcam.state.origin import ImageKey, LayerState, Origin

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

    from cellcam.models.network_input import ClassifierDraft
    from cellcam.stacks.stack import Stack


# Label files up to this size in bytes are compared with their layer.
_LARGEST_COMPARED = 2**24


@dataclass(frozen=True, eq=False)
class LayerChoices:
    """Layers, model and request.

    Attributes
    ----------
    layers : source of each channel of the model: an image layer, or a colour of an RGB layer
    axes : axes of the layers, letters of TZYX
    model_folder : the model's folder
    model : folder and hash of its weights, or what a draft is
    draft : a classifier that is not trained yet, instead of a model
    request : how to find cells, what the model sees, which classes to explain
    cells : the user's labels; None: the request's finder finds the cells
    device : auto, cpu, cuda, cuda:1 or mps
    explaining : how cells are explained
    """

    layers: Mapping[str, Image | ColourSample]
    axes: str
    model_folder: str
    model: str
    request: Request
    cells: Labels | None = None
    draft: ClassifierDraft | None = None
    device: str = "auto"
    explaining: ExplanationChoices = field(default_factory=ExplanationChoices)

    @property
    def first(self) -> Image:
        """The layer whose scale and position the results get."""
        return source_layer(next(iter(self.layers.values())))

    def stack(self) -> Stack:
        """The chosen layers as a stack with the model's channels; raises as `stack_from_layers`."""
        return stack_from_layers(self.layers, self.axes)

    def label_stack(self) -> Stack | None:
        """The user's cells as a stack, or None."""
        return None if self.cells is None else stack_from_labels(self.cells, self.axes)

    def origin(self, state: Callable[[Layer], LayerState]) -> Origin:
        """What results of these choices are about.

        Parameters
        ----------
        state : the present state of a layer
        """
        metadata = cellcam_metadata(self.first)
        path = metadata.get("path", "")
        place = path or str(self.first.unique_id)
        name = Path(path).name if path else self.first.name
        return Origin(
            image=ImageKey(place, metadata.get("image", name)),
            layers=tuple(
                (_key(name, source), state(source_layer(source)))
                for name, source in self.layers.items()
            ),
            axes=self.axes,
            model=self.model,
            request=self.request.with_classes("predicted"),
            labels=None if self.cells is None else state(self.cells),
        )

    def command(self) -> str:
        """The command that does the same without a window, as far as `not_in_command` is empty.

        IMAGE and LABELS stand for layers that did not come from a file.

        Raises
        ------
        InputError
            If there is no model yet.
        """
        if self.draft is not None:
            raise InputError("There is no command yet: the classifier is not trained. Train first.")
        words = ["cellcam", "explain", self._path() or "IMAGE"]
        words += ["--model", self.model_folder, "--out", "results"]
        if self.cells is not None:
            words += ["--labels", self.cells.source.path or "LABELS"]
        words += self._request_for_file().words()
        if self.device != "auto":
            words += ["--device", self.device]
        return shlex.join(words)

    def not_in_command(self) -> tuple[str, ...]:
        """What the window uses and `command` cannot say, one sentence each.

        Reads the file of the labels, if it is small, to compare it with the layer.
        """
        said = [
            *self._image_not_in_command(),
            *labels_not_in_file(self.cells),
            *self._scale_not_in_command(),
            *self.explaining.not_in_command(),
        ]
        return tuple(said)

    def _image_not_in_command(self) -> Iterator[str]:
        sources = self.layers.values()
        paths = {cellcam_metadata(source_layer(source)).get("path") for source in sources}
        for source in sources:
            if "path" not in cellcam_metadata(source_layer(source)):
                yield f"{source_name(source)} came from no file that CellCam opened: save it first."
        if len(paths - {None}) > 1:
            yield "The layers came from several files: the command reads one, so join them first."

    def _scale_not_in_command(self) -> Iterator[str]:
        metadata = cellcam_metadata(self.first)
        if self.axes != metadata.get("axes", self.axes):
            yield f"The axes {self.axes} were named after opening: open the file with these axes."
        step = layer_time_step(self.first, self.axes)
        if step is not None and step != metadata.get("stated_s"):
            yield f"The time step of {step:g} s: no option gives it."
        z, y, x = layer_pixel_size(self.first, self.axes)
        if z is not None and None in (y, x) and z != metadata.get("stated_um", (None,))[0]:
            yield f"The z step of {z:g} um without a pixel size: give the pixel size too."

    def _path(self) -> str | None:
        """File of the first channel that came from one."""
        known = (cellcam_metadata(source_layer(source)) for source in self.layers.values())
        return next((metadata["path"] for metadata in known if "path" in metadata), None)

    def _request_for_file(self) -> Request:
        """The request with facts and channel names of the image file."""
        channels = {name: source_channel(source) for name, source in self.layers.items()}
        finder = self.request.finder
        finder_channel = getattr(finder, "channel", None)
        if finder_channel is not None:
            in_file = [channels.get(name, name) for name in from_one_text(finder_channel)]
            finder = replace(finder, channel=as_one_text(in_file))  # type: ignore[type-var]
        renamed = {name: channel for name, channel in channels.items() if channel != name}
        return replace(
            self.request,
            image=self._image_options(),
            finder=finder,
            channel_map=tuple(renamed.items()),
            rtol=self.explaining.rtol,
        )

    def _image_options(self) -> ImageOptions:
        """Facts that the file does not state, or states otherwise than the layers now."""
        metadata = cellcam_metadata(self.first)
        given = metadata.get("given", FileFacts())
        z, y, x = layer_pixel_size(self.first, self.axes)
        stated = metadata.get("stated_um", UNKNOWN_PIXEL_SIZE)
        is_stated = (y, x) == (stated.y, stated.x) and z in (None, stated.z)
        pixel_size: float | tuple[float, ...] | None = None
        if y is not None and x is not None and not is_stated:
            pixel_size = (y, x) if y != x else y
            if z is not None:
                pixel_size = (z, y, x)
        return ImageOptions(
            given.axes, given.channels, pixel_size, given.series, given.tolerate_missing
        )


def labels_not_in_file(cells: Labels | None) -> Iterator[str]:
    """Why a file does not hold these cells, in a sentence; nothing if it does."""
    if cells is None:
        return
    path = cells.source.path
    if path is None:
        yield f"The cells of {cells.name} are in no file: save the layer first."
    elif not _holds(Path(path), cells):
        yield f"{path} holds other cells than {cells.name} now does: save the layer."


def _holds(path: Path, cells: Labels) -> bool:
    """Whether a file holds the labels of a layer; files too large to compare count as the same."""
    from cellcam import open_stack

    try:
        stored = open_stack(path).data
    except (InputError, OSError):
        return False
    shown = full_resolution(cells)
    if stored.nbytes > _LARGEST_COMPARED:
        return True
    return stored.size == shown.size and bool(
        (np.asarray(stored).ravel() == np.asarray(shown).ravel()).all()
    )


def _key(name: str, source: Image | ColourSample) -> str:
    """Name of a channel; of a colour of an RGB layer, with the colour."""
    return f"{name}: {source.colour}" if isinstance(source, ColourSample) else name
