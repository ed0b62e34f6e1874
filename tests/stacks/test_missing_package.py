"""A package that is missing is not taken for a damaged file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cellcam.samples import DEMO_STACK, sample_path

# As if the package had never been installed.
_HIDDEN = """
import sys
sys.modules[{package!r}] = None
from cellcam.cli import main
main()
"""


@pytest.mark.fault("a package that reads files is missing", "it is named, not the file")
@pytest.mark.parametrize("package", ["zarr", "tifffile", "ome_types"])
def test_the_package_is_named_and_not_the_file(package: str, tmp_path: Path) -> None:
    code = _HIDDEN.format(package=package)
    stack = str(sample_path(DEMO_STACK))
    done = subprocess.run(
        [sys.executable, "-c", code, "info", stack], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "A package is missing" in done.stderr
    assert package in done.stderr
    assert "Traceback" not in done.stderr
    assert "Export it again" not in done.stderr
