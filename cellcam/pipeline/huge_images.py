"""Huge images of a batch, block by block: parts first, then one table and one label image."""

from __future__ import annotations

from pathlib import Path

from cellcam.pipeline.choices import Job
from cellcam.pipeline.inputs import Image
from cellcam.pipeline.planning import FieldBlock
from cellcam.pipeline.records import Outcome


def run_block(
    key: str, image: Image, block: FieldBlock, job: Job
) -> tuple[list[Outcome], list[Path]]:
    """Work on one block."""
    raise NotImplementedError
