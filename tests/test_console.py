"""Progress of commands off a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cellcam import console
from cellcam.console import Console
from cellcam.progress import Progress, staged


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> Iterator[Progress]:
    """Progress of a command that prints all the time instead of every 30 seconds."""
    monkeypatch.setattr(console, "_LOG_INTERVAL_S", 0.01)
    with Console().progress("explaining cells") as progress:
        assert progress is not None
        yield progress


def next_lines(capsys: pytest.CaptureFixture[str], beginning: str, n: int = 1) -> None:
    """Wait for ``n`` lines that begin like this; without them the test runs out of time."""
    while n > 0:
        lines = capsys.readouterr().out.splitlines()
        n -= sum(line.startswith(beginning) for line in lines)
        time.sleep(0.01)


def test_work_that_reports_nothing_is_not_silent(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    next_lines(capsys, "explaining cells (", 3)
    progress(0, 0, "finding cells")
    next_lines(capsys, "explaining cells: finding cells (", 3)


def test_lines_say_which_part_of_the_work_is_being_done(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    staged(progress, "field 2 of 3")(16, 40)
    next_lines(capsys, "explaining cells: 16 of 40, field 2 of 3 (")
    staged(progress, "field 3 of 3")(0, 0, "finding cells")
    next_lines(capsys, "explaining cells: field 3 of 3: finding cells (")


@pytest.mark.parametrize("silent", [Console(quiet=True), Console(as_json=True)])
def test_quiet_and_json_print_no_progress(silent: Console) -> None:
    with silent.progress("working") as progress:
        assert progress is None
