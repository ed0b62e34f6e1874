"""What a network sees of a cell: all that finding and cropping need to know about a model.

`ModelSpec` says it about a trained model, `ClassifierDraft` about one that is not trained yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from cellcam.models.spec import Finding

Planes = Literal["plane", "max", "mean", "volume"]


class NetworkInput(Protocol):
    """Channels, scale and planes of a network's input; see `ModelSpec` for each entry."""

    @property
    def spatial_dims(self) -> int: ...  # noqa: D102 - see ModelSpec
    @property
    def channels(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def crop_size(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def pixel_size_um(self) -> tuple[float, ...] | None: ...  # noqa: D102
    @property
    def field(self) -> Planes: ...  # noqa: D102
    @property
    def finding(self) -> Finding | None: ...  # noqa: D102


@dataclass(frozen=True)
class ClassifierDraft:
    """A classifier that is not trained yet: its stains, its scale and its classes so far.

    Attributes
    ----------
    channels : names of the stains
    crop_size : pixels, (y, x) or (z, y, x); empty until it is measured on the first cells
    pixel_size_um : of a crop, (y, x) or (z, y, x); None if unknown
    classes : names; empty before the user has named them
    field : input from a stack with several planes, see `ModelSpec`
    finding : how cells are found
    """

    channels: tuple[str, ...]
    crop_size: tuple[int, ...] = ()
    pixel_size_um: tuple[float, ...] | None = None
    classes: tuple[str, ...] = ()
    field: Planes = "plane"
    finding: Finding | None = None

    @property
    def spatial_dims(self) -> int:
        """3 for volumes, else 2."""
        return 3 if self.field == "volume" else 2
