"""Screens: tables of wells, summaries of wells, heat maps, and pycytominer as a reader."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.batches import HERE, cellcam, ended, write_field

from cellcam import Request
from cellcam.batch.plate_metadata import ImageMetadata, read_plate_metadata, well_place
from cellcam.batch.run import run_batch
from cellcam.batch.wells import wells_of
from cellcam.errors import UsageError
from cellcam.reporting.plate_map import _plate_shape, _row_column, plate_maps

LAYOUT = "Well,Metadata_Drug,Dose um\nB1,DMSO,0\nb02,taxol,0.50\nC03,NA,\n"


def table(folder: Path, text: str = LAYOUT, name: str = "plate.csv") -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("text", "place"),
    [("b3", "B03"), (" B03 ", "B03"), ("P24", "P24"), ("AF48", "AF48"), ("W0012", "W0012"),
     ("A-1", "A01"), ("", "")],
)  # fmt: skip
def test_wells_are_written_in_one_way(text: str, place: str) -> None:
    assert well_place(text) == place


def test_values_of_a_table_are_texts_as_they_stand(tmp_path: Path) -> None:
    known = read_plate_metadata(table(tmp_path))
    assert known.columns == ("Metadata_Drug", "Metadata_Dose um")
    assert known.of("p1/x_B02_s3") == {
        "Metadata_Well": "B02", "Metadata_Site": "s3", "Metadata_Plate": "p1",
        "Metadata_Drug": "taxol", "Metadata_Dose um": "0.50",
    }  # fmt: skip
    assert known.of("p1/x_C03")["Metadata_Drug"] == "NA"
    assert known.of("p1/x_D04")["Metadata_Drug"] == ""
    assert known.of("other")["Metadata_Drug"] == ""


def test_a_table_of_several_plates_is_joined_by_both(tmp_path: Path) -> None:
    text = "Plate\tWell\tdrug\np1\tB02\ta\np2\tB02\tb\n"
    known = read_plate_metadata(table(tmp_path, text, "plate.tsv"))
    assert [known.of(f"{n}/x_B02_s1")["Metadata_drug"] for n in ("p1", "screen/p2", "p3")] == [
        "a", "b", "",
    ]  # fmt: skip


@pytest.mark.fault("a table of wells that makes no sense", "refused before anything is written")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drug\nx\n", "no column is called Well; there are drug"),
        ("Well,drug\nB2,x\nB02,y\n", "two rows for the well B02"),
        ("", "no table that can be read"),
        ("Well,drug\nH12,x\n", "none of the images.*B01.*H12"),
    ],
)
def test_a_wrong_table_is_refused(model: Path, tmp_path: Path, text: str, message: str) -> None:
    write_field(tmp_path / "in" / "x_B01_s1.tif", 0)
    with pytest.raises(UsageError, match=message):
        run_batch([tmp_path / "in"], model, tmp_path / "out", metadata=table(tmp_path, text))
    assert not (tmp_path / "out" / "cells.parquet").exists()
    with pytest.raises(UsageError, match="cannot be read"):
        read_plate_metadata(tmp_path / "nowhere.csv")


def test_wells_sum_their_images() -> None:
    counts = {
        "x_B02_s1": Counter({"cells": 5, "class M": 2, "class G1": 2, "no call": 1}),
        "x_B02_s2": Counter({"cells": 3, "class M": 3}),
    }
    names = ["x_B02_s1", "x_B02_s2", "x_B02_s3", "x_C01_s1", "plain"]
    first, second = wells_of(names, {"x_B02_s3", "x_C01_s1"}, counts, ImageMetadata())
    assert (first.place, first.images, first.failed) == ("B02", 3, 1)
    assert first.counts["cells"] == 8
    assert first.shares(["G1", "M"]) == {"G1": 2 / 7, "M": 5 / 7}
    assert first.metadata == {"Metadata_Well": "B02"}
    assert (second.place, second.images, second.failed) == ("C01", 1, 1)
    assert second.shares(["G1", "M"]) == {}


def test_a_heat_map_has_the_size_of_the_plate_and_no_value_of_other_wells() -> None:
    assert [_row_column(place) for place in ("A01", "H12", "AF48", "W0002", "A00")] == [
        (0, 0), (7, 11), (31, 47), None, None,
    ]  # fmt: skip
    assert _plate_shape([(1, 2)]) == (2, 3)
    assert _plate_shape([(7, 3), (0, 11)]) == (8, 12)
    assert _plate_shape([(8, 3)]) == (16, 24)
    picture = plate_maps({"cells": {"A01": 3.0}, "<M>": {"H12": 0.5}})
    assert picture.startswith("<svg")
    assert "&lt;M&gt;" in picture
    assert "<M>" not in picture
    assert plate_maps({"cells": {"W0002": 3.0}}) == ""
    assert picture == plate_maps({"cells": {"A01": 3.0}, "<M>": {"H12": 0.5}})


@pytest.fixture
def screen(tmp_path: Path) -> Path:
    """Two plates of two wells, two sites each."""
    for plate in ("p1", "p2"):
        for i, name in enumerate(("B01_s1", "B01_s2", "C03_s1", "C03_s2")):
            write_field(tmp_path / "screen" / plate / f"x_{name}.tif", i)
    (tmp_path / "screen" / "p2" / "x_D05_s1.tif").write_bytes(b"II*\0")
    return tmp_path / "screen"


def test_a_batch_with_a_table_gives_wells_and_plates(
    model: Path, tmp_path: Path, screen: Path
) -> None:
    text = "Plate,Well,drug\np1,B1,DMSO\np1,C3,taxol\np2,B1,taxol\np2,D5,taxol\n"
    status, _, errors = ended(
        cellcam("batch", screen, "--model", model, "--out", tmp_path / "out", "--explain", 0,
                "--metadata", table(tmp_path, text), "--scheduler", "sync", "--quiet")
    )  # fmt: skip
    assert status == 2, errors
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    by_well = cells.groupby(["Metadata_Plate", "Metadata_Well"])["Metadata_drug"].unique()
    assert {key: values.tolist() for key, values in by_well.items()} == {
        ("p1", "B01"): ["DMSO"], ("p1", "C03"): ["taxol"],
        ("p2", "B01"): ["taxol"], ("p2", "C03"): [""],
    }  # fmt: skip
    images = pd.read_csv(tmp_path / "out" / "images.csv", keep_default_na=False)
    assert images.loc[images["image"] == "p2/x_D05_s1", "Metadata_drug"].tolist() == ["taxol"]
    wells = pd.read_csv(tmp_path / "out" / "wells.csv", keep_default_na=False)
    wells = wells.set_index(["Metadata_Plate", "Metadata_Well"])
    assert "Metadata_Site" not in wells
    for key, mine in cells.groupby(["Metadata_Plate", "Metadata_Well"]):
        well = wells.loc[key]
        assert int(well["cells"]) == len(mine)
        for name in ("G1", "S", "M"):
            assert int(well[f"n_{name}"]) == (mine["class"] == name).sum()
            part = (mine["class"] == name).sum() / mine["class"].notna().sum()
            assert float(well[f"part_{name}"]) == pytest.approx(part)
    empty = wells.loc[("p2", "D05")]
    assert (empty["images"], empty["failed"], empty["cells"], empty["n_M"]) == (1, 1, "", "")
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert page.count("<svg") == 2
    assert "wells.csv" in page


def test_without_wells_there_is_no_summary_of_them(model: Path, tmp_path: Path) -> None:
    write_field(tmp_path / "in" / "plain.tif", 0)
    (tmp_path / "out").mkdir()
    run_batch([tmp_path / "in"], model, tmp_path / "out", Request(explained=0), resources=HERE)
    assert not (tmp_path / "out" / "wells.csv").exists()
    assert "<svg" not in (tmp_path / "out" / "report.html").read_text("utf-8")


@pytest.mark.filterwarnings("ignore")  # of pycytominer and what it imports
def test_pycytominer_reads_the_parquet_as_it_is(model: Path, tmp_path: Path, screen: Path) -> None:
    pycytominer = pytest.importorskip("pycytominer")
    layout = table(tmp_path, "Well,drug\nB1,DMSO\nC3,taxol\n")
    out = tmp_path / "out"
    run_batch([screen], model, out, Request(explained=0), resources=HERE, metadata=layout)
    cells = pd.read_parquet(out / "cells.parquet")
    profiles = pycytominer.aggregate(
        cells, strata=["Metadata_Plate", "Metadata_Well", "Metadata_drug"],
        features=["area", "probability", "p_M"], operation="mean",
    )  # fmt: skip
    expected = cells.groupby(["Metadata_Plate", "Metadata_Well", "Metadata_drug"])[
        ["area", "probability", "p_M"]
    ].mean()
    found = profiles.set_index(["Metadata_Plate", "Metadata_Well", "Metadata_drug"])
    np.testing.assert_allclose(found.sort_index(), expected.sort_index(), rtol=1e-5)
    normalised = pycytominer.normalize(
        str(out / "cells.parquet"), features=["area", "probability"],
        samples="Metadata_drug == 'DMSO'", method="standardize",
        meta_features=["Metadata_Plate", "Metadata_Well", "Metadata_drug"],
    )  # fmt: skip
    control = normalised[normalised["Metadata_drug"] == "DMSO"][["area", "probability"]]
    np.testing.assert_allclose(control.mean(), 0, atol=1e-5)
    np.testing.assert_allclose(control.std(ddof=0), 1, rtol=1e-4)
