"""COCO: objects of several images in one JSON file, with polygons or run lengths.

Coordinates are pixels from the upper left corner of the image, as in `Cells`. Run lengths count
down the columns, beginning with background.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.exchange.cells import NOT_STATED, Cells, ImageFacts, Outline, Ring, centres_of
from cellcam.exchange.qupath import cells_of_geojson, json_content
from cellcam.exchange.reading import measurement_columns, without_collections
from cellcam.exchange.spans import spans_of
from cellcam.exchange.tracing import outlines_of
from cellcam.stacks.writing import whole_file

_MOST_PIXELS = 2**31
_HOW_TO_EXPORT = "Export the annotations again, as COCO with polygons or uncompressed run lengths."


def read_json(path: Path) -> list[Cells] | Cells:
    """Cells in a JSON file: COCO, or GeoJSON by its features.

    Raises
    ------
    InputError
        If it is neither, or an object cannot be read.
    """
    with without_collections():
        content = json_content(path)
        if isinstance(content, dict) and isinstance(content.get("annotations"), list):
            return _images(content, path)
        return cells_of_geojson(content, path)


def write_coco(cells: Cells, target: Path) -> None:
    """Write the cells of one image; cells with holes as run lengths, others as polygons."""
    if cells.image.shape is None:
        raise InputError(
            f"COCO needs the size of the image {cells.image.name}, which its results do not hold."
        )
    height, width = cells.image.shape
    names = sorted({*cells.colours, *cells.classes} - {""}) or ["cell"]
    # Without a class an object has the category 0, which readers list as one of its own.
    categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
    if not all(cells.classes):
        categories.insert(0, {"id": 0, "name": ""})
    numbers = {category["name"]: category["id"] for category in categories}
    image = {"id": 1, "file_name": cells.image.name, "height": height, "width": width}
    areas = spans_of(cells.outlines, cells.numbers, cells.image.shape).n_pixels.tolist()
    content = {
        "images": [image],
        "categories": categories,
        "annotations": [_annotation(cells, i, numbers, areas[i]) for i in range(len(cells))],
    }
    with whole_file(target) as temporary:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text, "utf-8")


def _annotation(
    cells: Cells, i: int, categories: Mapping[Any, Any], area: int
) -> dict[str, object]:
    outline = cells.outlines[i]
    rings = [polygon[0] for polygon in outline]
    corners = np.concatenate(rings) if rings else cells.centres[i][None]
    low, high = corners.min(axis=0), corners.max(axis=0)
    annotation: dict[str, object] = {
        "id": i + 1,
        "image_id": 1,
        "category_id": categories[cells.classes[i]],
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "area": area,
        "iscrowd": 0,
        "segmentation": [ring.ravel().tolist() for ring in rings],
        "attributes": {"label": int(cells.numbers[i]), "name": cells.ids[i], **cells.measured(i)},
    }
    if any(len(polygon) > 1 for polygon in outline):
        assert cells.image.shape is not None
        annotation["segmentation"] = _run_lengths(outline, cells.image.shape)
    t, z = cells.planes[i].tolist()
    if NOT_STATED not in (t, z):
        annotation["attributes"] = {**annotation["attributes"], "t": t, "z": z}  # type: ignore[dict-item]
    return annotation


def _run_lengths(outline: Outline, shape: tuple[int, int]) -> dict[str, object]:
    """The pixels of a cell, as lengths of runs down the columns of the image."""
    turned = [[ring[:, ::-1] for ring in polygon] for polygon in outline]
    spans = spans_of([turned], np.array([1]), shape[::-1])
    ends = np.column_stack([spans.row * shape[0] + spans.first, spans.row * shape[0] + spans.stop])
    changes = ends.ravel()
    # Where a run ends at the bottom of a column and the next begins at the top they are one.
    joined = np.flatnonzero(changes[1:-1:2] == changes[2::2])
    changes = np.delete(changes, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    counts = np.diff(np.concatenate([[0], changes, [shape[0] * shape[1]]]))
    return {"size": [*shape], "counts": counts.tolist()}


def _images(content: dict[str, Any], path: Path) -> list[Cells]:
    """The cells of each image."""
    try:
        names = {one["id"]: str(one["name"]) for one in content.get("categories", ())}
        found: dict[Any, list[dict[str, Any]]] = {one["id"]: [] for one in content["images"]}
        for annotation in content["annotations"]:
            found[annotation["image_id"]].append(annotation)
        return [_cells(found[one["id"]], one, names, path) for one in content["images"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is no COCO file that can be read: {error!r}. {_HOW_TO_EXPORT}"
        ) from error


def _cells(
    annotations: list[dict[str, Any]],
    image: Mapping[str, Any],
    names: Mapping[Any, str],
    path: Path,
) -> Cells:
    outlines = [_outline(one, path) for one in annotations]
    about = [one.get("attributes") or {} for one in annotations]
    planes = [(int(one.get("t", NOT_STATED)), int(one.get("z", NOT_STATED))) for one in about]
    plane_table = np.array(planes, np.int64).reshape(-1, 2)
    labels = [one.get("label") for one in about]
    whole = all(isinstance(label, int) and label > 0 for label in labels)
    file_name, shape = str(image.get("file_name", "")), (image["height"], image["width"])
    return Cells(
        ids=tuple(
            str(more.get("name") or one.get("id", i))
            for i, (one, more) in enumerate(zip(annotations, about, strict=True), start=1)
        ),
        numbers=np.array(labels if whole else range(1, len(labels) + 1), np.int64),
        planes=plane_table,
        centres=np.where(
            np.array([not outline for outline in outlines])[:, None],
            np.array([_middle(one) for one in annotations]).reshape(-1, 2),
            centres_of(outlines),
        ),
        outlines=tuple(outlines),
        classes=tuple(names.get(one.get("category_id"), "") for one in annotations),
        measurements=measurement_columns(
            [{n: v for n, v in one.items() if n not in ("label", "t", "z")} for one in about]
        ),
        image=ImageFacts(Path(file_name.replace("\\", "/")).name, shape),
    )


def _middle(annotation: Mapping[str, Any]) -> tuple[float, float]:
    x, y, width, height = annotation.get("bbox") or (np.nan,) * 4
    return x + width / 2, y + height / 2


def _outline(annotation: Mapping[str, Any], path: Path) -> Outline:
    segmentation = annotation.get("segmentation") or []
    try:
        if isinstance(segmentation, Mapping):
            return _decoded(segmentation)
        return [[_ring(ring)] for ring in segmentation]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(
            f"{path}: object {annotation.get('id')} has no outline that can be read: {error}. "
            f"{_HOW_TO_EXPORT}"
        ) from error


def _ring(numbers: Any) -> Ring:
    ring = np.array(numbers, np.float64).reshape(-1, 2)
    if len(ring) < 3 or not np.isfinite(ring).all():
        raise ValueError("a polygon needs three finite corners")
    return ring


def _decoded(run_lengths: Mapping[str, Any]) -> Outline:
    """Outline of the pixels that run lengths cover."""
    height, width = (int(n) for n in run_lengths["size"])
    counts = run_lengths["counts"]
    runs = _uncompressed(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    if height * width > _MOST_PIXELS or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError("its run lengths do not fill the image")
    ends = np.cumsum(runs)
    first, last = ends[0:-1:2], ends[1::2]
    if not len(last) or not (last > first).any():
        return []
    left, right = int(first.min() // height), int((last.max() - 1) // height) + 1
    inside = np.zeros((right - left) * height, np.int8)
    for begin, end in zip(first - left * height, last - left * height, strict=False):
        inside[begin:end] = 1
    found = outlines_of(inside.reshape(-1, height).T)[1]
    return [[ring + np.array([left, 0]) for ring in polygon] for polygon in found]


def _uncompressed(text: str) -> NDArray[np.int64]:
    """Run lengths as COCO's own tools write them.

    Letters are digits of 5 bits, the lowest first; from the fourth run on they give the difference
    to the last but one.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for letter in text.encode("ascii"):
        digit = letter - 48
        if not 0 <= digit < 64 or shift > 60:
            raise ValueError("its run lengths are damaged")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return np.array(runs, np.int64)
