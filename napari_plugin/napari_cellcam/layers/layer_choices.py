"""The user's choices in the dock widget, and the command that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cellcam.errors import InputError
from cellcam.request import Request
from napari_cellcam.layers.stack_from_layers import stack_from_labels, stack_from_layers
from napari_cellcam.layers.stack_layers import cellcam_metadata
from napari_cellcam.state.origin import ImageKey, LayerState, Origin

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

    from cellcam.models.network_input import ClassifierDraft
    from cellcam.stacks.stack import Stack


@dataclass(frozen=True, eq=False)
class LayerChoices:
    """Layers, model and request.

    Attributes
    ----------
    layers : image layer of each channel of the model
    axes : axes of the layers, letters of TZYX
    model_folder : the model's folder
    model : folder and hash of its weights, or what a draft is
    draft : a classifier that is not trained yet, instead of a model
    request : how to find cells, what the model sees, which classes to explain
    cells : the user's labels; None: the request's finder finds the cells
    device : auto, cpu, cuda, cuda:1 or mps
    """

    layers: Mapping[str, Image]
    axes: str
    model_folder: str
    model: str
    request: Request
    cells: Labels | None = None
    draft: ClassifierDraft | None = None
    device: str = "auto"

    @property
    def first(self) -> Image:
        """The layer whose scale and position the results get."""
        return next(iter(self.layers.values()))

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
        place = metadata.get("path") or str(self.first.unique_id)
        return Origin(
            image=ImageKey(place, metadata.get("image", self.first.name)),
            layers=tuple((name, state(layer)) for name, layer in self.layers.items()),
            axes=self.axes,
            model=self.model,
            request=self.request.with_classes("predicted"),
            labels=None if self.cells is None else state(self.cells),
        )

    def command(self) -> str:
        """The command that does the same without a window.

        IMAGE and LABELS stand for layers that did not come from a file.

        Raises
        ------
        InputError
            If there is no model yet.
        """
        known = {name: cellcam_metadata(layer) for name, layer in self.layers.items()}
        paths = [metadata["path"] for metadata in known.values() if "path" in metadata]
        channels = {name: metadata.get("channel", name) for name, metadata in known.items()}
        if self.draft is not None:
            raise InputError("There is no command yet: the classifier is not trained. Train first.")
        words = ["cellcam", "explain", paths[0] if paths else "IMAGE"]
        words += ["--model", self.model_folder, "--out", "results"]
        if self.cells is not None:
            words += ["--labels", self.cells.source.path or "LABELS"]
        words += self._request_for_files(channels).words()
        if self.device != "auto":
            words += ["--device", self.device]
        return shlex.join(words)

    def _request_for_files(self, channels: Mapping[str, str]) -> Request:
        """The request with channel names of the image file instead of the model's."""
        finder = self.request.finder
        finder_channel = getattr(finder, "channel", None)
        if finder_channel is not None:
            finder = replace(finder, channel=channels.get(finder_channel, finder_channel))  # type: ignore[type-var]
        renamed = {name: channel for name, channel in channels.items() if channel != name}
        return replace(self.request, finder=finder, channel_map=tuple(renamed.items()))
