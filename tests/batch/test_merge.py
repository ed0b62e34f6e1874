"""From records to the tables of a run, without any network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cellcam import Request
from cellcam.batch import merge as merging
from cellcam.batch.huge_images import image_key
from cellcam.batch.images import FileState, InputImage
from cellcam.batch.job import Job
from cellcam.batch.merge import merge, read_cells, verify
from cellcam.batch.plan import FieldBlock, Item, Plan, image_by_image
from cellcam.batch.plate_metadata import ImageMetadata
from cellcam.batch.records import Outcome, Record, cells_path, record_path
from cellcam.errors import StoppedError
from cellcam.pipeline.matching import FieldPlace
from cellcam.stacks.blocks import Block
from cellcam.stacks.writing import write_json, write_table

BLOCK = FieldBlock(FieldPlace(), Block.all_of((64, 64)))


@pytest.fixture
def job(model: Path, tmp_path: Path) -> Job:
    return Job.of(Request(), model, tmp_path / "out", "cpu")


def named(name: str) -> InputImage:
    return InputImage(name, FileState(Path("/in") / f"{name}.tif", 1, 0))


def write_cells(
    job: Job, name: str, n: int, explained: int = 0, call: str | None = "S"
) -> list[Path]:
    """A cell table of n cells, as an item writes it."""
    table = pd.DataFrame(
        {
            "image": [name] * n,
            "label": np.arange(1, n + 1, dtype=np.int32),
            "class": [call] * n,
            "importance_error": [0.01] * explained + [np.nan] * (n - explained),
            "flags": [""] * n,
        }
    )
    return write_table(cells_path(job.out, name), table)


def record(job: Job, key: str, outcomes: list[Outcome], files: list[Path]) -> None:
    sizes = tuple((path.relative_to(job.out).as_posix(), path.stat().st_size) for path in files)
    Record(key, tuple(outcomes), sizes).write(record_path(job.out, key))


def done_plan(job: Job, cells: dict[str, int], **explained: int) -> Plan:
    """A plan of one item whose images are done."""
    images = tuple(named(name) for name in cells)
    item = Item("a" * 24, images)
    files = [
        path
        for name, n in cells.items()
        for path in write_cells(job, name, n, explained.get(name, 0))
    ]
    record(job, item.key, [Outcome(name, "done", cells=n) for name, n in cells.items()], files)
    return Plan(images, (item,), ())


class TestVerify:
    def test_outcomes_by_name_in_the_order_of_the_plan(self, job: Job) -> None:
        plan = done_plan(job, {"b": 2, "a": 3})
        bad = Outcome("c", "refused", "why")
        plan = replace(plan, images=(named("c"), *plan.images), unusable=(bad,))
        found = verify(plan, job)
        assert list(found) == ["c", "b", "a"]
        assert found["c"] == bad
        assert [found[name].cells for name in "ba"] == [2, 3]

    def test_a_missing_record_is_counted(self, job: Job) -> None:
        plan = done_plan(job, {"a": 1})
        lost = Item("b" * 24, (named("z"),))
        plan = Plan(
            (*plan.images, named("z")), (*plan.items, lost, replace(lost, key="c" * 24)), ()
        )
        with pytest.raises(StoppedError, match=r"^2 of 3 parts are not there\. Run the shards"):
            verify(plan, job)

    def test_a_lost_or_shorter_file_counts_as_missing(self, job: Job) -> None:
        plan = done_plan(job, {"a": 1})
        path = cells_path(job.out, "a").with_name("a.cells.csv")
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(StoppedError, match="1 of 1 parts"):
            verify(plan, job)
        path.unlink()
        with pytest.raises(StoppedError, match="1 of 1 parts"):
            verify(plan, job)

    def test_an_item_without_all_its_images_counts_as_missing(self, job: Job) -> None:
        plan = done_plan(job, {"a": 1, "b": 2})
        record(job, plan.items[0].key, [Outcome("a", "done", cells=1)], [])
        with pytest.raises(StoppedError, match="1 of 1 parts"):
            verify(plan, job)

    def test_records_of_single_images_stand_for_their_group(self, job: Job) -> None:
        plan = done_plan(job, {"a": 1, "b": 2})
        record_path(job.out, plan.items[0].key).unlink()
        first, second = image_by_image(plan.items[0], job)
        record(job, first.key, [Outcome("a", "done", cells=1)], [])
        with pytest.raises(StoppedError, match="1 of 1 parts"):
            verify(plan, job)
        record(job, second.key, [Outcome("b", "failed", "why")], [])
        found = verify(plan, job)
        assert (found["a"].status, found["b"].status) == ("done", "failed")

    def test_one_incomplete_record_among_single_images_counts_as_missing(self, job: Job) -> None:
        plan = done_plan(job, {"a": 1, "b": 2})
        record_path(job.out, plan.items[0].key).unlink()
        for piece in image_by_image(plan.items[0], job):
            name = piece.images[0].name
            record(job, piece.key, [Outcome(name, "done", cells=1)], write_cells(job, name, 1))
        assert verify(plan, job)["b"].cells == 1
        cells_path(job.out, "b").with_name("b.cells.csv").unlink()
        with pytest.raises(StoppedError, match="1 of 1 parts"):
            verify(plan, job)

    def test_notes_of_blocks_are_said_once(self, job: Job) -> None:
        items = tuple(Item(f"{i}" * 24, (named("a"),), BLOCK) for i in range(2))
        for item, notes in zip(items, [("x",), ("x", "y")], strict=True):
            record(job, item.key, [Outcome("a", "done", notes=notes)], [])
        found = verify(Plan((named("a"),), items, ()), job)
        assert found["a"].notes == ("x", "y")
        done = merging.BatchResult((found["a"],), 0, 0, ())
        assert done.notes == [("a", "x"), ("a", "y")]

    @pytest.mark.parametrize(
        ("statuses", "combined", "cells"),
        [
            (["done", "done"], "done", 3),
            (["done", "refused"], "refused", 0),
            (["failed", "refused"], "failed", 0),
            (["refused", "failed"], "failed", 0),
        ],
    )
    def test_an_image_is_as_good_as_its_worst_block(
        self, job: Job, statuses: list[str], combined: str, cells: int
    ) -> None:
        items = tuple(Item(f"{i}" * 24, (named("a"),), BLOCK) for i in range(2))
        for i, (item, status) in enumerate(zip(items, statuses, strict=True)):
            outcome = Outcome("a", status, f"why {i}", i + 1)  # type: ignore[arg-type]
            record(job, item.key, [outcome], [])
        found = verify(Plan((named("a"),), items, ()), job)["a"]
        assert found.status == combined
        if combined == "done":
            assert found.cells == cells
        else:
            assert found.reason == f"why {statuses.index(combined)}"

    def test_the_step_that_joins_blocks_has_the_last_word(self, job: Job) -> None:
        items = [Item(f"{i}" * 24, (named("a"),), BLOCK) for i in range(2)]
        for item in items:
            record(job, item.key, [Outcome("a", "done", cells=5)], [])
        joined = Outcome("a", "done", "7 pixels", 9)
        record(job, image_key(items), [joined], [])
        plan = Plan((named("a"),), tuple(items), ())
        assert verify(plan, job)["a"] == joined
        record(job, items[0].key, [Outcome("a", "failed", "why")], [])
        assert verify(plan, job)["a"].status == "failed"


class TestMerge:
    def merged(self, job: Job, plan: Plan, pattern: str | None = None) -> merging.BatchResult:
        return merge(plan, verify(plan, job), job, ImageMetadata(pattern), {"seconds": 1.5})

    def test_all_cells_in_one_table(self, job: Job) -> None:
        plan = done_plan(job, {"b": 2, "a": 3}, b=1)
        done = self.merged(job, plan)
        names = ["images.csv", "cells.parquet", "cells.csv", "run.json"]
        assert [path.name for path in done.written] == names
        assert all(path.parent == job.out and path.is_file() for path in done.written)
        cells = pd.read_parquet(job.out / "cells.parquet")
        assert cells["image"].tolist() == ["b", "b", "a", "a", "a"]
        assert cells["label"].tolist() == [1, 2, 1, 2, 3]
        pd.testing.assert_frame_equal(
            pd.read_csv(
                job.out / "cells.csv", keep_default_na=False, dtype={"label": np.int32}
            ).drop(columns="importance_error"),
            cells.drop(columns="importance_error"),
            check_dtype=False,
        )
        assert (done.cells, done.explained) == (5, 1)
        run = json.loads((job.out / "run.json").read_text())
        expected = {"images": 2, "failed": 0, "cells": 5, "explained": 1, "seconds": 1.5}
        assert expected.items() <= run.items()
        assert run["fingerprint"] == job.fingerprint
        assert run["request"] == job.request.description()

    def test_images_without_a_result_are_rows_with_a_reason_on_one_line(self, job: Job) -> None:
        plan = done_plan(job, {"a": 3})
        bad = Outcome("=b", "refused", "first\n  second", 7)
        plan = replace(plan, images=(*plan.images, named("=b")), unusable=(bad,))
        done = self.merged(job, plan)
        assert done.failed == [bad]
        assert done.outcomes[0].cells == done.cells == 3
        images = pd.read_csv(job.out / "images.csv", keep_default_na=False)
        assert images.columns.tolist() == ["image", "file", "status", "reason", "cells", "notes"]
        assert images["status"].tolist() == ["done", "refused"]
        assert images["reason"].tolist() == ["", "first second"]
        assert images["cells"].tolist() == ["3", ""]
        assert images["file"].tolist() == ["/in/a.tif", "/in/=b.tif"]
        assert json.loads((job.out / "run.json").read_text())["failed"] == 1

    def test_paths_that_a_spreadsheet_takes_for_formulas_are_marked(self, job: Job) -> None:
        plan = done_plan(job, {"a": 1})
        image = replace(plan.images[0], file=replace(plan.images[0].file, path=Path("=1+1.tif")))
        item = replace(plan.items[0], images=(image,))
        self.merged(job, Plan((image,), (item,), ()))
        assert pd.read_csv(job.out / "images.csv")["file"].tolist() == ["'=1+1.tif"]

    def test_a_run_without_any_result_has_no_cell_table(self, job: Job) -> None:
        bad = Outcome("b", "failed", "why")
        done = self.merged(job, Plan((named("b"),), (), (bad,)))
        assert [path.name for path in done.written] == ["images.csv", "run.json"]
        assert (done.cells, done.explained) == (0, 0)

    def test_images_without_cells_give_an_empty_table_with_its_columns(self, job: Job) -> None:
        done = self.merged(job, done_plan(job, {"a": 0, "b": 0}))
        cells = pd.read_parquet(job.out / "cells.parquet")
        assert len(cells) == done.cells == 0
        assert "class" in cells
        assert pd.read_csv(job.out / "cells.csv").columns.tolist() == cells.columns.tolist()

    def test_an_empty_image_does_not_change_the_types_of_the_others(self, job: Job) -> None:
        self.merged(job, done_plan(job, {"a": 0, "b": 2, "c": 0}, b=2))
        cells = pd.read_parquet(job.out / "cells.parquet")
        assert cells["label"].dtype == np.int32
        assert cells["importance_error"].dtype == np.float64

    @pytest.mark.parametrize(("at_once", "tables"), [(4, 2000), (10**6, 2), (1, 2000)])
    def test_large_tables_are_written_in_pieces(
        self, job: Job, monkeypatch: pytest.MonkeyPatch, at_once: int, tables: int
    ) -> None:
        plan = done_plan(job, {"a": 3, "b": 3, "c": 0, "d": 9, "e": 1}, a=3, d=4)
        whole = self.merged(job, plan)
        expected = pd.read_parquet(job.out / "cells.parquet")
        text = (job.out / "cells.csv").read_text()
        monkeypatch.setattr(merging, "ROWS_AT_ONCE", at_once)
        monkeypatch.setattr(merging, "_TABLES_AT_ONCE", tables)
        assert self.merged(job, plan) == whole
        pd.testing.assert_frame_equal(pd.read_parquet(job.out / "cells.parquet"), expected)
        assert (job.out / "cells.csv").read_text() == text
        groups = pq.ParquetFile(job.out / "cells.parquet").metadata.num_row_groups
        assert groups == {4: 4, 10**6: 3, 1: 16}[at_once]

    @pytest.mark.parametrize("uncalled", ["a", "b", "ab"])
    def test_cells_without_a_call_may_stand_before_or_after_others(
        self, job: Job, monkeypatch: pytest.MonkeyPatch, uncalled: str
    ) -> None:
        plan = done_plan(job, {"a": 2, "b": 1})
        for name, n in (("a", 2), ("b", 1)):
            write_cells(job, name, n, call=None if name in uncalled else "S")
        outcomes = {name: Outcome(name, "done", cells=n) for name, n in (("a", 2), ("b", 1))}
        monkeypatch.setattr(merging, "ROWS_AT_ONCE", 1)
        merge(plan, outcomes, job, ImageMetadata(), {})
        calls = pq.read_table(job.out / "cells.parquet")["class"]
        assert calls.type == "string"
        assert calls.to_pylist() == [None if name in uncalled else "S" for name in "aab"]
        text = pd.read_csv(job.out / "cells.csv", keep_default_na=False)["class"].tolist()
        assert text == ["" if name in uncalled else "S" for name in "aab"]

    def test_more_cells_than_a_spreadsheet_opens_are_parquet_alone(
        self, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(merging, "_CSV_ROWS", 4)
        done = self.merged(job, done_plan(job, {"a": 5}))
        names = ["images.csv", "cells.parquet", "run.json"]
        assert [path.name for path in done.written] == names

    def test_the_largest_table_for_a_spreadsheet(
        self, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = done_plan(job, {"a": 5})
        monkeypatch.setattr(merging, "_CSV_ROWS", 5)
        assert job.out / "cells.csv" in self.merged(job, plan).written
        monkeypatch.setattr(merging, "_CSV_ROWS", 4)
        done = self.merged(job, plan)
        assert job.out / "cells.csv" not in done.written
        assert not (job.out / "cells.csv").exists()
        assert done.explained == 0

    def test_what_names_say_stands_in_both_tables(self, job: Job) -> None:
        plan = done_plan(job, {"x_B01_s1": 1, "plain": 2})
        self.merged(job, plan)
        cells = pd.read_csv(job.out / "cells.csv", keep_default_na=False)
        assert cells.columns[:3].tolist() == ["image", "Metadata_Well", "Metadata_Site"]
        assert cells["Metadata_Well"].tolist() == ["B01", "", ""]
        images = pd.read_csv(job.out / "images.csv", keep_default_na=False)
        assert images["Metadata_Site"].tolist() == ["s1", ""]
        pattern = r"x_(?P<Row>\w)(?P<Col>\d\d)"
        self.merged(job, plan, pattern)
        cells = pd.read_csv(job.out / "cells.csv", keep_default_na=False, dtype=str)
        assert cells.columns[:3].tolist() == ["image", "Metadata_Row", "Metadata_Col"]
        assert cells["Metadata_Col"].tolist() == ["01", "", ""]

    def test_tables_are_read_image_by_image_with_their_columns_in_order(self, job: Job) -> None:
        plan = done_plan(job, {"x_B01_s1": 1, "plain": 2})
        first, second = read_cells(plan.images, job, ImageMetadata())
        assert first.columns[:4].tolist() == ["image", "Metadata_Well", "Metadata_Site", "label"]
        assert (len(first), len(second)) == (1, 2)

    def test_the_description_of_a_single_image_is_kept(self, job: Job) -> None:
        write_json(job.out / "run.json", {"image": "/in/z.tif", "name": "z"})
        self.merged(job, done_plan(job, {"a": 1}))
        assert json.loads((job.out / "z.run.json").read_text())["image"] == "/in/z.tif"
