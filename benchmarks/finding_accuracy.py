"""How many cells of real images are found, and how much of what is found is a cell.

    python benchmarks/finding_accuracy.py --data SHARED/data [--finder NAME]
        [--finder-option OPTION=VALUE ...] [--every 1] [--sets bccd ...]

A found object is right if its outline and that of a true cell overlap by half (intersection over
union of at least 0.5; of boxes where people drew boxes), or, more mildly, if its centre lies in a
true cell. A true cell counts once. Each set is read without a size of the cells, and with the
median size of its true cells.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from cellcam import open_stack
from cellcam.cells.finder import FieldView, make_finder
from cellcam.stacks.stack import PixelSize, Stack

Boxes = np.ndarray  # (N, 4): first and last y and x, half-open

# set: image, channel, label image
_LABELLED = {
    "mitocheck": ("xy_8bit__mitocheck_incenp_t1.tif", 0, "xy_8bit_labels__mitocheck_incenp_t1.tif"),
    "nup_nuclei": ("xyc_16bit__nup_nuclei.tif", 1, "xy_8bit_labels__nup_nuclei.tif"),
    "nuclei_tubulin": ("xyc_16bit__nuclei_tubulin.tif", 1, "xy_8bit_labels__nuclei_tubulin.tif"),
}


@dataclass(frozen=True, eq=False)
class Field:
    """An image with its true cells.

    Attributes
    ----------
    stack : the image
    channel : the channel that shows the cells; None: the finder's choice
    boxes : (N, 4) boxes of the true cells
    labels : label image of the true cells, in the order of the boxes; None where there are boxes
    classes : (N,) their classes
    """

    stack: Stack
    channel: str | None
    boxes: Boxes
    labels: np.ndarray | None
    classes: np.ndarray


@dataclass(eq=False)
class Score:
    """Counts over the images of a set."""

    true: int = 0
    found: int = 0
    overlapping: int = 0
    centred: int = 0
    seconds: float = 0.0

    def row(self) -> str:
        """Cells of a table."""
        parts = [
            hit / max(1, n)
            for hit in (self.overlapping, self.centred)
            for n in (self.found, self.true)
        ]
        return f"{self.true} | {self.found} | " + " | ".join(f"{part:.2f}" for part in parts)


def fields(data: Path, name: str) -> Iterator[Field]:
    if name == "bccd":
        yield from _blood(data / "fov_boxes")
    elif name == "mif_lung":
        folder = data / "fov_boxes" / "mif_lung"
        stack = open_stack(folder / "composite.tif", pixel_size_um=0.5)
        yield _labelled(stack, "blue", open_stack(folder / "labels.tif", axes="CYX").field()[0])
    elif name == "mif_fihc4":
        folder = data / "fov_boxes" / "mif_fihc4"
        yield _fihc4(folder)
    else:
        image, channel, labels = _LABELLED[name]
        folder = data / "tiff_zoo" / "neubias"
        stack = _without_size(open_stack(folder / image))
        truth = open_stack(folder / labels).field()[0]
        yield _labelled(stack, stack.channels[channel], truth)


def _blood(folder: Path) -> Iterator[Field]:
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    with open(folder / "boxes.csv") as file:
        for row in csv.DictReader(file):
            if row["image"].startswith("bccd") and not row["flag"]:
                rows[row["image"]].append(row)
    for image, cells in sorted(rows.items()):
        boxes = [[int(cell[side]) for side in ("ymin", "xmin", "ymax", "xmax")] for cell in cells]
        classes = np.array([cell["cls"] for cell in cells])
        yield Field(open_stack(folder / image), None, np.array(boxes), None, classes)


def _fihc4(folder: Path) -> Field:
    import tifffile

    with tifffile.TiffFile(folder / "component_data.tif") as tif:
        dapi = tif.pages[3].asarray()
    with tifffile.TiffFile(folder / "binary_seg_maps.tif") as tif:
        truth = tif.pages[1].asarray()
    return _labelled(Stack.from_array(dapi, "YX", ["DAPI"]), "DAPI", truth)


def _labelled(stack: Stack, channel: str, truth: np.ndarray) -> Field:
    numbers, labels = np.unique(truth, return_inverse=True)
    labels = labels.reshape(truth.shape) + (numbers[0] != 0)
    boxes = _boxes(labels)
    return Field(stack, channel, boxes, labels, np.full(len(boxes), "cell"))


def _without_size(stack: Stack) -> Stack:
    """Pixel sizes of these old files are those of print, or one."""
    return replace(stack, pixel_size_um=PixelSize())


def _boxes(labels: np.ndarray) -> Boxes:
    found = [box for box in ndimage.find_objects(labels) if box is not None]
    return np.array([[y.start, x.start, y.stop, x.stop] for y, x in found], np.int64).reshape(-1, 4)


def found_in(field: Field, finder_name: str, options: dict[str, Any]) -> np.ndarray:
    given = {"channel": field.channel} if field.channel is not None else {}
    finder = make_finder(finder_name, given | options).for_stack(field.stack, None, None)
    view = FieldView.whole(field.stack).with_pixels(field.stack.channels)
    return finder.label(view, finder.measure(view))


def judged(field: Field, labels: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Found objects, and the true cells that one overlaps, or is centred in."""
    boxes = _boxes(labels)
    if not len(boxes) or not len(field.boxes):
        return len(boxes), np.empty(0, int), np.empty(0, int)
    overlap = (
        _overlap_of_boxes(field.boxes, boxes)
        if field.labels is None
        else _overlap_of_labels(field.labels, labels)
    )
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, np.arange(1, len(boxes) + 1)))
    if field.labels is None:
        inside = _inside(field.boxes, centres)
    else:
        y, x = np.round(centres).astype(int).T
        inside = field.labels[y, x] == np.arange(1, len(field.boxes) + 1)[:, None]
    return len(boxes), _matched(overlap >= 0.5, overlap), _matched(inside, overlap)


def _overlap_of_boxes(true: Boxes, found: Boxes) -> np.ndarray:
    low = np.maximum(true[:, None, :2], found[None, :, :2])
    high = np.minimum(true[:, None, 2:], found[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (true, found)]
    return common / (areas[0][:, None] + areas[1] - common)


def _overlap_of_labels(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    n_true, n_found = int(true.max()), int(found.max())
    pairs = np.bincount(
        true.ravel().astype(np.int64) * (n_found + 1) + found.ravel(),
        minlength=(n_true + 1) * (n_found + 1),
    ).reshape(n_true + 1, n_found + 1)
    union = pairs.sum(1, keepdims=True) + pairs.sum(0, keepdims=True) - pairs
    return (pairs / np.maximum(union, 1))[1:, 1:]


def _inside(boxes: Boxes, centres: np.ndarray) -> np.ndarray:
    above = centres[None] >= boxes[:, None, :2]
    below = centres[None] < boxes[:, None, 2:]
    return (above & below).all(-1)


def _matched(allowed: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """True cells of the largest one-to-one matching."""
    true, found = linear_sum_assignment(np.where(allowed, 1 + overlap, 0), maximize=True)
    return true[allowed[true, found]]


def main() -> None:
    names = ["bccd", "mif_lung", "mif_fihc4", *_LABELLED]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--finder", default="threshold")
    parser.add_argument("--finder-option", action="append", default=[], help="OPTION=VALUE")
    parser.add_argument("--sets", nargs="*", default=names, choices=names)
    parser.add_argument("--every", type=int, default=1, help="each so many-th image of a set")
    parser.add_argument("--without-size", action="store_true", help="do not give the size as well")
    chosen = parser.parse_args()
    options = dict(text.split("=", 1) for text in chosen.finder_option)
    print(
        "| set | size given | true | found | precision | recall | precision, by centre | recall |"
    )
    print("|---|---|---|---|---|---|---|---|")
    by_class: dict[str, dict[str, Score]] = {}
    for name in chosen.sets:
        images = list(fields(chosen.data, name))[:: chosen.every]
        sides = np.concatenate([field.boxes[:, 2:] - field.boxes[:, :2] for field in images])
        size = float(np.median(sides))
        for given in ({},) if chosen.without_size else ({}, {"diameter": size}):
            total, classes = Score(), defaultdict(Score)
            for field in images:
                started = time.process_time()
                labels = found_in(field, chosen.finder, options | given)
                total.seconds += time.process_time() - started
                n_found, overlapping, centred = judged(field, labels)
                total.found += n_found
                total.true += len(field.boxes)
                total.overlapping += len(overlapping)
                total.centred += len(centred)
                for one in np.unique(field.classes):
                    classes[one].true += int((field.classes == one).sum())
                    classes[one].overlapping += int((field.classes[overlapping] == one).sum())
                    classes[one].centred += int((field.classes[centred] == one).sum())
            text = f"{size:.0f} pixels" if given else "no"
            print(f"| {name} | {text} | {total.row()} |", flush=True)
            by_class[f"{name}, {text}"] = classes
    for name, classes in by_class.items():
        if len(classes) > 1:
            recalls = (
                f"{one} {score.overlapping / score.true:.2f}, by centre "
                f"{score.centred / score.true:.2f} of {score.true}"
                for one, score in sorted(classes.items())
            )
            print(f"recall in {name}: {'; '.join(recalls)}")


if __name__ == "__main__":
    main()
