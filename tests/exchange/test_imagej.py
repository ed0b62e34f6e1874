"""ROIs as Fiji and StarDist write them, and as Fiji reads those that are written here."""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile
from support.many_cells import cells_of, many_cells

from cellcam import InputError
from cellcam.errors import UsageError
from cellcam.exchange.cells import NOT_STATED, Cells, ImageFacts
from cellcam.exchange.imagej import read_rois, write_rois
from cellcam.exchange.spans import spans_of


def painted(cells: Cells, shape: tuple[int, int]) -> np.ndarray:
    return spans_of(cells.outlines, cells.numbers, shape).paint(0, shape[0], 0, shape[1])


def test_a_thousand_cells_are_the_same(tmp_path: Path) -> None:
    labels = many_cells(1000)
    cells = cells_of(labels)
    write_rois(cells, tmp_path / "cells.zip")
    back = read_rois(tmp_path / "cells.zip")
    np.testing.assert_array_equal(back.numbers, cells.numbers)
    assert back.ids == tuple(map(str, cells.numbers))
    assert back.classes == cells.classes
    assert back.colours == cells.colours
    np.testing.assert_array_equal(painted(back, labels.shape), labels)
    np.testing.assert_allclose(back.measurements["area"], cells.measurements["area"])


def test_the_same_cells_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_rois(cells_of(many_cells(20)), tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_planes_count_from_one(tmp_path: Path) -> None:
    one = cells_of(np.eye(1, dtype=int))
    cells = Cells(
        one.ids, one.numbers, np.array([[3, 0]]), one.centres, one.outlines, one.classes,
        image=ImageFacts(n_times=4),
    )  # fmt: skip
    write_rois(cells, tmp_path / "cells.zip")
    (roi,) = roifile.roiread(tmp_path / "cells.zip")
    assert (roi.t_position, roi.z_position, roi.c_position) == (4, 1, 0)
    assert read_rois(tmp_path / "cells.zip").planes.tolist() == [[3, 0]]


class TestAsFijiWrites:
    def roi(self, points: object, **changes: object) -> roifile.ImagejRoi:
        roi = roifile.ImagejRoi.frompoints(points)
        roi.roitype = roifile.ROI_TYPE.POLYGON
        for name, value in changes.items():
            setattr(roi, name, value)
        return roi

    def test_polygons_of_pixels_and_of_parts_of_them(self, tmp_path: Path) -> None:
        whole = self.roi([[2, 3], [7, 3], [7, 9]], name="12")
        part = self.roi([[2.5, 3.25], [7.5, 3], [7, 9.75]], name="7", position=5)
        roifile.roiwrite(tmp_path / "set.zip", [whole, part])
        found = read_rois(tmp_path / "set.zip")
        assert found.outlines[0][0][0].tolist() == [[2, 3], [7, 3], [7, 9]]
        assert found.outlines[1][0][0].tolist() == [[2.5, 3.25], [7.5, 3], [7, 9.75]]
        assert found.numbers.tolist() == [12, 7]
        assert found.planes.tolist() == [[NOT_STATED] * 2, [NOT_STATED, 4]]

    def test_a_composite_has_holes(self, tmp_path: Path) -> None:
        square = [0, 0, 0, 1, 6, 0, 1, 6, 6, 1, 0, 6, 4]
        hole = [0, 2, 2, 1, 2, 4, 1, 4, 4, 1, 4, 2, 4]
        path = np.array(square + hole, np.float32)
        roi = roifile.ImagejRoi()
        roi.roitype, roi.multi_coordinates, roi.shape_roi_size = 1, path, len(path)
        roi.roitype = roifile.ROI_TYPE.RECT
        roi.tofile(tmp_path / "a.roi")
        found = read_rois(tmp_path / "a.roi")
        assert [len(polygon) for polygon in found.outlines[0]] == [2]
        assert painted(found, (6, 6)).sum() == 36 - 4

    def test_rectangles_and_ovals(self, tmp_path: Path) -> None:
        rois = []
        for kind in (roifile.ROI_TYPE.RECT, roifile.ROI_TYPE.OVAL):
            roi = roifile.ImagejRoi()
            roi.roitype, roi.left, roi.top, roi.right, roi.bottom = kind, 10, 20, 50, 40
            rois.append(roi)
        roifile.roiwrite(tmp_path / "set.zip", rois, name=["a", "b"])
        rectangle, oval = read_rois(tmp_path / "set.zip").outlines
        for outline, area in ((rectangle, 800), (oval, np.pi * 200)):
            pixels = spans_of([outline], np.array([1]), (60, 60)).n_pixels[0]
            assert pixels == pytest.approx(area, rel=0.03)

    def test_lines_and_points_are_no_cells(self, tmp_path: Path) -> None:
        line = self.roi([[0, 0], [5, 5]], roitype=roifile.ROI_TYPE.POLYLINE)
        point = self.roi([[0, 0]], roitype=roifile.ROI_TYPE.POINT)
        roifile.roiwrite(tmp_path / "set.zip", [line, point, self.roi([[0, 0], [5, 0], [5, 5]])])
        found = read_rois(tmp_path / "set.zip")
        assert len(found) == 1
        assert "2 ROIs that are points, lines or text" in found.notes[0]
        line.tofile(tmp_path / "line.roi")
        with pytest.raises(InputError, match="holds no area"):
            read_rois(tmp_path / "line.roi")


@pytest.mark.fault("a set of ROIs that is damaged or made to fill the memory", "refused, with why")
class TestHostile:
    def test_what_is_no_set(self, tmp_path: Path) -> None:
        (tmp_path / "a.zip").write_bytes(b"PK\x03\x04nothing")
        with pytest.raises(InputError, match="no set of ROIs"):
            read_rois(tmp_path / "a.zip")
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            archive.writestr("readme.txt", "x")
        with pytest.raises(InputError, match="holds no ROI"):
            read_rois(tmp_path / "b.zip")
        with pytest.raises(InputError, match="No such file"):
            read_rois(tmp_path / "c.zip")

    def test_a_roi_that_unpacks_to_gigabytes(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.roi", bytes(2**25))
        with pytest.raises(InputError, match="33554432 bytes.*Refused"):
            read_rois(tmp_path / "a.zip")

    def test_damaged_bytes(self, tmp_path: Path) -> None:
        square = roifile.ImagejRoi.frompoints(np.array([[0, 0], [9, 0], [9, 9]])).tobytes()
        random = np.random.default_rng(0)
        path = tmp_path / "a.roi"
        for _ in range(300):
            content = bytearray(square)
            for place in random.integers(0, len(content), 3):
                content[place] = random.integers(0, 256)
            path.write_bytes(content[: random.integers(1, len(content) + 1)])
            try:
                found = read_rois(path)
            except InputError as error:
                assert str(path) in str(error)  # noqa: PT017 - either is right
            else:
                assert all(np.isfinite(ring).all() for one in found.outlines for ring in one[0])

    def test_billions_of_corners_that_are_not_there(self, tmp_path: Path) -> None:
        content = bytearray(
            roifile.ImagejRoi.frompoints(np.array([[0, 0], [9, 0], [9, 9]])).tobytes()
        )
        content[16:18] = b"\0\0"
        content[18:22] = struct.pack(">i", 2**31 - 1)
        (tmp_path / "a.roi").write_bytes(content)
        with pytest.raises(InputError, match="no ROI that can be read"):
            read_rois(tmp_path / "a.roi")


def test_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.roi").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(UsageError, match=r"pip install 'cellcam\[exchange\]'"):
        read_rois(tmp_path / "a.roi")
