r"""The paper's own experiment, for anyone who has the images and weights: VOC 2007 test.

    python benchmarks/voc.py VOCdevkit/VOC2007 vgg16.pth --network vgg16 --images 500

One map for each image and class in it, at the paper's layers (VGG-16 ``features.29``, ResNet-50
``layer4.2``); the region is the union of the class's boxes, the image is seen at 224 x 224. The
weights are a state dict of torchvision's network with 20 classes, in alphabetical order. What
the paper's authors did beyond that (which images, how Drop % hides pixels) is not known here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import typer
from cellcam_training.tables.pascal_voc import voc_boxes
from PIL import Image
from torch import Tensor, nn
from torchvision.models import get_model

from cellcam import IntegratedGradCAM
from cellcam.evaluate.comparison import costs, judge_methods, summary
from cellcam.evaluate.localisation import box_regions
from cellcam.evaluate.rivals import ADAPTIVE, compared_methods

SIZE = 224
LAYERS = {"vgg16": "features.29", "resnet50": "layer4.2"}
MEAN, SPREAD = (
    torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def pairs(folder: Path, part: str, most: int) -> pd.DataFrame:
    """Boxes that are not difficult, of so many pairs of image and class of one set."""
    boxes = voc_boxes(folder)
    boxes = boxes[(boxes["difficult"] == 0) & (boxes["set"] == part if part else True)]
    names = sorted(boxes["cls"].unique())
    boxes = boxes.assign(k=[names.index(name) for name in boxes["cls"]])
    order = boxes.groupby(["image", "cls"], sort=True).ngroup()
    chosen = np.random.default_rng(0).permutation(order.nunique())[:most]
    return boxes[order.isin(chosen)].assign(pair=order)


def seen(folder: Path, boxes: pd.DataFrame) -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
    """Images as the network sees them, classes, regions, and the number of each image."""
    images, classes, regions, files = [], [], [], []
    for (image, k), own in boxes.groupby(["image", "k"]):
        picture = Image.open(folder / str(image)).convert("RGB")
        factor = SIZE / np.array([picture.height, picture.width])
        corners = own[["ymin", "xmin", "ymax", "xmax"]].to_numpy(float).reshape(-1, 2, 2) * factor
        regions.append(box_regions(torch.from_numpy(corners.round()), (SIZE, SIZE)).any(0))
        pixels = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        images.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
        classes.append(int(k))
        files.append(str(image))
    x = (torch.stack(images).float() / 255 - MEAN) / SPREAD
    groups = np.unique(files, return_inverse=True)[1]
    return x, torch.tensor(classes), torch.stack(regions), groups


def network_of(name: str, weights: Path, n_classes: int, device: str) -> nn.Module:
    """Torchvision's network with the weights of a file; nothing in it is executed."""
    network = get_model(name, weights=None, num_classes=n_classes)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.to(device).eval()


def main(
    folder: Path,
    weights: Path,
    network: Literal["vgg16", "resnet50"] = "vgg16",
    part: Annotated[str, typer.Option(help="train, val or test; empty for all images.")] = "test",
    images: Annotated[int, typer.Option(help="Pairs of image and class, by chance.")] = 500,
    device: str = "cpu",
) -> None:
    """Print the table."""
    n_classes = voc_boxes(folder)["cls"].nunique()
    x, classes, regions, groups = seen(folder, pairs(folder, part, images))
    judging = network_of(network, weights, n_classes, device)
    black = (-MEAN / SPREAD).to(device)
    own = IntegratedGradCAM(judging, LAYERS[network], black=black)
    judged = judge_methods(
        compared_methods(own, LAYERS[network], x.to(device)),
        judging,
        x.to(device),
        classes.to(device),
        black,
        regions.to(device),
    )
    table = summary(judged, ADAPTIVE, groups)
    print(table.pivot(index="method", columns="metric", values="mean").round(3).to_string())
    print(table.drop(columns=["difference_low", "difference_high"]).round(4).to_string())
    print(costs(judged).round(4).to_string())


if __name__ == "__main__":
    typer.run(main)
