"""Figures of docs/understand/: how a map is made, and what shares and differences show.

python docs/pictures/how_it_works.py docs/images
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cellcam import CellModel, IntegratedGradCAM, load_model, open_stack, samples
from cellcam.explain.baselines import baseline_images
from cellcam.reporting.colours import difference_picture

FOCI, MITOTIC = (109, 353), (68, 233)  # y, x of two cells of the packaged stack
POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
HALF = 32  # of a crop, in pixels


def main(out: Path) -> None:
    """Draw the figures."""
    model = load_model(samples.sample_path(samples.DEMO_MODEL))
    draw_path(model, out / "how_path.png")
    draw_stains(model, out / "how_stains.png")


def draw_path(model: CellModel, path: Path) -> None:
    """The cell on its way from the background, what each step adds, and the map."""
    images = model.normalised(crop(FOCI))
    start = baseline_images("background", images, model.black())
    explain = IntegratedGradCAM(model.network, "features.1", baselines="background")
    whole = explain(images, formula="complete", rtol=0.001)
    class_idx = int(whole.class_idx[0, 0])
    figure, axes = plt.subplots(2, 6, figsize=(11, 4.3), layout="constrained")
    for column, position in enumerate(POSITIONS):
        here = start + position * (images - start)
        probability = model.network(here).softmax(1)[0, class_idx].item()
        axes[0, column].imshow(
            grey(here), cmap="gray", vmin=grey(start).min(), vmax=grey(images).max()
        )
        show(axes[0, column], None, f"{position:.0%} of the way\nfoci: {probability:.0%}")
    # A step's part of the map is the map of its end less the map of its beginning.
    maps = [so_far(explain, start, images, position, class_idx) for position in POSITIONS]
    top = float(whole.maps.max())
    axes[1, 0].axis("off")
    axes[1, 0].text(0, 0.5, "what each step\nadds to the map", va="center", fontsize=11)
    for column in range(1, 5):
        show(axes[1, column], maps[column] - maps[column - 1], "", top / 2)
    axes[0, 5].axis("off")
    show(axes[1, 5], whole.maps[0, 0].clamp(min=0).numpy(), "sum: the map", top)
    figure.savefig(path, dpi=110)


def so_far(
    explain: IntegratedGradCAM,
    start: torch.Tensor,
    images: torch.Tensor,
    position: float,
    class_idx: int,
) -> NDArray[np.float32]:
    """Complete map of the path's first part."""
    if position == 0:
        return np.zeros(images.shape[-2:], np.float32)
    here = start + position * (images - start)
    part = explain(here, class_idx, formula="complete", baselines=start, n_steps=32)
    return part.maps[0, 0].numpy()


def draw_stains(model: CellModel, path: Path) -> None:
    """A mitotic cell: its map, the map of each stain, and mitotic rather than interphase."""
    raw, spec = crop(MITOTIC), model.spec
    mitotic, interphase = spec.classes.index("mitotic"), spec.classes.index("interphase")
    cell = model.normalised(raw)
    whole = model.explain(raw, mitotic)
    each = model.explain(raw, mitotic, channels="each")
    difference = model.explain_differences(raw, [(mitotic, interphase)]).maps[0, 0].numpy()
    assert each.channel_shares is not None
    top = float(whole.maps.max())
    figure, axes = plt.subplots(1, 6, figsize=(11, 2.5), layout="constrained")
    show(axes[0], grey(cell), "the cell")
    show(axes[1], whole.importance[0, 0].numpy(), "evidence for mitotic", top)
    for number, stain in enumerate(spec.channels):
        share = each.channel_shares[0, 0, number].item()
        title = f"{stain} alone\nshare {share:+.1f}"
        show(axes[2 + number], each.importance[0, 0, number].numpy(), title, top)
    dim = 0.45 * grey(cell)[..., None] / grey(cell).max()
    axes[5].imshow(difference_picture(dim.clip(0, 1), difference / np.abs(difference).max()))
    axes[5].set_title("mitotic (orange) rather\nthan interphase (blue)", fontsize=10)
    axes[5].axis("off")
    figure.savefig(path, dpi=110)


def crop(centre: tuple[int, int]) -> NDArray[np.uint16]:
    """Raw crop (1, C, y, x) of the packaged stack, the brightest of all planes."""
    pixels = np.asarray(open_stack(samples.sample_path(samples.DEMO_STACK)).data[0]).max(axis=1)
    y, x = centre
    return pixels[None, :, y - HALF : y + HALF, x - HALF : x + HALF]


def grey(images: torch.Tensor) -> NDArray[np.float32]:
    """Sum of the channels."""
    return images[0].sum(0).numpy()


def show(
    axes: Axes, image: NDArray[np.float32] | None, title: str, top: float | None = None
) -> None:
    """Draw an image in grey, or as importance where its top is given, under a title."""
    if image is not None and top is None:
        axes.imshow(image, cmap="gray")
    elif image is not None:
        axes.imshow(image, cmap="inferno", vmin=0, vmax=top)
    axes.set_title(title, fontsize=10)
    axes.axis("off")


if __name__ == "__main__":
    typer.run(main)
