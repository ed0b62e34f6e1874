"""What importing costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cellcam

HEAVY = {"torch", "pandas", "monai", "dask", "skimage", "matplotlib", "napari", "tifffile"}


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_cellcam_imports_nothing_heavy() -> None:
    assert not HEAVY & modules_after("import cellcam")


def test_the_command_line_starts_without_torch() -> None:
    assert not {"torch", "pandas", "monai"} & modules_after("import cellcam.cli")


def test_opening_a_stack_needs_no_torch() -> None:
    assert "torch" not in modules_after("import cellcam; cellcam.open_stack")


@pytest.mark.parametrize("name", sorted(set(cellcam.__all__) - {"__version__"}))
def test_every_public_name_exists(name: str) -> None:
    assert getattr(cellcam, name).__module__.startswith("cellcam.")


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = cellcam.nothing_of_the_kind
