"""The model of a training: which network, how it sees a crop, and the weights it begins with."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellcam.errors import UsageError
from cellcam.explain.splitting import SplitNetwork
from cellcam.models.device import choose_device
from cellcam.models.model import CellModel
from cellcam.models.normalisation import Normalisation
from cellcam.models.registry import BASELINE, FORMULA, build_network, network_entry
from cellcam.models.spec import ModelSpec
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.tables.crops import CropSet

if TYPE_CHECKING:
    from torch import nn

# Smaller crops show parts of cells, or are too small for an eighth of the resolution.
_SMALLEST_FOR_CELL_CNN = 32
_FEWEST_FOR_CELL_CNN = 500
_TORCHVISION = "tv_"
# Crops in memory at a time where all are looked at, as float64.
_AT_ONCE = 1024


def chosen_network(recipe: Recipe, crop_size: tuple[int, ...], n_cells: int) -> tuple[str, str]:
    """Name of the network to train, and why this one.

    Parameters
    ----------
    recipe : names one, or leaves the choice
    crop_size : pixels along each spatial axis
    n_cells : how many there are to learn from
    """
    if recipe.network != "auto":
        return recipe.network, "chosen in the recipe"
    size = " x ".join(map(str, crop_size))
    if min(crop_size) < _SMALLEST_FOR_CELL_CNN:
        return "small_cnn", f"it sees all that crops of {size} pixels show of a cell"
    if n_cells < _FEWEST_FOR_CELL_CNN:
        return "small_cnn", f"{n_cells} cells are too few for a larger one"
    return "cell_cnn", f"it sees all of a cell in crops of {size} pixels"


def untrained_model(
    classes: tuple[str, ...],
    recipe: Recipe,
    crops: CropSet,
    measured: NDArray[np.bool_],
    device: str,
) -> CellModel:
    """Model that is ready to be trained; the same recipe gives the same random weights.

    Parameters
    ----------
    measured : (N,) which crops the normalisation is measured on

    Raises
    ------
    UsageError
        If the crops are too small for the network, or for its maps to have extent.
    """
    spec = ModelSpec(
        network=recipe.network,
        spatial_dims=len(crops.crop_size),
        channels=crops.channels,
        classes=classes,
        crop_size=crops.crop_size,
        pixel_size_um=crops.pixel_size_um,
        normalisation=measured_normalisation(crops.pixels, measured),
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
    """Crops must be large enough for the network, and for its explanations to have extent."""
    spec = model.spec
    crop = torch.zeros(1, len(spec.channels), *spec.crop_size, device=model.device)
    try:
        split = SplitNetwork(model.network, spec.target_layer, crop)
        has_extent = split.activations(crop).shape[2:].numel() > 1
    except RuntimeError:  # a pooling or convolution larger than what is left of the crop
        has_extent = False
    if not has_extent:
        raise UsageError(
            f"Crops of {' x '.join(map(str, spec.crop_size))} pixels are too small for "
            f"{spec.network}. Use small_cnn, or a larger crop_size."
        )


def measured_normalisation(
    pixels: NDArray[Any], measured: NDArray[np.bool_] | None = None
) -> Normalisation:
    """Mean and standard deviation of each channel over crops (N, C, *crop_size).

    One scaling for the whole data set: scaling image by image would erase total intensity,
    which tells G1 from G2.

    Parameters
    ----------
    measured : (N,) which crops are used; default: all
    """
    rows = np.arange(len(pixels)) if measured is None else np.flatnonzero(measured)
    parts = np.array_split(rows, -(-len(rows) // _AT_ONCE))
    share = np.array([len(part) for part in parts]) / len(rows)
    space = (0, *range(2, pixels.ndim))
    offset = share @ [pixels[part].mean(space, dtype=np.float64) for part in parts]
    around = offset.reshape(1, -1, *[1] * (pixels.ndim - 2))
    variance = share @ [np.square(pixels[part] - around).mean(space) for part in parts]
    scale = np.maximum(np.sqrt(variance), 1e-6)
    return Normalisation(offset=tuple(offset.tolist()), scale=tuple(scale.tolist()))


def _initial_network(spec: ModelSpec, recipe: Recipe) -> nn.Module:
    """Network of a model, with pretrained weights where the recipe wants and finds them.

    Raises
    ------
    UsageError
        If the recipe names a file of weights that do not belong to the network.
    """
    network = build_network(spec.network, spec.spatial_dims, len(spec.channels), len(spec.classes))
    if spec.network.startswith(_TORCHVISION) and recipe.pretrained != "no":
        weights = _pretrained_weights(spec.network, recipe.pretrained)
        if weights is not None:
            load_pretrained(network, weights)
    elif isinstance(recipe.pretrained, Path):
        raise UsageError(f"pretrained: {spec.network} is no torchvision network (tv_...).")
    return network


def load_pretrained(network: nn.Module, weights: dict[str, Any]) -> None:
    """Fill a network with the weights of its sibling for other images and classes.

    The first convolution's weights are averaged over the colours and given to every channel;
    the layer that names the classes stays random.

    Raises
    ------
    UsageError
        If the weights are those of another network.
    """
    own = network.state_dict()
    filled = {}
    for name, value in weights.items():
        wanted = own.get(name)
        if wanted is None:
            raise UsageError(f"pretrained: the network has no {name}; these are another one's.")
        if value.shape == wanted.shape:
            filled[name] = value
        elif value.ndim == 4 and value[:, 0].shape == wanted[:, 0].shape:
            n_colours, n_channels = value.shape[1], wanted.shape[1]
            grey = value.mean(1, keepdim=True) * n_colours / n_channels
            filled[name] = grey.expand_as(wanted).clone()
    if len(own) - len(filled) > 2:  # weight and bias of the classes
        raise UsageError("pretrained: these weights are those of another network.")
    network.load_state_dict(filled, strict=False)


def _pretrained_weights(name: str, source: Path | str) -> dict[str, Any] | None:
    if isinstance(source, Path):
        try:
            weights: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            raise UsageError(f"pretrained: {source} cannot be read: {error}") from error
        return weights
    from torchvision.models import get_model_weights

    known: Any = get_model_weights(name.removeprefix(_TORCHVISION))
    try:
        found: dict[str, Any] = known.DEFAULT.get_state_dict(progress=False, check_hash=True)
    except OSError as error:  # no network, and not on disk
        logging.getLogger(__name__).warning(
            "No pretrained weights for %s (%s); it starts from random ones.", name, error
        )
        return None
    return found
