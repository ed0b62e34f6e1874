from __future__ import annotations

from pathlib import Path

import pytest
from cellcam_training.tables.cell_table import read_cell_table
from support.cell_tables import write_table

from cellcam import InputError


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": ["field.ome.tif"], "x": [1], "y": [1]}, "It needs image"),
        ({"cls": list("aabb"), "x": [1] * 4, "y": [1] * 4}, "It needs image"),
        ({"Cls": ["a"], "Image": ["a.tif"], "X": [1], "y": [1]}, "Rename Cls to cls, Image to im"),
        ({"cls": list("aabb"), "image": ["field.ome.tif"] * 4}, "one of: index"),
        ({"cls": list("aabb"), "image": ["no.tif"] * 4, "index": [0] * 4}, "row 5: there is no"),
        ({"cls": list("aaab"), "file": ["crops.tif"] * 4, "index": [*range(4)]}, "b has one cell"),
        (
            {"cls": list("aaaa"), "file": ["crops.tif"] * 4, "index": [*range(4)]},
            "one class only, a",
        ),
        ({"cls": ["a", None, "b"], "file": ["crops.tif"] * 3, "index": [0, 1, 2]}, "row 3: no"),
    ],
)
def test_an_invalid_table_is_refused_with_the_reason(
    folder: Path, columns: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_cell_table(write_table(folder, **columns))


def test_all_problems_of_a_table_are_reported_at_once_row_by_row(folder: Path) -> None:
    path = write_table(
        folder, cls=["a", None, "b", "b", "a"], image=["field.ome.tif"] * 4 + ["no.tif"],
        xmin=[1, 1, 9, 11, 21], ymin=[1] * 5, xmax=[5, 5, 9, 15, 25], ymax=[5] * 5,
    )  # fmt: skip
    with pytest.raises(InputError) as error:
        read_cell_table(path)
    problems = str(error.value).splitlines()[1:]
    assert [line.split(":")[0] for line in problems] == ["row 3", "row 4", "row 6"]
    assert "the box is empty" in problems[1]


def test_warns_of_classes_from_one_group_and_of_images_on_both_sides_of_the_split(
    folder: Path,
) -> None:
    table = read_cell_table(
        write_table(
            folder, cls=list("aabb"), image=["field.ome.tif"] * 4, x=[11, 21, 31, 41], y=[11] * 4,
            z=[0] * 4, group=["m1", "m2", "m2", "m2"], split=["train", "val", "train", "val"],
        )
    )  # fmt: skip
    assert len(table.warnings) == 3
    assert "one group (of b each)" in table.warnings[0]
    assert "both sides" in table.warnings[1]
    separate = write_table(folder, cls=list("aabb"), file=["crops.tif"] * 4, index=[0, 1, 2, 3])
    assert read_cell_table(separate).warnings == table.warnings[2:]
    assert "Fewer than 20 cells of a (2), b (2)" in table.warnings[2]


@pytest.mark.fault("Places as parts of the image, as YOLO writes them", "Refused, with what to do")
@pytest.mark.parametrize("columns", [("x", "y"), ("xmin", "ymin", "xmax", "ymax")])
def test_places_between_0_and_1_are_refused(folder: Path, columns: tuple[str, ...]) -> None:
    places = {name: [0.1 * i + 0.1 * (k >= 2) for i in range(6)] for k, name in enumerate(columns)}
    path = write_table(folder, image=["field.ome.tif"] * 6, cls=list("ababab"), **places)
    with pytest.raises(
        InputError, match="look like parts of the image. Multiply them by its width"
    ):
        read_cell_table(path)


@pytest.mark.fault(
    "A table of corners and sizes, x, y, width, height", "A note that x, y are centres"
)
def test_widths_beside_centres_have_a_note(folder: Path) -> None:
    columns = {"x": [5, 9, 20, 30], "y": [5, 19, 20, 30], "width": [8] * 4, "height": [8] * 4}
    path = write_table(folder, image=["field.ome.tif"] * 4, cls=list("abab"), **columns)
    (note,) = read_cell_table(path).notes
    assert "x and y were taken for the centres" in note
    assert "width and height were not used" in note


@pytest.mark.fault(
    "A web page, or a table with spaces between its values", "Refused, with the way out"
)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PK\3\4mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "OpenDocument table"),
        ("PK\3\4", "Save it again as .xlsx or CSV"),
        ("<html><table>", "a web page or XML"),
        ("image x y cls\na.tif 1 2 a", "Separate the values"),
    ],
)
def test_what_is_no_table_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "cells.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_cell_table(folder / "cells.csv")
