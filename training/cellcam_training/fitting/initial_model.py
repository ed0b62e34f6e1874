"""The model at the start of a training: network, normalisation and initial weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cellcam.errors import UsageError
from cellcam.explain.network.target import Target, split_network
from cellcam.models.bundle import load_model, read_spec
from cellcam.models.device import choose_device
from cellcam.models.model import CellModel
from cellcam.models.normalisation import Normalisation
from cellcam.models.registry import BASELINE, FORMULA, build_network, network_entry
from cellcam.models.spec import ModelSpec
from cellcam_training.fitting.pretrained_weights import (
    load_pretrained,
    pretrained_weights,
    takes_weights,
)
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.weight_names import Weights
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
    if recipe.start_from is not None:
        return read_spec(recipe.start_from).network, f"goes on from {recipe.start_from.name}"
    if recipe.backbone is not None and recipe.backbone.is_dir():
        return read_spec(recipe.backbone).network, f"that of the backbone {recipe.backbone.name}"
    if recipe.network != "auto":
        return recipe.network, "as you chose"
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
    """Model before the training; the same recipe gives the same weights.

    With `Recipe.start_from` the weights are those of that model; classes that it does not have
    begin with random weights.

    Parameters
    ----------
    measured : (N,) bool, the crops that the normalisation is measured on

    Raises
    ------
    UsageError
        If the crops are too small for the network or for its importance maps, or do not fit the
        model to go on from.
    """
    spec = ModelSpec(
        network=recipe.network,
        spatial_dims=len(crops.crop_size),
        channels=crops.channels,
        classes=classes,
        crop_size=crops.crop_size,
        pixel_size_um=crops.pixel_size_um,
        normalisation=_normalisation(recipe, crops, measured),
        target_layer=network_entry(recipe.network).target_layer,
        formula=FORMULA,
        baseline=BASELINE,
        field=recipe.field,
        finding=recipe.finding or crops.finding.finding,
        note=recipe.note,
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = _initial_network(spec, recipe)
    if recipe.start_from is not None:
        continue_from(load_model(recipe.start_from, "cpu"), spec, network)
    model = CellModel(spec, network, choose_device(device))
    _check_crop_size(model)
    return model


def continue_from(start: CellModel, spec: ModelSpec, network: nn.Module) -> None:
    """Give a network the weights of another model; outputs are matched by the name of the class.

    Raises
    ------
    UsageError
        If the two do not see the same: the difference is named.
    """
    for name in ("network", "channels", "crop_size", "pixel_size_um"):
        theirs, ours = getattr(start.spec, name), getattr(spec, name)
        if not _same(theirs, ours):
            raise UsageError(
                f"start_from: the model has {name} {theirs}, these cells have {ours}. Train from "
                "scratch, or make the cells fit."
            )
    outputs = _outputs(spec)
    known = [name for name in spec.classes if name in start.spec.classes]
    to = [spec.classes.index(name) for name in known]
    origin = [start.spec.classes.index(name) for name in known]
    weights, old = network.state_dict(), start.network.state_dict()
    for name, value in old.items():
        if name in outputs:
            weights[name][to] = value[origin]
        else:
            weights[name] = value
    network.load_state_dict(weights)


def _outputs(spec: ModelSpec) -> set[str]:
    """Names of the weights with a row for each class: they grow with another class."""
    shapes = []
    for n_classes in (len(spec.classes), len(spec.classes) + 1):
        network = build_network(spec.network, spec.spatial_dims, len(spec.channels), n_classes)
        shapes.append({name: value.shape for name, value in network.state_dict().items()})
    return {name for name, shape in shapes[0].items() if shapes[1][name] != shape}


def _same(one: object, other: object) -> bool:
    """Whether two entries agree; sizes may differ by rounding."""
    if isinstance(one, tuple) and isinstance(other, tuple) and one and isinstance(one[0], float):
        return len(one) == len(other) and np.allclose(one, other, rtol=1e-3)
    return one == other


def _normalisation(recipe: Recipe, crops: CropSet, measured: NDArray[np.bool_]) -> Normalisation:
    """That of the model to go on from, which its weights are for, or measured on the cells."""
    if recipe.start_from is not None:
        return read_spec(recipe.start_from).normalisation
    return Normalisation.measured(crops.pixels, measured)


def _check_crop_size(model: CellModel) -> None:
    """Refuse crops whose activations at the target layer have a single pixel or none."""
    spec = model.spec
    crop = torch.zeros(1, len(spec.channels), *spec.crop_size, device=model.device)
    try:
        split = split_network(model.network, Target(spec.target_layer), crop)
        large_enough = split.layout.space.numel() > 1
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
        If the recipe names a weights file that does not fit the network, or no backbone.
    """
    network = build_network(spec.network, spec.spatial_dims, len(spec.channels), len(spec.classes))
    if recipe.frozen:
        load_pretrained(network, _backbone(spec, recipe.backbone))
    elif takes_weights(spec.network) and recipe.pretrained != "no":
        weights = pretrained_weights(spec.network, recipe.pretrained)
        if weights is not None:
            load_pretrained(network, weights)
    elif isinstance(recipe.pretrained, Path):
        raise UsageError(
            f"pretrained: {spec.network} is no network of torchvision (tv_...) or timm (timm/...)."
        )
    return network


def _backbone(spec: ModelSpec, source: Path | None) -> Weights:
    """Weights of a model folder, or of a file."""
    if source is None:
        raise UsageError(
            "A frozen training needs a backbone: --backbone FOLDER, a model of other cells, or a "
            "file of weights with --network."
        )
    if source.is_dir():
        return load_model(source, "cpu").network.state_dict()
    weights = pretrained_weights(spec.network, source)
    assert weights is not None  # of a file
    return weights
