"""Output of commands: sentences and progress for people, JSON for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
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
        """Progress bar on a terminal, elsewhere one plain line every 30 seconds, with the time."""
        if self.quiet or self.as_json:
            yield None
            return
        with (_bar if sys.stdout.isatty() else _lines)(task) as advance:
            yield advance


@contextmanager
def _bar(task: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.progress import TimeRemainingColumn as TimeLeft

    text, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeLeft(), note)
    with Bar(*columns, transient=True) as bar:
        row = bar.add_task(task, total=None, note="")

        def advance(done: int, total: int, note: str = "") -> None:
            bar.update(row, completed=done, total=total or None, note=note)

        yield advance


@contextmanager
def _lines(task: str) -> Iterator[Progress]:
    """Lines from a thread of their own: work that reports nothing for minutes is not silent."""
    started, ended = time.monotonic(), Event()
    where = task

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal where
        steps = f"{done} of {total}" if total else ""
        where = f"{task}: {', '.join(filter(None, (steps, note)))}" if steps or note else task

    def tell() -> None:
        while not ended.wait(_LOG_INTERVAL_S):
            print(f"{where} ({time.monotonic() - started:.0f} s)", flush=True)

    teller = Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield advance
    finally:
        ended.set()
        teller.join()
