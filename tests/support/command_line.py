"""CellCam's command line in the process of the tests, which takes no seconds to start."""

from __future__ import annotations

from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

import pytest

from cellcam.cli import main


def command_here(*words: object, folder: Path | None = None) -> CompletedProcess[str]:
    """What a command does, as if it were a process of its own.

    Parameters
    ----------
    words : after ``cellcam``
    folder : current folder meanwhile
    """
    command = ["cellcam", *map(str, words)]
    out, err = StringIO(), StringIO()
    with (
        patch("sys.argv", command),
        chdir(folder or Path.cwd()),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main()
    return CompletedProcess(command, int(str(end.value.code or 0)), out.getvalue(), err.getvalue())
