"""GeoJSON as QuPath writes it, and as other readers see what is written here."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import geojson
import geopandas
import numpy as np
import pytest
import shapely
from support.many_cells import cells_of, many_cells

from cellcam import InputError
from cellcam.exchange.cells import NOT_STATED, Cells, ImageFacts
from cellcam.exchange.qupath import read_geojson, write_geojson
from cellcam.exchange.spans import spans_of

SQUARE = [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]


def feature(geometry: dict[str, Any], **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def square(**properties: Any) -> dict[str, Any]:
    return feature({"type": "Polygon", "coordinates": SQUARE}, **properties)


def read(path: Path, content: object) -> Cells:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return read_geojson(path)


def collection(*features: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": [*features]}


class TestRoundTrip:
    def test_a_thousand_cells_are_the_same(self, tmp_path: Path) -> None:
        labels = many_cells(1000)
        cells = cells_of(labels)
        write_geojson(cells, tmp_path / "cells.geojson")
        back = read_geojson(tmp_path / "cells.geojson")
        assert back.ids == cells.ids
        assert back.classes == cells.classes
        assert back.colours == cells.colours
        np.testing.assert_array_equal(back.numbers, cells.numbers)
        np.testing.assert_array_equal(back.planes, cells.planes)
        np.testing.assert_allclose(back.centres, cells.centres)
        for name, values in cells.measurements.items():
            np.testing.assert_array_equal(back.measurements[name], values)
        assert back.remarks == cells.remarks
        height, width = labels.shape
        painted = spans_of(back.outlines, back.numbers, labels.shape).paint(0, height, 0, width)
        # Equal label images: the intersection over the union of every cell is 1.
        np.testing.assert_array_equal(painted, labels)

    def test_planes_are_written_where_the_image_has_several(self, tmp_path: Path) -> None:
        one = cells_of(np.eye(2, dtype=int))
        planes = np.array([[3, 2]])
        cells = Cells(
            one.ids, one.numbers, planes, one.centres, one.outlines, one.classes,
            image=ImageFacts(n_times=4, n_planes=3),
        )  # fmt: skip
        write_geojson(cells, tmp_path / "cells.geojson")
        (written,) = json.loads((tmp_path / "cells.geojson").read_text())["features"]
        assert written["geometry"]["plane"] == {"c": -1, "z": 2, "t": 3}
        assert read_geojson(tmp_path / "cells.geojson").planes.tolist() == [[3, 2]]

    def test_a_cell_without_outline_is_a_point(self, tmp_path: Path) -> None:
        point = Cells(
            ("a",), np.array([1]), np.array([[0, 0]]), np.array([[2.5, 3.25]]), ([],), ("",)
        )
        write_geojson(point, tmp_path / "cells.geojson")
        back = read_geojson(tmp_path / "cells.geojson")
        assert back.outlines == ([],)
        assert back.centres.tolist() == [[2.5, 3.25]]


class TestForeignReaders:
    labels = many_cells(200, seed=1)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        write_geojson(cells_of(self.labels), tmp_path / "cells.geojson")
        return tmp_path / "cells.geojson"

    def test_geojson_finds_no_error(self, path: Path) -> None:
        assert geojson.loads(path.read_text()).errors() == []

    def test_geopandas_and_shapely_see_the_same_areas(self, path: Path) -> None:
        table = geopandas.read_file(path)
        assert table.is_valid.all()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it takes pixels for degrees
            areas = table.area.to_numpy()
        expected = np.bincount(self.labels.ravel())[table["name"].astype(int)]
        np.testing.assert_array_equal(areas, expected)

    def test_shapely_reads_the_file_itself(self, path: Path) -> None:
        found = shapely.from_geojson(path.read_text())
        assert len(found.geoms) == 200
        assert found.area == np.count_nonzero(self.labels)


class TestAsQuPathWrites:
    def test_version_05(self, tmp_path: Path) -> None:
        # As QuPath 0.5 writes a cell: its boundary, its nucleus, a derived class, measurements.
        cell = feature(
            {"type": "Polygon", "coordinates": [[[1.5, 2], [9, 2.25], [8, 7], [1.5, 2]]]},
            objectType="cell",
            classification={"names": ["Tumor", "Ki67+"], "color": [200, 0, 5]},
            measurements={"Nucleus: Area µm^2": 12.5, "empty": "NaN"},
            metadata={"Comment": "seen"},
        ) | {"id": "0b6e4e1e-0000-4000-8000-000000000001", "nucleusGeometry": {"type": "Polygon"}}
        found = read(tmp_path / "a.geojson", collection(cell))
        assert found.ids == ("0b6e4e1e-0000-4000-8000-000000000001",)
        assert found.outlines[0][0][0].tolist() == [[1.5, 2], [9, 2.25], [8, 7]]
        assert found.classes == ("Tumor: Ki67+",)
        assert found.colours == {"Tumor: Ki67+": "#c80005"}
        assert list(found.measurements) == ["Nucleus: Area µm^2"]
        assert found.measured(0) == {"Nucleus: Area µm^2": 12.5}
        assert found.remarks_about(0) == {"Comment": "seen"}
        assert found.planes.tolist() == [[NOT_STATED, NOT_STATED]]

    def test_version_02(self, tmp_path: Path) -> None:
        # The type stood in the id, colours were one number, measurements a list.
        old = square(
            classification={"name": "Tumor", "colorRGB": -3670016},
            measurements=[{"name": "Area", "value": 3}],
        ) | {"id": "PathDetectionObject"}
        region = square(name="tissue") | {"id": "PathAnnotationObject"}
        found = read(tmp_path / "a.geojson", [region, old])
        assert found.ids == ("1",)
        assert found.colours == {"Tumor": "#c80000"}
        assert found.measured(0) == {"Area": 3}
        assert found.notes == (
            "Of its objects those of type detection are the cells; left out: 1 of type annotation.",
        )

    def test_objects_inside_others_are_found(self, tmp_path: Path) -> None:
        tissue = square(objectType="annotation", childObjects=[square(objectType="cell")])
        assert len(read(tmp_path / "a.geojson", collection(tissue))) == 1

    def test_an_ellipse_fills_its_box(self, tmp_path: Path) -> None:
        box = {"type": "Polygon", "coordinates": SQUARE, "isEllipse": True}
        outline = read(tmp_path / "a.geojson", collection(feature(box))).outlines[0]
        assert shapely.Polygon(outline[0][0]).area == pytest.approx(4 * np.pi, rel=1e-3)

    def test_several_polygons_and_planes(self, tmp_path: Path) -> None:
        geometry = {
            "type": "MultiPolygon",
            "coordinates": [SQUARE, [[[9, 9], [11, 9], [11, 11]]]],
            "plane": {"c": -1, "z": 4, "t": 1},
        }
        found = read(tmp_path / "a.geojson", feature(geometry))
        assert [len(polygon[0]) for polygon in found.outlines[0]] == [4, 3]
        assert found.planes.tolist() == [[1, 4]]

    @pytest.mark.parametrize(
        ("names", "numbers"),
        [
            (["7", "3"], [7, 3]),
            (["7", "7"], [1, 2]),
            (["7", "cell"], [1, 2]),
            (["0", "1"], [1, 2]),
            ([None, None], [1, 2]),
        ],
    )
    def test_names_that_are_numbers_are_labels(
        self, tmp_path: Path, names: list[str | None], numbers: list[int]
    ) -> None:
        found = read(tmp_path / "a.geojson", collection(*(square(name=name) for name in names)))
        assert found.numbers.tolist() == numbers


@pytest.mark.fault("a file of outlines that is damaged or hostile", "refused, with which object")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"a": 1}', "no list of features"),
        ("[1]", "no list of features"),
        ("[]", "holds no cell"),
        (collection(feature({"type": "LineString", "coordinates": [[0, 0]]})), "is a LineString"),
        (collection(square(), feature({"type": "Polygon"})), "object 2 has no outline"),
        (collection(feature({"type": "Polygon", "coordinates": []})), "no corners"),
        (collection(feature({"type": "Polygon", "coordinates": [[[0, 0]]]})), "three corners"),
        (collection(feature({"type": "Point", "coordinates": ["NaN", 1]})), "not finite"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [[[0,0],[NaN,1],[2,2]]]}}]', "finite"),
        (collection(square() | {"geometry": None}), "is a None"),
    ],
)  # fmt: skip
def test_what_is_no_geojson_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.geojson", content)


def test_what_is_no_number_is_no_measurement(tmp_path: Path) -> None:
    odd = {"a": "x", "b": True, "c": None, "d": [1], "e": 10**400, "f": 2}
    found = read(tmp_path / "a.geojson", collection(square(measurements=odd)))
    assert found.measured(0) == {"f": 2}
