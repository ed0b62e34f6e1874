"""Output of commands: sentences and progress for people, JSON for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cellcam.progress import Progress

if TYPE_CHECKING:
    from pydantic import JsonValue

_LOG_INTERVAL_S = 30.0


class Console:
    """Output of one command.

    Parameters
    ----------
    quiet : say nothing but errors
    as_json : print one JSON object at the end instead of sentences
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json

    def say(self, text: str) -> None:
        """A line for people."""
        if not (self.quiet or self.as_json):
            print(text, flush=True)

    def report(self, content: Mapping[str, JsonValue]) -> None:
        """The result for machines."""
        if self.as_json:
            print(json.dumps(dict(content), allow_nan=False))

    @contextmanager
    def progress(self, task: str) -> Iterator[Progress | None]:
        """Progress bar on a terminal, elsewhere one plain line every 30 seconds."""
        if self.quiet or self.as_json:
            yield None
        elif sys.stdout.isatty():
            with _bar(task) as advance:
                yield advance
        else:
            yield _lines(task)


@contextmanager
def _bar(task: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.progress import TimeRemainingColumn as TimeLeft

    text, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeLeft(), note)
    with Bar(*columns, transient=True) as bar:
        row = bar.add_task(task, total=None, note="")

        def advance(done: int, total: int, note: str = "") -> None:
            bar.update(row, completed=done, total=total, note=note)

        yield advance


def _lines(task: str) -> Progress:
    last = time.monotonic()

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal last
        if time.monotonic() - last >= _LOG_INTERVAL_S:
            last = time.monotonic()
            print(f"{task}: {done} of {total}{note and f', {note}'}", flush=True)

    return advance
