"""QuPath's GeoJSON: objects with outlines, classification and measurements.

Coordinates are pixels of the full resolution from the upper left corner of the image, as in
`Cells`. Files of QuPath 0.2 and later are read; what is written is understood since 0.4.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np

from cellcam.errors import InputError
from cellcam.exchange.cells import NOT_STATED, Cells, Outline, Polygon, Ring, centres_of, numbers_of
from cellcam.exchange.reading import measurement_columns, text_columns, without_collections
from cellcam.stacks.writing import whole_file

# What version 0.2 called the types of objects.
_OLD_TYPES = {
    "PathCellObject": "cell",
    "PathDetectionObject": "detection",
    "PathTileObject": "tile",
    "PathAnnotationObject": "annotation",
    "TMACoreObject": "tmaCore",
    "PathRootObject": "root",
}
# Of several types in a file, the first of these are the cells.
_CELLS_FIRST = ("cell", "detection", "annotation")
_HOW_TO_EXPORT = "Export the objects again: in QuPath with File > Export objects as GeoJSON."


def write_geojson(cells: Cells, target: Path) -> None:
    """Write cells as detections that QuPath opens: drag the file onto the image."""
    with whole_file(target) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for i in range(len(cells)):
            file.write(",\n" if i else "\n")
            file.write(json.dumps(_feature(cells, i), ensure_ascii=False, allow_nan=False))
        file.write("\n]}\n")


def read_geojson(path: Path) -> Cells:
    """Read the cells of a GeoJSON file.

    Where the file holds objects of several types, cells are taken, else detections, else
    annotations; a note says what was left out. A cell's name is its label, where all names are
    different whole numbers.

    Raises
    ------
    InputError
        If it is no GeoJSON, or an object's outline cannot be read.
    """
    with without_collections():
        return cells_of_geojson(json_content(path), path)


def json_content(path: Path) -> Any:
    """Plain data in a JSON file; `InputError` if it is damaged."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is no JSON that can be read: {error}. {_HOW_TO_EXPORT}"
        ) from error


def cells_of_geojson(content: Any, path: Path) -> Cells:
    """Cells of a GeoJSON file that is read already, see `read_geojson`."""
    kept, notes = _chosen(list(_objects(content, path)))
    if not kept:
        raise InputError(f"{path} holds no cell: there is no object in it. {_HOW_TO_EXPORT}")
    outlines, centres, planes = [], [], []
    for i, feature in enumerate(kept):
        outline, centre, plane = _place(feature, path, i)
        outlines.append(outline)
        centres.append(centre)
        planes.append(plane)
    about = [_dictionary(feature.get("properties")) for feature in kept]
    names = [_text(properties.get("name")) for properties in about]
    classes, colours = _classes(about)
    plane_table = np.array(planes, np.int64)
    return Cells(
        ids=tuple(
            _id(feature) or name or str(i)
            for i, (feature, name) in enumerate(zip(kept, names, strict=True), start=1)
        ),
        numbers=numbers_of(names, plane_table),
        planes=plane_table,
        centres=np.where(np.isnan(centres), centres_of(outlines), centres),
        outlines=tuple(outlines),
        classes=classes,
        colours=colours,
        measurements=measurement_columns([_measurements(properties) for properties in about]),
        remarks=text_columns([_dictionary(properties.get("metadata")) for properties in about]),
        notes=notes,
    )


def _feature(cells: Cells, i: int) -> dict[str, object]:
    """One object. QuPath takes ids that are UUIDs only, and makes others of its own."""
    properties: dict[str, object] = {"objectType": "detection", "name": str(cells.numbers[i])}
    if name := cells.classes[i]:
        properties["classification"] = {"name": name}
        if name in cells.colours:
            properties["classification"] = {"name": name, "color": _rgb(cells.colours[name])}
    if measured := cells.measured(i):
        properties["measurements"] = measured
    if remarks := cells.remarks_about(i):
        properties["metadata"] = remarks
    return {
        "type": "Feature",
        "id": _uuid(cells.ids[i]),
        "geometry": _geometry(cells, i),
        "properties": properties,
    }


def _geometry(cells: Cells, i: int) -> dict[str, object]:
    polygons = [[_closed(ring) for ring in polygon] for polygon in cells.outlines[i]]
    geometry: dict[str, object]
    if not polygons:
        geometry = {"type": "Point", "coordinates": cells.centres[i].tolist()}
    elif len(polygons) == 1:
        geometry = {"type": "Polygon", "coordinates": polygons[0]}
    else:
        geometry = {"type": "MultiPolygon", "coordinates": polygons}
    t, z = cells.planes[i].tolist()
    if NOT_STATED not in (t, z) and (cells.image.n_times > 1 or cells.image.n_planes > 1):
        geometry["plane"] = {"c": -1, "z": z, "t": t}
    return geometry


def _closed(ring: Ring) -> list[list[float]]:
    corners: list[list[float]] = ring.tolist()
    return [*corners, corners[0]]


def _uuid(name: str) -> str:
    is_one = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name, re.IGNORECASE)
    return name if is_one else str(uuid5(NAMESPACE_OID, name))


def _objects(content: Any, path: Path) -> Iterator[dict[str, Any]]:
    """Features of a collection, of a list or alone, with the objects inside them."""
    if isinstance(content, dict) and content.get("type") != "Feature":
        content = content.get("features")
    pending = [content] if isinstance(content, dict) else content
    if not isinstance(pending, list) or not all(isinstance(one, dict) for one in pending):
        raise InputError(f"{path} is no GeoJSON: it holds no list of features. {_HOW_TO_EXPORT}")
    for feature in pending:
        yield feature
        inside = _dictionary(feature.get("properties")).get("childObjects")
        if isinstance(inside, list):
            yield from _objects(inside, path)


def _chosen(features: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The features that are cells, and a note about the others."""
    types = [_type(feature) for feature in features]
    present = Counter(types)
    chosen = next((kind for kind in _CELLS_FIRST if present[kind]), "")
    kept = [one for one, kind in zip(features, types, strict=True) if kind == chosen]
    others = {kind: n for kind, n in present.items() if kind not in (chosen, "root")}
    if not others or not kept:
        return kept, ()
    listed = ", ".join(f"{n} of type {kind}" for kind, n in others.items())
    return kept, (f"Of its objects those of type {chosen} are the cells; left out: {listed}.",)


def _type(feature: Mapping[str, Any]) -> str:
    about = _dictionary(feature.get("properties"))
    stated = about.get("objectType") or about.get("object_type") or about.get("type")
    old = _OLD_TYPES.get(str(feature.get("id")), "annotation")
    return str(stated) if stated in _OLD_TYPES.values() else old


def _id(feature: Mapping[str, Any]) -> str:
    found = _text(feature.get("id"))
    return "" if found in _OLD_TYPES else found


def _place(
    feature: Mapping[str, Any], path: Path, i: int
) -> tuple[Outline, tuple[float, float], tuple[int, int]]:
    """Outline; centre, where it is a point; time point and plane of a feature."""
    geometry = _dictionary(feature.get("geometry"))
    kind: Any = geometry.get("type")
    places: Any = geometry.get("coordinates")
    try:
        plane = _plane(geometry)
        if kind == "Point":
            return [], _point(places), plane
        if kind == "Polygon":
            outline = [_polygon(places)]
        elif kind == "MultiPolygon":
            outline = [_polygon(polygon) for polygon in places]
        else:
            raise ValueError(f"its geometry is a {kind}")
        if geometry.get("isEllipse"):
            outline = [[_ellipse(outline[0][0])]]
        return outline, (np.nan, np.nan), plane
    except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
        raise InputError(
            f"{path}: object {i + 1} has no outline that can be read: {error}. Cells are polygons, "
            f"multipolygons or points. {_HOW_TO_EXPORT}"
        ) from error


def _plane(geometry: Mapping[str, Any]) -> tuple[int, int]:
    plane = geometry.get("plane")
    return (int(plane["t"]), int(plane["z"])) if plane else (NOT_STATED, NOT_STATED)


def _point(place: Any) -> tuple[float, float]:
    x, y = float(place[0]), float(place[1])
    if not np.isfinite([x, y]).all():
        raise ValueError("its place is not finite")
    return x, y


def _polygon(rings: Any) -> Polygon:
    polygon = [_ring(ring) for ring in rings]
    if not polygon:
        raise ValueError("it has no corners")
    return polygon


def _ring(corners: Any) -> Ring:
    if len(corners) > 3 and corners[0] == corners[-1]:
        corners = corners[:-1]
    ring = np.array(corners, np.float64)
    if ring.ndim != 2 or ring.shape[1] not in (2, 3) or len(ring) < 3:
        raise ValueError("a ring needs three corners of x and y")
    if not np.isfinite(ring).all():
        raise ValueError("a corner is not finite")
    return ring[:, :2]


def _ellipse(ring: Ring) -> Ring:
    """QuPath writes an ellipse as some polygon with the same box."""
    low, high = ring.min(0), ring.max(0)
    angles = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    return (low + high) / 2 + (high - low) / 2 * np.column_stack([np.cos(angles), np.sin(angles)])


def _classes(about: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Class of each object, empty without one, and the colours of the classes."""
    names: list[str] = []
    colours: dict[str, str] = {}
    for properties in about:
        stated = _dictionary(properties.get("classification"))
        parts = stated.get("names")
        name = ": ".join(map(str, parts)) if isinstance(parts, list) else _text(stated.get("name"))
        names.append(name)
        if name and name not in colours and (colour := _colour(stated)):
            colours[name] = colour
    return tuple(names), colours


def _colour(classification: Mapping[str, Any]) -> str:
    rgb, packed = classification.get("color"), classification.get("colorRGB")
    if isinstance(rgb, list) and len(rgb) == 3 and all(isinstance(n, int) for n in rgb):
        return "#" + "".join(f"{min(max(n, 0), 255):02x}" for n in rgb)
    if isinstance(packed, int):
        return f"#{packed & 0xFFFFFF:06x}"
    return ""


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _measurements(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name; a list of names and values before version 0.4."""
    stated = properties.get("measurements")
    if isinstance(stated, list):
        return {_text(one.get("name")): one.get("value") for one in map(_dictionary, stated)}
    return _dictionary(stated)


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return "" if value is None else str(value)
