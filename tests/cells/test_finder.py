from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from support.batches import HERE, write_field

from cellcam import CellFinder, Request, Stack, ThresholdFinder, explain_field, save_model
from cellcam.batch.run import run_batch
from cellcam.cells.finder import FieldView, Labels, finder_names, make_finder
from cellcam.errors import UsageError
from cellcam.stacks.blocks import Part


@dataclass(frozen=True)
class SquareFinder:
    """Finder of another package: one square cell of the given size in the middle of the field."""

    name: ClassVar[str] = "square"
    is_local: ClassVar[bool] = False
    channels: ClassVar[tuple[str, ...]] = ()

    size: int = 4

    def for_stack(
        self, stack: Stack, channel: str | None, diameter_um: float | None
    ) -> SquareFinder:
        return self

    def measure(self, view: FieldView) -> None:
        return None

    def label(self, view: FieldView, measured: object) -> Labels:
        labels = np.zeros(view.shape, np.int32)
        y, x = (n // 2 - self.size // 2 for n in view.shape)
        labels[y : y + self.size, x : x + self.size] = 1
        return labels

    def border(self, measured: object) -> int:
        return 0


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package had registered the finder under the name ``square``."""
    entry = EntryPoint("square", "test_finder:SquareFinder", "cellcam.finders")
    monkeypatch.setattr(EntryPoint, "load", lambda self: SquareFinder)
    monkeypatch.setattr("cellcam.cells.finder.installed_finders", lambda: EntryPoints([entry]))


def test_the_default_finder_is_registered() -> None:
    assert "threshold" in finder_names()
    assert make_finder("threshold", {"threshold": "12.5"}) == ThresholdFinder(threshold=12.5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cellpos", {}, "no finder 'cellpos'.*threshold"),
        ("threshold", {"size": 3}, "no option 'size'; it has channel, diameter_um"),
        ("threshold", {"threshold": "high"}, "option 'threshold'"),
    ],
)
def test_mistakes_name_what_exists(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_finder(name, options)


def test_a_finder_of_another_package_finds_the_cells(
    installed: None, stack: Stack, make_model
) -> None:
    finder: CellFinder = make_finder("square", {"size": "6"})
    cells = explain_field(stack, make_model(), request=Request(finder=finder)).cells
    assert cells["area"].tolist() == [36]
    assert Request(finder=finder).words() == ["--finder", "square", "--finder-option", "size=6"]


def test_a_finder_that_needs_the_whole_field_refuses_huge_images(
    make_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellcam.batch.plan.WHOLE_BYTES", 0)
    save_model(make_model(), tmp_path / "model")
    write_field(tmp_path / "in" / "a.tif", 0)
    request = Request(finder=SquareFinder())
    done = run_batch(
        [tmp_path / "in"], tmp_path / "model", tmp_path / "out", request, resources=HERE
    )
    assert done is not None
    assert "'square' cannot work in blocks" in done.failed[0].reason


def test_a_view_reads_each_rectangle_as_the_whole(stack: Stack) -> None:
    whole = FieldView.whole(stack)
    part = Part((3, 5), (20, 31), (40, 60))
    expected = np.asarray(stack.data)[0, 0, 0, 3:20, 5:31]
    np.testing.assert_array_equal(whole.cut(part).pixels("DNA"), expected)
    kept = whole.with_pixels(["DNA", "actin"]).cut(part)
    np.testing.assert_array_equal(kept.in_memory["DNA"], expected)
    assert kept.shape == (17, 26)
