"""A cell table to train on, and the planted benchmark, run once in small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cellcam_training.simulated import planted_benchmark
from cellcam_training.tables.cell_table import CellTable
from filelock import FileLock
from support.cell_tables import dna_content_table

QUICKLY_LEARNT = ("plain", "confounded")


@pytest.fixture
def table(tmp_path: Path) -> CellTable:
    """Cells of two classes that differ only in the total intensity of one channel."""
    return dna_content_table(tmp_path)


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the planted benchmark with its two difficulties that are learnt quickly."""
    # One for all processes of pytest-xdist, whose folders lie side by side: it takes minutes.
    own = tmp_path_factory.getbasetemp()
    out = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "planted"
    with FileLock(f"{out}.lock"):
        if not (out / "made").is_file():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(planted_benchmark, "DIFFICULTIES", dict.fromkeys(QUICKLY_LEARNT))
                planted_benchmark.run_planted(
                    out, n_training=240, n_test=16, epochs=10, device="cpu"
                )
            (out / "made").touch()
    return out
