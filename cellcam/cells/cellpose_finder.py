"""Find cells with a Cellpose network from a file, block by block."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import resized
from cellcam.cells.finder import FieldView, Labels, Pixels
from cellcam.cells.looks import as_one_text, from_one_text, shown_channels
from cellcam.cells.network_tiles import Answers, Tiles
from cellcam.errors import InputError, UsageError, how_to_install
from cellcam.models.device import choose_device
from cellcam.stacks.blocks import Part
from cellcam.stacks.stack import Stack

if TYPE_CHECKING:
    from cellpose.models import CellposeModel

# Pixels that the network sees, and from one tile to the next; diameter that it was trained on.
_TILE, _STEP, _DIAMETER = 256, 208, 30
# Cells of four times that diameter are whole in a block.
_REACH = 4 * _DIAMETER
# Interpolation mixes pixels beside a block into those at its rim.
_RIM = 4
_CHANNELS = 3
_TILES_AT_ONCE = 8
_STEPS = 200
_PERCENTILES = (1, 99)


@dataclass(frozen=True)
class CellposeScale:
    """What all blocks of a field share.

    Attributes
    ----------
    low, high : intensities of each channel that become 0 and 1
    factor : pixels of the network along each pixel of the field
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    factor: float


@dataclass(frozen=True)
class CellposeFinder:
    """Cells or nuclei by a network of Cellpose 4 (``cpsam``, or one that was trained from it).

    The network is read from a file; nothing is downloaded. It sees tiles that are laid from the
    corner of the field, with intensities between percentiles of the whole field, so that a block
    holds the same cells as the whole but for rounding.

    Attributes
    ----------
    model : file of the network's weights
    channel : the channels that show the cells, up to three in one text (``"actin,DNA"``); None: the
        one that the model names, the only one, or the colours of a picture
    diameter_um, diameter : typical diameter of a cell in um or in pixels, one of the two
        The field is resized so that it is 30 pixels. None: the field is not resized.
    flow_threshold : largest error of a cell's flows; 0 keeps all cells
    cellprob_threshold : what a pixel must exceed to be cell; lower ones find more and larger cells
    min_size : pixels of the smallest cell
    device : auto, cpu, cuda, cuda:1 or mps
    """

    name: ClassVar[str] = "cellpose"
    is_local: ClassVar[bool] = True

    model: str | None = None
    channel: str | None = None
    diameter_um: float | None = None
    diameter: float | None = None
    flow_threshold: float = 0.4
    cellprob_threshold: float = 0.0
    min_size: int = 15
    device: str = "auto"

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that show the cells, once they are known."""
        return () if self.channel is None else from_one_text(self.channel)

    def for_stack(
        self, stack: Stack, channel: str | None, diameter_um: float | None
    ) -> CellposeFinder:
        """See `CellFinder.for_stack`; the size that a model suggests is not used."""
        self._checked_model()
        suggested = channel if channel in stack.channels else None
        shown = shown_channels(stack, self.channel or suggested)
        if len(shown) > _CHANNELS:
            raise InputError(
                f"Cellpose sees up to {_CHANNELS} channels, not {', '.join(shown)}. Name fewer: "
                "--find-channel."
            )
        self._factor(stack)
        return replace(self, channel=as_one_text(shown))

    def measure(self, view: FieldView) -> CellposeScale:
        """Range of intensities, on the samples on which a field is measured."""
        if len(view.shape) != 2:
            raise InputError(
                "The finder 'cellpose' works on planes, not on volumes. Use --finder threshold, or "
                "give label images with --labels."
            )
        parts = [view.cut(part) for part in view.sample_parts()]
        channels = shown_channels(view.stack, self.channel)
        seen = [part.several(channels) for part in parts]
        ranges = [
            _range([one[i] for one in seen], [part.missing for part in parts])
            for i in range(len(channels))
        ]
        low, high = zip(*ranges, strict=True)
        return CellposeScale(low, high, self._factor(view.stack))

    def label(self, view: FieldView, measured: object) -> Labels:
        """Label image of a view; cells count from 1."""
        assert isinstance(measured, CellposeScale)
        image = self._image(view, measured)
        whole = tuple(max(1, round(n * measured.factor)) for n in view.part.whole)
        own = view.part.at_scale(whole)
        image = resized(image, whole, own=view.part, wanted=own)
        answers, known = self._answers(image, _without_rim(view.part, own))
        labels = np.zeros(own.shape, np.int32)
        inside = known.within(own)
        labels[inside] = self._labels(answers)
        return resized(labels, view.part.whole, labels=True, own=own, wanted=view.part)

    def border(self, measured: object) -> int:
        """A tile and four diameters, in pixels."""
        assert isinstance(measured, CellposeScale)
        return int(np.ceil((_TILE + _REACH + 2 * _RIM) / measured.factor))

    def _image(self, view: FieldView, scale: CellposeScale) -> NDArray[np.float32]:
        """Pixels between 0 and 1, about: (C, Y, X)."""
        channels = view.several(shown_channels(view.stack, self.channel))
        image = np.zeros((_CHANNELS, *view.shape), np.float32)
        for plane, pixels, low, high in zip(image, channels, scale.low, scale.high, strict=False):
            np.subtract(pixels, low, out=plane, casting="unsafe")
            plane /= max(high - low, 1e-12)
        if view.missing is not None:
            image[:, view.missing] = 0
        return np.nan_to_num(image, copy=False, posinf=0, neginf=0)

    def _answers(self, image: NDArray[np.float32], part: tuple[Part, Part]) -> tuple[Answers, Part]:
        """Flows along y and x and the logit of cell (3, Y, X) of the part without its rim."""
        own, known = part
        tiles = Tiles(own.whole, _TILE, _STEP)
        image = image[(slice(None), *known.within(own))]
        places = tiles.inside(known)
        cut = [tiles.cut(image, known, at) for at in places]
        answers = tiles.joined(self._seen(cut), places, known)
        if not places:
            answers = np.zeros((3, *known.shape), np.float32)
        answers[:, ~tiles.covered(known)] = 0
        answers[2, ~tiles.covered(known)] = -np.inf
        return answers, known

    def _seen(self, tiles: list[Answers]) -> list[Answers]:
        """What the network says of tiles (C, Y, X): (3, Y, X) each."""
        from cellpose.core import run_net

        if not tiles:
            return []
        network = self._network().net
        pixels = np.stack(tiles).transpose(0, 2, 3, 1)
        answers, _ = run_net(network, pixels, batch_size=_TILES_AT_ONCE, bsize=_TILE)
        return list(answers[..., -3:].transpose(0, 3, 1, 2))

    def _labels(self, answers: Answers) -> Labels:
        from cellpose.dynamics import compute_masks

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse invariant checks")
            labels = compute_masks(
                answers[:2],
                answers[2],
                niter=_STEPS,
                cellprob_threshold=self.cellprob_threshold,
                flow_threshold=self.flow_threshold,
                min_size=self.min_size,
                max_size_fraction=1,  # else the size of the block would decide
                device=self._network().device,
            )
        return np.asarray(labels).astype(np.int32)

    def _network(self) -> CellposeModel:
        path = self._checked_model()
        return _loaded(path, path.stat().st_mtime_ns, self.device)

    def _checked_model(self) -> Path:
        if self.model is None:
            raise UsageError(
                "The finder 'cellpose' needs the file of its network: --finder-option "
                "model=PATH. CellCam downloads none; Cellpose keeps its own in ~/.cellpose/models."
            )
        path = Path(self.model).expanduser()
        if not path.is_file():
            raise UsageError(f"There is no file {path} with a network of Cellpose. Check model=.")
        return path

    def _factor(self, stack: Stack) -> float:
        if self.diameter is not None:
            return _DIAMETER / self.diameter
        if self.diameter_um is None:
            return 1.0
        pixel = stack.pixel_size_um.x
        if pixel is None:
            raise InputError(
                f"diameter_um was given, but the pixel size of {stack.name} is unknown. "
                "Give diameter in pixels, or the pixel size (--pixel-size)."
            )
        return _DIAMETER * pixel / self.diameter_um


@lru_cache(1)
def _loaded(path: Path, changed_ns: int, device: str) -> CellposeModel:
    """The network; read again if its file has changed."""
    # At import it tells of networks that are not installed, as a warning.
    logging.getLogger("cellpose").setLevel(logging.ERROR)
    try:
        from cellpose.models import CellposeModel
    except ImportError as error:
        raise UsageError(
            f"The finder 'cellpose' needs the package cellpose, which cannot be imported ({error})"
            f": {how_to_install('cellpose')}."
        ) from error
    where = choose_device(device)
    try:
        return CellposeModel(
            pretrained_model=str(path), device=where, use_bfloat16=where.type == "cuda"
        )
    except Exception as error:  # a file of another kind makes torch raise anything
        raise UsageError(
            f"{path} is no network of Cellpose 4 ({error}). Those of Cellpose 3 and before cannot "
            "be used; train it again, or give label images with --labels."
        ) from error


def _without_rim(part: Part, own: Part) -> tuple[Part, Part]:
    """The resized part, and the same without pixels that others beside the part would change."""
    if part.whole == own.whole:
        return own, own
    start = tuple(a + _RIM * (a > 0) for a in own.start)
    stop = tuple(b - _RIM * (b < n) for b, n in zip(own.stop, own.whole, strict=True))
    return own, Part(start, tuple(map(max, start, stop)), own.whole)


def _range(samples: list[Pixels], missing: list[Any]) -> tuple[float, float]:
    kept = [
        pixels.ravel() if no is None else pixels[~no]
        for pixels, no in zip(samples, missing, strict=True)
    ]
    values = np.concatenate(kept).astype(np.float32)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)
