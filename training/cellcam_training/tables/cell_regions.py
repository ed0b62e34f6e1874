"""Mask of each cell of a table in its crop: from masks, label images or boxes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cellcam.cells.cropping import crop_cells, crop_windows, resized, shape_at_pixel_size
from cellcam.errors import InputError
from cellcam.evaluate.localisation import box_regions
from cellcam.models.spec import ModelSpec
from cellcam.stacks.opening import open_crops, open_stack
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.image_crops import cell_positions
from cellcam_training.tables.label_fields import (
    fields_of_rows,
    labelled_positions,
    labels_of_rows,
)
from cellcam_training.tables.table_checks import BOX, READY_MADE


def cell_regions(
    table: CellTable, spec: ModelSpec, masks: Path | None = None
) -> NDArray[np.bool_] | None:
    """Masks of all cells of a table in their crops.

    Parameters
    ----------
    table : in any format; labels give the outlines of the cells, boxes give rectangles
    spec : of the model, for the size and pixel size of the crops
    masks : for tables of crops: folder of mask images (nonzero inside the cell) that have the
        file names of the images

    Returns
    -------
    (N, *crop_size) bool; None if neither the table nor ``masks`` says where cells lie

    Raises
    ------
    InputError
        If masks do not fit the images.
    """
    if masks is not None:
        return _from_masks(table, spec, masks)
    if table.place not in ("label", "box"):
        return None
    regions = np.zeros((len(table.rows), *spec.crop_size), bool)
    regions_of_image = _from_labels if table.place == "label" else _from_boxes
    for image, rows in table.rows.groupby("image"):
        regions[rows.index.to_numpy()] = regions_of_image(str(image), rows, spec)
    return regions


def _from_masks(table: CellTable, spec: ModelSpec, masks: Path) -> NDArray[np.bool_]:
    if table.place not in READY_MADE:
        raise InputError("--masks is for tables of crops; other tables name label images.")
    opened = cache(lambda path: open_crops(path).data)
    regions = np.zeros((len(table.rows), *spec.crop_size), bool)
    indices = table.rows.get("index", np.zeros(len(regions)))
    for i, (image, index) in enumerate(zip(table.rows["image"], indices, strict=True)):
        data = opened(masks / Path(image).name)
        if index >= len(data):
            raise InputError(f"{masks / Path(image).name} has no mask {int(index)}.")
        mask: NDArray[np.bool_] = np.asarray(data[int(index), 0]).squeeze() > 0
        if mask.shape != spec.crop_size:
            raise InputError(
                f"{masks / Path(image).name} has masks of {mask.shape} pixels; the crops have "
                f"{spec.crop_size}."
            )
        regions[i] = mask
    return regions


def _from_labels(image: str, rows: pd.DataFrame, spec: ModelSpec) -> NDArray[np.bool_]:
    stack = open_stack(image)
    regions = np.zeros((len(rows), *spec.crop_size), bool)
    for chosen, time, z in fields_of_rows(rows, stack, spec.field):
        here = rows.iloc[chosen]
        labels = labels_of_rows(here, stack, time, z)
        shape = shape_at_pixel_size(stack, labels.shape, spec.pixel_size_um)
        scaled = resized(labels, shape, labels=True)
        cells = labelled_positions(here, labels).at_scale(shape)
        crops = crop_cells(scaled[None], cells, spec.crop_size)[:, 0]
        regions[chosen] = crops == cells.numbers.reshape(-1, *[1] * labels.ndim)
    return regions


def _from_boxes(file: str, rows: pd.DataFrame, spec: ModelSpec) -> NDArray[np.bool_]:
    stack = open_stack(file)
    shape = stack.data.shape[-2:]
    scaled = shape_at_pixel_size(stack, shape, spec.pixel_size_um)
    cells = cell_positions(rows, "box", shape).at_scale(scaled)
    left, top, right, bottom = rows[BOX].to_numpy(float).T
    corners = np.stack([np.stack([top, left], 1), np.stack([bottom, right], 1)], 1)
    factor = np.array(scaled) / np.array(shape)
    starts = crop_windows(cells, spec.crop_size)
    return box_regions(torch.from_numpy(corners * factor - starts[:, None]), spec.crop_size).numpy()
