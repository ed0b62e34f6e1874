"""The packaged demo: a small simulated stack with its truth, and a model trained on its like."""

from __future__ import annotations

from pathlib import Path

from cellcam.errors import InputError

DEMO_STACK = "demo_cells.ome.tif"
DEMO_LABELS = "demo_cells.labels.ome.tif"
DEMO_EVIDENCE = "demo_cells.evidence.ome.tif"
DEMO_TRUTH = "demo_cells.truth.csv"
DEMO_MODEL = "demo_model"


def sample_path(name: str) -> Path:
    """Path of a sample, in an installed wheel or in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "sample_data", package.parent / "sample_data"):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"The sample {name!r} is not installed. Install CellCam again.")
