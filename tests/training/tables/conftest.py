"""Images that the cell tables of these tests refer to."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cell_tables import write_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A field of 2 channels x 3 planes, its label image and a stack of crops."""
    write_images(tmp_path)
    return tmp_path
