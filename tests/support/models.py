"""A small untrained model, and an image that it fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from cellcam_training.fitting.training_cells import measure_training_cells

from cellcam import CellModel, ModelSpec, Stack
from cellcam.models.appearance import Measures
from cellcam.models.normalisation import Normalisation
from cellcam.models.registry import build_network
from cellcam.stacks.stack import PixelSize


def untrained_model(**changes: Any) -> CellModel:
    """Model of two channels, DNA and actin, and three classes, with the same weights each time."""
    torch.manual_seed(0)
    described = {
        "network": "small_cnn",
        "channels": ("DNA", "actin"),
        "classes": ("G1", "S", "M"),
        "crop_size": (16, 16),
        "normalisation": Normalisation(offset=(100, 100), scale=(50, 50)),
        "target_layer": "features.1",
        "formula": "complete",
        "baseline": "background",
        **changes,
    }
    spec = ModelSpec(**described)
    network = build_network("small_cnn", spec.spatial_dims, len(spec.channels), len(spec.classes))
    return CellModel(spec, network, torch.device("cpu"))


def two_discs() -> Stack:
    """Two discs of radius 6 in two channels, 40 x 60 pixels of 0.5 um."""
    y, x = np.mgrid[:40, :60]
    discs = (np.hypot(y - 20, x - 15) < 6) | (np.hypot(y - 20, x - 40) < 6)
    random = np.random.default_rng(0)
    pixels = random.poisson(100 + 300 * np.stack([discs, 0.5 * discs])).astype(np.uint16)
    return Stack.from_array(pixels, "CYX", ["DNA", "actin"], PixelSize(None, 0.5, 0.5), "two_discs")


def knowing_other_cells(model: CellModel) -> CellModel:
    """The model with training cells of which it is certain that no real crop is like them."""
    shape = (60, len(model.spec.channels), len(Measures._fields))
    reference = np.random.default_rng(0).normal(50, 0.1, shape).astype(np.float32)
    return model.with_training_cells(measure_training_cells(reference, np.arange(60) // 2))
