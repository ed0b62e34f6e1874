"""The table of faults says what tests showed, no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.fault_report import BEGINNING, ShownFault, table_of

A_RUN = """
import pytest

@pytest.mark.fault("3 zero-byte file", "refused | with the way out")
@pytest.mark.parametrize("n", range(3))
def test_holds_twice(n):
    assert n < 2, "nothing was refused"

@pytest.mark.fault("29 no GPU", "said")
def test_skipped():
    pytest.skip("there is a GPU")

@pytest.mark.xfail(reason="not mended")
@pytest.mark.fault("half-written name", "left out")
def test_not_yet():
    raise ValueError

def test_without_a_fault():
    pass
"""


def test_a_run_writes_what_it_saw_below_what_people_wrote(tmp_path: Path) -> None:
    (tmp_path / "tests" / "stacks").mkdir(parents=True)
    (tmp_path / "tests" / "stacks" / "test_a.py").write_text(A_RUN)
    here = Path(__file__).parent
    (tmp_path / "conftest.py").write_text((here / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = fault(a, b): c\n")
    page = tmp_path / "page.md"
    page.write_text(f"By hand.\n{BEGINNING}\nof an earlier run")
    path = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests", "--reliability", page],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert run.returncode == 1, run.stdout + run.stderr
    text = page.read_text()
    assert text.startswith("By hand.\n")
    assert "earlier run" not in text
    assert "3 tests inject a fault, in 5 cases; 2 end as expected." in text
    rows = [line for line in text.splitlines() if "test_a.py" in line]
    assert rows[0].startswith("| 3 | zero-byte file | refused \\| with the way out | as expected")
    assert "(2 cases); **failed**" in rows[0]
    assert "not run: there is a GPU (1)" in rows[1]
    assert rows[2].startswith("|  | half-written name | left out | **does not hold yet**: not m")
    assert len(rows) == 3


def test_faults_of_the_list_that_no_test_shows_are_named() -> None:
    shown = [ShownFault("batch/test_a.py::test_b", f"{n} name", "right", 1) for n in range(1, 34)]
    assert "are not shown: 34, 35." in table_of(shown)
    shown += [ShownFault("test_c.py::test_d", f"{n} name", "right", 1) for n in (34, 35)]
    assert "All 35 faults" in table_of(shown)
    assert table_of(shown) == table_of(reversed(shown))
    assert table_of(shown).index("### Batches") < table_of(shown).index("### Commands")


def test_a_fault_whose_test_fails_is_not_shown() -> None:
    one = ShownFault("test_c.py::test_d", "35 name", "right")
    one.otherwise["**failed**: assert 1 == 2"] = 1
    assert "34, 35." in table_of([one])
    assert "| **failed**: assert 1 == 2 (1) |" in table_of([one])
