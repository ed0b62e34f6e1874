"""The real data sets of docs/evidence.md: which cells train a network, which judge its maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from PIL import Image

# Of a blood smear, shrunk by four, this much is seen: a white blood cell fills a fifth of it.
_SHRUNK, _FIELD = 4, 80


@dataclass(frozen=True)
class DataSet:
    """Two cell tables that share no cell, and no movie or image where there are several.

    Attributes
    ----------
    training, test : paths of the tables; classes in ``cls``
    masks : folder with masks of the test cells by the name of their image; None where the
        table's own label images are the masks
    epochs : of the training
    truth : what the masks are, for people
    crop_size : where the table does not say it
    """

    training: Path
    test: Path
    masks: Path | None
    epochs: int
    truth: str
    crop_size: tuple[int, int] | None = None


def jurkat(source: Path, out: Path) -> DataSet:
    """1000 cells train, 200 judge; four phases."""
    rows = pd.read_csv(source / "jurkat_ifc" / "index.csv").sample(frac=1, random_state=0)
    rows = rows.assign(cls=rows["phase4"], image=_absolute(source / "jurkat_ifc", rows["file"]))
    training, test = _written(out, rows.iloc[200:1200], rows.iloc[:200], ["image", "index", "cls"])
    masks = source / "jurkat_ifc" / "auto_nucleus_masks"
    return DataSet(training, test, masks, 20, "automatic nucleus masks (Otsu on the DNA channel)")


def mitocheck(source: Path, out: Path) -> DataSet:
    """1200 cells train, 200 of other movies judge; 16 phenotypes."""
    rows = pd.read_csv(source / "mitocheck_h2b" / "index.csv").sample(frac=1, random_state=0)
    rows = rows.assign(image=_absolute(source / "mitocheck_h2b", rows["file"]), group=rows["movie"])
    movies = np.random.default_rng(0).permutation(rows["movie"].unique())
    judging = rows["movie"].isin(movies[: len(movies) // 4])
    known = rows[~judging].iloc[:1200]
    judging &= rows["cls"].isin(known["cls"])
    columns = ["image", "index", "cls", "group"]
    training, test = _written(out, known, rows[judging].iloc[:200], columns)
    masks = source / "mitocheck_h2b" / "auto_center_masks"
    return DataSet(training, test, masks, 15, "automatic nucleus masks (Otsu)")


def bccd(source: Path, out: Path) -> DataSet:
    """Fields with or without a white blood cell, which lies anywhere in them; by image."""
    boxes = pd.read_csv(source / "fov_boxes" / "boxes.csv")
    boxes = boxes[boxes["image"].str.startswith("bccd") & (boxes["cls"] == "WBC")]
    random = np.random.default_rng(0)
    cut: dict[str, list[tuple[NDArray[np.uint8], NDArray[np.bool_], str, str]]] = {}
    for image, own in boxes.groupby("image"):
        picture = Image.open(source / "fov_boxes" / str(image)).convert("RGB")
        small = np.asarray(picture.reduce(_SHRUNK)).transpose(2, 0, 1)
        corners = own[["ymin", "xmin", "ymax", "xmax"]].to_numpy(float) / _SHRUNK
        cut[str(image)] = _fields(small, corners, str(image), random)
    images = random.permutation(sorted(cut))
    parts = {"test": images[: len(images) // 3], "training": images[len(images) // 3 :]}
    paths = {
        name: _write_fields(out / name, [field for image in own for field in cut[image]])
        for name, own in parts.items()
    }
    return DataSet(
        paths["training"], paths["test"], out / "test" / "boxes", 25, "boxes drawn by people"
    )


def mif_lung(source: Path, out: Path) -> DataSet:
    """Cells left of a line train, those right of it judge; at most 300 of each class."""
    folder = source / "fov_boxes"
    nuclei, cytoplasm = tifffile.imread(folder / "mif_lung" / "labels.tif")
    out.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(out / "labels.tif", np.maximum(nuclei, cytoplasm), metadata={"axes": "YX"})
    rows = pd.read_csv(folder / "boxes.csv")
    rows = rows[rows["image"].str.startswith("mif_lung") & rows["flag"].isna()]
    rows = rows.assign(
        image=str((folder / "mif_lung" / "composite.tif").resolve()),
        labels="labels.tif",
        label=rows["object_id"],
    ).sample(frac=1, random_state=0)
    # Crops of 48 pixels on the two sides of the line share none.
    left, right = rows[rows["xmax"] < 950], rows[rows["xmin"] > 1050]
    columns = ["image", "labels", "label", "cls"]
    training = left.groupby("cls").head(300)
    test = right.groupby("cls").head(40)
    paths = _written(out, training, test, columns)
    return DataSet(*paths, None, 15, "cell masks of the vendor's software (inForm)", (48, 48))


DATA_SETS: dict[str, Callable[[Path, Path], DataSet]] = {
    "jurkat_ifc": jurkat,
    "mitocheck_h2b": mitocheck,
    "bccd": bccd,
    "mif_lung": mif_lung,
}


def _absolute(folder: Path, names: pd.Series[str]) -> list[str]:
    return [str((folder / name).resolve()) for name in names]


def _written(
    out: Path, training: pd.DataFrame, test: pd.DataFrame, columns: list[str]
) -> tuple[Path, Path]:
    out.mkdir(parents=True, exist_ok=True)
    paths = out / "training.csv", out / "test.csv"
    for path, rows in zip(paths, (training, test), strict=True):
        rows[columns].to_csv(path, index=False)
    return paths


def _fields(
    picture: NDArray[np.uint8],
    corners: NDArray[np.float64],
    image: str,
    random: np.random.Generator,
) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_], str, str]]:
    """A field that holds a whole cell somewhere, and one that holds none, where there are such."""
    mask = np.zeros(picture.shape[1:], bool)
    for y0, x0, y1, x1 in corners.round().astype(int):
        mask[y0:y1, x0:x1] = True
    found: dict[str, tuple[NDArray[np.uint8], NDArray[np.bool_], str, str]] = {}
    for _ in range(200):
        y, x = (int(random.integers(length - _FIELD + 1)) for length in mask.shape)
        window = (slice(y, y + _FIELD), slice(x, x + _FIELD))
        seen = mask[window].sum()
        if seen == 0 or seen == mask.sum():
            name = "WBC" if seen else "none"
            found.setdefault(name, (picture[(slice(None), *window)], mask[window], name, image))
    return list(found.values())


def _write_fields(
    folder: Path, fields: list[tuple[NDArray[np.uint8], NDArray[np.bool_], str, str]]
) -> Path:
    (folder / "boxes").mkdir(parents=True, exist_ok=True)
    pixels, masks, classes, images = zip(*fields, strict=True)
    tifffile.imwrite(
        folder / "fields.tif", np.stack(pixels), photometric="minisblack", metadata={"axes": "TCYX"}
    )
    tifffile.imwrite(
        folder / "boxes" / "fields.tif", np.stack(masks).astype(np.uint8), metadata={"axes": "TYX"}
    )
    table = pd.DataFrame({"image": "fields.tif", "index": range(len(classes)), "cls": classes})
    table.assign(group=images).to_csv(folder / "cells.csv", index=False)
    return folder / "cells.csv"
