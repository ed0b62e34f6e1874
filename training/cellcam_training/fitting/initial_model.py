"""The model at the start of a training: network, normalisation and initial weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cellcam.errors import UsageError
from cellcam.explain.network.splitting import split_network
from cellcam.models.device import choose_device
from cellcam.models.model import CellModel
from cellcam.models.normalisation import Normalisation
from cellcam.models.registry import BASELINE, FORMULA, build_network, network_entry
from cellcam.models.spec import ModelSpec
from cellcam_training.fitting.pretrained_weights import (
    TORCHVISION,
    load_pretrained,
    pretrained_weights,
)
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.tables.crops import CropSet

if TYPE_CHECKING:
    from torch import nn

# cell_cnn works at an eighth of the resolution, which leaves too little of smaller crops.
_SMALLEST_FOR_CELL_CNN = 32
_FEWEST_FOR_CELL_CNN = 500


def chosen_network(recipe: Recipe, crop_size: tuple[int, ...], n_cells: int) -> tuple[str, str]:
    """Name of the network to train, and the reason for it.

    Parameters
    ----------
    recipe : names a network, or ``auto``
    crop_size : pixels along each spatial axis
    n_cells : number of labelled cells
    """
    if recipe.network != "auto":
        return recipe.network, "chosen in the recipe"
    size = " x ".join(map(str, crop_size))
    if min(crop_size) < _SMALLEST_FOR_CELL_CNN:
        return "small_cnn", f"crops of {size} pixels are too small for a larger network"
    if n_cells < _FEWEST_FOR_CELL_CNN:
        return "small_cnn", f"{n_cells} cells are too few for a larger network"
    return "cell_cnn", f"it sees all of a cell in crops of {size} pixels"


def initial_model(
    classes: tuple[str, ...],
    recipe: Recipe,
    crops: CropSet,
    measured: NDArray[np.bool_],
    device: str,
) -> CellModel:
    """Untrained model; the same recipe gives the same random weights.

    Parameters
    ----------
    measured : (N,) bool, the crops that the normalisation is measured on

    Raises
    ------
    UsageError
        If the crops are too small for the network or for its importance maps.
    """
    spec = ModelSpec(
        network=recipe.network,
        spatial_dims=len(crops.crop_size),
        channels=crops.channels,
        classes=classes,
        crop_size=crops.crop_size,
        pixel_size_um=crops.pixel_size_um,
        normalisation=Normalisation.measured(crops.pixels, measured),
        target_layer=network_entry(recipe.network).target_layer,
        formula=FORMULA,
        baseline=BASELINE,
        field=recipe.field,
        finding=recipe.finding,
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = _initial_network(spec, recipe)
    model = CellModel(spec, network, choose_device(device))
    _check_crop_size(model)
    return model


def _check_crop_size(model: CellModel) -> None:
    """Refuse crops whose activations at the target layer have a single pixel or none."""
    spec = model.spec
    crop = torch.zeros(1, len(spec.channels), *spec.crop_size, device=model.device)
    try:
        split = split_network(model.network, spec.target_layer, crop)
        large_enough = split.activations(crop).shape[2:].numel() > 1
    except RuntimeError:  # a pooling or convolution larger than its input
        large_enough = False
    if not large_enough:
        raise UsageError(
            f"Crops of {' x '.join(map(str, spec.crop_size))} pixels are too small for "
            f"{spec.network}. Use small_cnn, or a larger crop_size."
        )


def _initial_network(spec: ModelSpec, recipe: Recipe) -> nn.Module:
    """Network with pretrained weights if the recipe asks for them and they are found.

    Raises
    ------
    UsageError
        If the recipe names a weights file that does not fit the network.
    """
    network = build_network(spec.network, spec.spatial_dims, len(spec.channels), len(spec.classes))
    if spec.network.startswith(TORCHVISION) and recipe.pretrained != "no":
        weights = pretrained_weights(spec.network, recipe.pretrained)
        if weights is not None:
            load_pretrained(network, weights)
    elif isinstance(recipe.pretrained, Path):
        raise UsageError(f"pretrained: {spec.network} is not a torchvision network (tv_...).")
    return network
