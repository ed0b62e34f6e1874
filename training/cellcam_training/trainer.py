"""The trainer: MONAI's engine around a network of the registry."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from cellcam.errors import UsageError
from cellcam.evaluate.classification import classification_metrics
from cellcam.explain.splitting import SplitNetwork
from cellcam.models.bundle import save_model
from cellcam.models.device import choose_device
from cellcam.models.model import CellModel, ModelSpec, Normalisation
from cellcam.models.registry import build_network, network_entry
from cellcam_training.augmentation import augmented
from cellcam_training.cell_table import CellTable
from cellcam_training.crops import CropSet, read_crops
from cellcam_training.recipe import Recipe
from cellcam_training.splitting import validation_cells

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Data:
    """Crops and classes of training and validation cells."""

    crops: CropSet
    truth: NDArray[np.int64]
    validation: NDArray[np.bool_]


def train_model(
    table: CellTable,
    recipe: Recipe,
    out: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> CellModel:
    """Train a classifier on a cell table and write its model folder.

    Parameters
    ----------
    table, recipe : see `read_cell_table` and `read_recipe`
    out : model folder, with the metrics on the validation cells in its description
    progress : called with (epochs done, epochs at most)

    Returns
    -------
    CellModel
        With the weights of the epoch that did best on the validation cells.
    """
    started = time.monotonic()
    crops = read_crops(table, recipe)
    truth = np.array([table.classes.index(name) for name in table.rows["cls"]])
    data = _Data(crops, truth, validation_cells(table.rows, recipe.validation_share, recipe.seed))
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = _untrained(table, recipe, data, device)
        _check_crop_size(model)
        epochs = _fit(model, recipe, data, progress)
    called = model.logits(crops.pixels[data.validation]).argmax(1).numpy()
    metrics = classification_metrics(truth[data.validation], called, table.classes)
    training = {
        "validation": metrics,
        "cells": {name: int((truth == i).sum()) for i, name in enumerate(table.classes)},
        "validation_groups": sorted(set(table.rows["group"][data.validation])),
        "epochs": epochs,
        "seconds": round(time.monotonic() - started, 1),
        "recipe": recipe.model_dump(mode="json"),
    }
    spec = model.spec.model_copy(update={"training": training})
    return save_model(CellModel(spec, model.network, model.device), out)


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


def _untrained(table: CellTable, recipe: Recipe, data: _Data, device: str) -> CellModel:
    crops = data.crops
    spec = ModelSpec(
        network=recipe.network,
        spatial_dims=len(crops.crop_size),
        channels=crops.channels,
        classes=table.classes,
        crop_size=crops.crop_size,
        pixel_size_um=crops.pixel_size_um,
        normalisation=measured_normalisation(crops.pixels[~data.validation]),
        target_layer=network_entry(recipe.network).target_layer,
        field=recipe.field,
        finding=recipe.finding,
    )
    network = build_network(spec.network, spec.spatial_dims, len(spec.channels), len(spec.classes))
    return CellModel(spec, network, choose_device(device))


def measured_normalisation(pixels: NDArray[Any]) -> Normalisation:
    """Mean and standard deviation of each channel over all crops (N, C, *crop_size).

    One scaling for the whole data set: scaling image by image would erase total intensity,
    which tells G1 from G2.
    """
    space = (0, *range(2, pixels.ndim))
    offset = pixels.mean(space, dtype=np.float64)
    scale = np.maximum(pixels.std(space, dtype=np.float64), 1e-6)
    return Normalisation(offset=tuple(offset.tolist()), scale=tuple(scale.tolist()))


def _fit(model: CellModel, recipe: Recipe, data: _Data, progress: Progress | None) -> int:
    """Train in place, end with the best weights; number of epochs run."""
    from ignite.engine import Events
    from ignite.handlers import EarlyStopping
    from monai.engines import SupervisedTrainer

    # The engine logs every epoch; people see the progress bar instead.
    logging.getLogger("ignite").setLevel(logging.WARNING)
    steps = -(-int((~data.validation).sum()) // recipe.batch_size)
    optimiser = torch.optim.AdamW(
        model.network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.epochs * steps + 1, pct_start=0.15
    )
    random = torch.Generator().manual_seed(recipe.seed)
    best = _Best(model, data)
    engine = SupervisedTrainer(
        device=model.device,
        max_epochs=recipe.epochs,
        train_data_loader=_loader(model, recipe, data, random),
        network=model.network,
        optimizer=optimiser,
        loss_function=nn.CrossEntropyLoss(_class_weights(data).to(model.device)),
        prepare_batch=lambda batch, device, non_blocking, **_: (
            augmented(batch[0].to(device), recipe.augmentation, random),
            batch[1].to(device),
        ),
    )
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: schedule.step())
    engine.add_event_handler(Events.EPOCH_COMPLETED, best.look)
    stopping = EarlyStopping(recipe.patience, lambda _: best.newest, engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, stopping)
    if progress:
        engine.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: progress(engine.state.epoch, recipe.epochs)
        )
    engine.run()
    best.restore()
    return int(engine.state.epoch)


class _Best:
    """Remembers the weights of the epoch with the lowest balanced validation loss."""

    def __init__(self, model: CellModel, data: _Data) -> None:
        self.model = model
        self.crops = data.crops.pixels[data.validation]
        self.truth = torch.from_numpy(data.truth[data.validation])
        self.loss = nn.CrossEntropyLoss(_class_weights(data))
        self.newest = self.score = float("-inf")
        self.weights: dict[str, Tensor] = {}

    def look(self) -> None:
        self.model.network.eval()
        scores = self.model.logits(self.crops)
        self.newest = -float(self.loss(scores, self.truth))
        if self.newest > self.score:
            self.score = self.newest
            self.weights = copy.deepcopy(self.model.network.state_dict())

    def restore(self) -> None:
        self.model.network.load_state_dict(self.weights)
        self.model.network.eval()


def _loader(
    model: CellModel, recipe: Recipe, data: _Data, random: torch.Generator
) -> DataLoader[Any]:
    chosen = ~data.validation
    pixels = model.normalised(data.crops.pixels[chosen]).cpu()
    truth = torch.from_numpy(data.truth[chosen])
    # A last batch of a single cell has no statistics for batch normalisation.
    alone = len(truth) % recipe.batch_size == 1 and len(truth) > 1
    return DataLoader(
        TensorDataset(pixels, truth),
        recipe.batch_size,
        shuffle=True,
        generator=random,
        drop_last=alone,
    )


def _class_weights(data: _Data) -> Tensor:
    """Weights that let every class count the same, however many cells it has."""
    counts = np.bincount(data.truth)
    return torch.from_numpy(len(data.truth) / (len(counts) * counts)).float()
