"""A ``cellcam`` command in a child process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from napari_cellcam.work.child_process import ChildProcess
from support.window import Until

pytestmark = pytest.mark.gui

IGNORES_SIGTERM = f"""#!{sys.executable}
import signal
signal.signal(signal.SIGTERM, lambda *_: print("asked to end", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_output_and_status_are_reported_at_the_end(qapp: object, until: Until) -> None:
    ended: list[tuple[int, str]] = []
    process = ChildProcess("info", "--json")
    process.ended.connect(lambda status, output: ended.append((status, output)))
    until(lambda: ended)
    (status, output) = ended[0]
    assert status == 0
    assert output.strip().endswith("}")
    assert not process.running


@pytest.mark.fault("20 a child process of the window that ignores the request to end", "killed")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to ignore")
def test_a_process_that_does_not_end_when_asked_is_killed(
    qapp: object, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubborn = tmp_path / "python"
    stubborn.write_text(IGNORES_SIGTERM)
    stubborn.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stubborn))
    ended: list[int] = []
    process = ChildProcess("train")
    process.ended.connect(lambda status, output: ended.append(status))
    until(lambda: "ready" in process.output)
    process.cancel()
    until(lambda: ended)
    assert ended == [-1]
    assert "asked to end" in process.output
