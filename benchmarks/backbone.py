r"""Train a backbone for few cells: `stain_cnn` learns to measure single stains, without classes.

    python benchmarks/backbone.py ../shared/data backbone.safetensors
    python benchmarks/learning_curve.py ../shared/data/jurkat_ifc/index.csv \
        --class-column phase4 --per-class 20 --recipe frozen --backbone backbone.safetensors \
        --network stain_cnn

It sees crops of the shared data but those of jurkat_ifc, one stain at a time, turned, scaled, made
brighter, inverted and blurred at random, and learns the measures of `cellcam.models.appearance`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tifffile
import torch
import typer
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms.functional import gaussian_blur

from cellcam.models.appearance import Measures, appearance
from cellcam.models.stain_cnn import FEATURES, StainCNN

SIZE, READ = 40, 64  # pixels of the crops that are learnt from, and of those that are read
LICENCE = "CC BY 4.0 (MitoCheck), MIT (BCCD) and zlib (phenoptr) data; see their folders"


def main(
    data: Path,
    out: Path,
    crops: Annotated[int, typer.Option(help="Number of crops that are made.")] = 20_000,
    epochs: int = 4,
    threads: int = 2,
) -> None:
    """Train, and write the weights after each epoch."""
    torch.set_num_threads(threads)
    random = torch.Generator().manual_seed(0)
    stains = torch.from_numpy(read_stains(data)).unsqueeze(1)
    rows = torch.randint(len(stains), (crops,), generator=random)
    seen = torch.cat([varied(stains[part], random) for part in rows.split(256)])
    wanted = measures(seen)
    torch.manual_seed(0)
    network = StainCNN(2, 1, 2).to(memory_format=torch.channels_last)
    started = time.monotonic()
    for epoch, loss in enumerate(fit(network, seen, wanted, epochs, random)):
        seconds = time.monotonic() - started
        print(f"epoch {epoch + 1}: loss {loss:.3f}, {seconds:.0f} s", flush=True)
        weights = {name: value.contiguous() for name, value in network.eval().state_dict().items()}
        save_file(weights, out, {"licence": LICENCE})
        network.train()


def fit(
    network: StainCNN, seen: Tensor, wanted: Tensor, epochs: int, random: torch.Generator
) -> Iterator[float]:
    """Train the features, and yield the mean loss of each epoch."""
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-3)
    n = len(seen) // 128
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, epochs * n + 1, pct_start=0.15)
    for _ in range(epochs):
        losses = []
        for part in torch.randperm(len(seen), generator=random)[: 128 * n].split(128):
            images = seen[part].contiguous(memory_format=torch.channels_last)
            found = network.describe(network.features(images))
            loss = nn.functional.smooth_l1_loss(found, wanted[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
            losses.append(float(loss.detach()))
        yield float(np.mean(losses))


def measures(images: Tensor) -> Tensor:
    """Measures (N, 13) of images (N, 1, y, x), each with a mean of 0 and a spread of 1."""
    assert len(Measures._fields) == FEATURES
    found = appearance(images.numpy(), np.zeros(1, np.float32), np.ones(1, np.float32))[:, 0]
    return torch.from_numpy((found - found.mean(0)) / found.std(0))


def varied(x: Tensor, random: torch.Generator) -> Tensor:
    """Other images of the same cells: (N, 1, SIZE, SIZE) of (N, 1, READ, READ)."""
    n = len(x)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=random)

    angle, scale = uniform(-np.pi, np.pi), uniform(0.55, 1.25)
    matrix = torch.zeros(n, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos() * scale
    matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin() * scale, angle.sin() * scale
    matrix[:, 0, 2], matrix[:, 1, 2] = uniform(-0.1, 0.1), uniform(-0.1, 0.1)
    grid = affine_grid(matrix, [n, 1, SIZE, SIZE], align_corners=False)
    x = grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    by_image = (-1, 1, 1, 1)
    above = x - x.flatten(1).quantile(0.2, 1).view(by_image)
    gamma = uniform(0.6, 1.6).view(by_image)
    above = above.sign() * above.abs().clamp(min=1e-6) ** gamma
    above = above * uniform(-1.5, 1.0).exp().view(by_image)
    above = torch.where(uniform(0, 1).view(by_image) < 0.15, -above, above)
    above[: n // 3] = gaussian_blur(above[: n // 3], 7, float(uniform(0.3, 1.5)[0]))
    noise = uniform(0, 0.17).square().view(by_image) * torch.randn(x.shape, generator=random)
    return above + uniform(-1.2, 0.3).view(by_image) + noise


def read_stains(data: Path) -> NDArray[np.float32]:
    """Crops of single stains (N, READ, READ), each stain with a mean of 0 and a spread of 1."""
    fields = data / "fov_boxes"
    boxes = pd.read_csv(fields / "boxes.csv")
    boxes = boxes[boxes["flag"].isna()]
    lung = boxes[boxes["image"].str.startswith("mif_lung")].sample(1200, random_state=0)
    tissue = _crops(tifffile.imread(fields / "mif_lung" / "composite.tif"), lung, 1)
    smears = []
    for image, own in boxes[boxes["image"].str.startswith("bccd")].groupby("image"):
        picture = np.asarray(Image.open(fields / str(image)).convert("RGB").reduce(2))
        smears.append(_crops(picture, own.sample(min(5, len(own)), random_state=0), 2))
    stains = [_mitocheck(data / "mitocheck_h2b")] * 2  # as often as all others
    for coloured in (tissue, np.concatenate(smears)):
        stains += [coloured[..., c] for c in range(3)]
    scaled = [(stain - stain.mean()) / stain.std() for stain in stains]
    return np.concatenate(scaled).astype(np.float32)


def _mitocheck(folder: Path) -> NDArray[np.float64]:
    files = sorted(folder.glob("*.tif"))
    return np.concatenate([tifffile.imread(file) for file in files]).astype(np.float64)


def _crops(picture: NDArray[np.uint8], boxes: pd.DataFrame, shrunk: int) -> NDArray[np.float64]:
    """Crops (N, READ, READ, 3) of a picture (y, x, 3) around boxes in pixels before shrinking."""
    half = READ // 2
    padded = np.pad(picture, ((half, half), (half, half), (0, 0)), mode="reflect")
    y = ((boxes["ymin"] + boxes["ymax"]) / 2 / shrunk).astype(int)
    x = ((boxes["xmin"] + boxes["xmax"]) / 2 / shrunk).astype(int)
    cut = [padded[a : a + READ, b : b + READ] for a, b in zip(y, x, strict=True)]
    return np.stack(cut).astype(np.float64)


if __name__ == "__main__":
    typer.run(main)
