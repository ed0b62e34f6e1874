"""What the user chose, as work for CellCam or as the command that does the same. No Qt here."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_cellcam.sources import label_stack_of, stack_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Image, Labels

    from cellcam.stacks.stack import Stack, ZChoice


@dataclass(frozen=True, eq=False)
class Choices:
    """One set of choices.

    Attributes
    ----------
    layers : image layer of each of the model's channels
    axes : what the layers' axes mean, one letter of TZYX each
    model_folder : the model's folder
    cells : the user's own cells; None finds them
    z : what is seen of a stack with planes; None leaves it to the model
    find_channel : where cells are found; None where the model says it
    diameter_um, threshold : for finding; None leaves them to the model and the image
    device : auto, cpu, cuda, cuda:1 or mps
    """

    layers: Mapping[str, Image]
    axes: str
    model_folder: str
    cells: Labels | None = None
    z: ZChoice = None
    find_channel: str | None = None
    diameter_um: float | None = None
    threshold: float | None = None
    device: str = "auto"

    @property
    def first(self) -> Image:
        """The layer whose place the results take."""
        return next(iter(self.layers.values()))

    def stack(self) -> Stack:
        """The chosen layers as a stack; errors of `stack_of`."""
        return stack_of(self.layers, self.axes)

    def label_stack(self) -> Stack | None:
        """The user's cells as a stack, or None."""
        return None if self.cells is None else label_stack_of(self.cells, self.axes)

    def finding(self) -> dict[str, Any]:
        """How cells are found, for `classify_field`."""
        return {
            "find_channel": self.find_channel,
            "diameter_um": self.diameter_um,
            "threshold": self.threshold,
        }

    def command(self, classes: str | Sequence[str]) -> str:
        """The command that does the same without a window.

        IMAGE and LABELS stand for layers that did not come from a file.
        """
        known = {name: layer.metadata.get("cellcam", {}) for name, layer in self.layers.items()}
        paths = [one["path"] for one in known.values() if "path" in one]
        options: list[tuple[str, Any]] = [("--model", self.model_folder), ("--out", "results")]
        for name, one in known.items():
            if one.get("channel", name) != name:
                options.append(("--map", f"{name}={one['channel']}"))
        if self.cells is not None:
            options.append(("--labels", self.cells.source.path or "LABELS"))
        else:
            channel = known.get(self.find_channel or "", {}).get("channel", self.find_channel)
            options += [
                ("--find-channel", channel),
                ("--diameter-um", self.diameter_um and f"{self.diameter_um:g}"),
                ("--threshold", None if self.threshold is None else f"{self.threshold:g}"),
            ]
        options.append(("--z", self.z))
        options.append(("--classes", classes if isinstance(classes, str) else ",".join(classes)))
        options.append(("--device", self.device))
        usual = {("--classes", "predicted"), ("--device", "auto")}
        words = ["cellcam", "explain", paths[0] if paths else "IMAGE"]
        for option, value in options:
            if value is not None and (option, value) not in usual:
                words += [option, str(value)]
        return shlex.join(words)
