"""The table of faults in docs/reliability.md, written from the tests that show them.

A test that shows a fault carries ``@pytest.mark.fault(fault, expected)``. Faults of the project's
list of 35 begin with their number: ``"6 decompression bomb"``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

N_LISTED = 35
BEGINNING = "<!-- Below this line: written by `make reliability`; change the tests instead. -->"
_INTRODUCTION = """\
# Reliability

What can go wrong, what CellCam should do then, and what it was seen to do.

"""
# Folders of the tests, in the order of the document.
_SUBJECTS = {
    "stacks": "Image files",
    "cells": "Cells and label images",
    "pipeline": "One image",
    "training/tables": "Cell tables",
    "training": "Training and judging",
    "models": "Model folders and weights",
    "explain": "Explanations and memory",
    "evaluate": "Figures about explanations",
    "reporting": "Reports and pictures",
    "exchange": "Files of other programs",
    "batch": "Batches",
    "gui": "The window",
    "gpu": "GPUs",
    "": "Commands and the whole",
}
_NUMBERED = re.compile(r"(\d{1,2}) (.+)", re.DOTALL)


@dataclass
class ShownFault:
    """A fault, and how its test ended in each of its cases.

    Attributes
    ----------
    test : id below ``tests/``, without parameters
    fault, expected : as marked
    held : number of cases in which the expected was observed
    otherwise : what else was observed, and in how many cases
    """

    test: str
    fault: str
    expected: str
    held: int = 0
    otherwise: Counter[str] = field(default_factory=Counter)

    @property
    def number(self) -> int | None:
        """Number in the list of 35 faults, if it is one of them."""
        match = _NUMBERED.fullmatch(self.fault)
        return int(match[1]) if match and 1 <= int(match[1]) <= N_LISTED else None

    @property
    def subject(self) -> str:
        """Heading in the document: the folder of the test."""
        folder = self.test.rpartition("/")[0]
        return next(title for room, title in _SUBJECTS.items() if folder.startswith(room))

    @property
    def observed(self) -> str:
        """What was seen, in words."""
        cases = self.held + self.otherwise.total()
        held = [] if not self.held else ["as expected"]
        if self.held and cases > 1:
            held = [f"as expected ({self.held} cases)"]
        return "; ".join([*held, *(f"{text} ({n})" for text, n in sorted(self.otherwise.items()))])

    def row(self) -> str:
        """Line of the table."""
        path, _, name = self.test.partition("::")
        number = "" if self.number is None else str(self.number)
        fault = self.fault if self.number is None else _NUMBERED.fullmatch(self.fault)[2]  # type: ignore[index]
        link = f"[{name.replace('::', ' ')}](../tests/{path})"
        return f"| {number} | {_cell(fault)} | {_cell(self.expected)} | {self.observed} | {link} |"


class FaultRecorder:
    """Pytest plugin that keeps how marked tests end, and writes the table when all are done.

    Parameters
    ----------
    path : the document
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shown: dict[tuple[str, str, str], ShownFault] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):  # type: ignore[no-untyped-def]
        """Let the report on a marked test say its fault, also to another process."""
        report = yield
        report.user_properties += [("fault", mark.args) for mark in item.iter_markers("fault")]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the report on a marked test."""
        for name, value in report.user_properties:
            if name == "fault":
                self._keep(report.nodeid, *value, report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the document; processes that only run tests leave that to the first."""
        if not hasattr(session.config, "workerinput"):
            write_table(self._path, self._shown.values())

    def _keep(self, node: str, fault: str, expected: str, report: pytest.TestReport) -> None:
        test = node.partition("[")[0].removeprefix("tests/")
        key = (test, fault, expected)
        shown = self._shown.setdefault(key, ShownFault(*key))
        if report.when == "call" and report.passed:
            shown.held += 1
        elif report.skipped or report.failed:
            shown.otherwise[_said(report)] += 1


def write_table(path: Path, shown: Iterable[ShownFault]) -> None:
    """Write the table of faults below what people wrote in a document."""
    before = _INTRODUCTION
    if path.is_file():
        before = path.read_text("utf-8").partition(BEGINNING)[0]
    path.write_text(f"{before}{BEGINNING}\n{table_of(shown)}", "utf-8")


def table_of(shown: Iterable[ShownFault]) -> str:
    """All faults by subject, as Markdown."""
    faults = sorted(
        shown,
        key=lambda one: (one.number is None, one.number or 0, one.fault, one.expected, one.test),
    )
    lines = ["", "## Faults and what is observed", "", _summary(faults)]
    for subject in dict.fromkeys(_SUBJECTS.values()):
        rows = [one.row() for one in faults if one.subject == subject]
        if rows:
            head = ["| no. | fault | expected | observed | test |", "|---|---|---|---|---|"]
            lines += ["", f"### {subject}", "", *head, *rows]
    return "\n".join([*lines, ""])


def _summary(faults: list[ShownFault]) -> str:
    cases = sum(one.held + one.otherwise.total() for one in faults)
    held = sum(one.held for one in faults)
    shown = {one.number for one in faults if one.held}
    missing = [str(n) for n in range(1, N_LISTED + 1) if n not in shown]
    if missing:
        listed = f"Of the {N_LISTED} faults of the list these are not shown: {', '.join(missing)}."
    else:
        listed = f"All {N_LISTED} faults of the list (numbers in the first column) are shown."
    return f"{len(faults)} tests inject a fault, in {cases} cases; {held} end as expected. {listed}"


def _said(report: pytest.TestReport) -> str:
    """Why a test did not end as expected, in one line."""
    if report.skipped:
        if hasattr(report, "wasxfail"):
            return f"**does not hold yet**: {_cell(report.wasxfail.removeprefix('reason: '))}"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        return f"not run: {_cell(reason.removeprefix('Skipped: '))}"
    return f"**failed**: {_cell(report.longreprtext.strip().splitlines()[-1])}"


def _cell(text: str) -> str:
    """Text that stays in its cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
