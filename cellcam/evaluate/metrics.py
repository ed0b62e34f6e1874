"""The metrics of the evidence report: the columns of its table, and how each is computed.

A new metric is an entry of `LOCALISATION` or `FAITHFULNESS` here. Its mathematics stands in
``localisation.py`` (maps against known regions) or ``faithfulness.py`` (the network's answer to
changed images). The report's table and charts follow `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellcam.evaluate.faithfulness import (
    class_probability,
    confidence_change,
    insertion_and_deletion,
)
from cellcam.evaluate.localisation import energy_inside, largest_inside, points_inside

_TOP_SHARE = 0.15
_AREA_STEPS = 10


@dataclass(frozen=True)
class Metric:
    """One column of the table.

    Attributes
    ----------
    name : of the column
    title : in tables and charts
    percent : whether it is shown as a percentage
    higher_is_better : else lower values are better
    """

    name: str
    title: str
    percent: bool
    higher_is_better: bool


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Images with the maps of one method.

    Attributes
    ----------
    network : in evaluation mode, on the device of ``x``
    x : (N, C, *spatial) tensor
    classes : (N,) int64 tensor, the class that is explained in each image
    maps : (N, *spatial) tensor, >= 0
    black : input of the network for zero counts
    regions : (N, *spatial) bool tensor, known places of the evidence, or None
    """

    network: nn.Module
    x: Tensor
    classes: Tensor
    maps: Tensor
    black: Tensor
    regions: Tensor | None


@dataclass(frozen=True)
class Measurement:
    """Metrics that are computed together.

    Attributes
    ----------
    metrics : the columns
    values : (N,) tensor of each metric
    """

    metrics: tuple[Metric, ...]
    values: Callable[[MappedImages], tuple[Tensor, ...]]


def measured(images: MappedImages) -> dict[str, NDArray[np.float64]]:
    """All metrics of N images by name, (N,) each; NaN where a metric is not defined."""
    return {
        metric.name: values.cpu().numpy()
        for measurement in (*FAITHFULNESS, *LOCALISATION)
        for metric, values in zip(measurement.metrics, measurement.values(images), strict=True)
    }


def _localised(metric: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """The metric, or the region's share of the image for an empty map, as for a constant map."""

    def values(images: MappedImages) -> tuple[Tensor, ...]:
        if images.regions is None:
            return (torch.full((len(images.maps),), torch.nan, dtype=torch.float64),)
        share = images.regions.flatten(1).double().mean(1)
        any_importance = images.maps.flatten(1).any(1)
        found = torch.where(any_importance, metric(images.maps, images.regions), share)
        return (torch.where(share > 0, found, torch.nan),)

    return values


def _confidence_change(images: MappedImages, top_share: float | None = None) -> tuple[Tensor, ...]:
    return confidence_change(
        class_probability(images.network),
        images.x,
        images.classes,
        images.maps,
        images.black,
        top_share,
    )


def _confidence_change_of_top_pixels(images: MappedImages) -> tuple[Tensor, ...]:
    return _confidence_change(images, _TOP_SHARE)


def _areas(images: MappedImages) -> tuple[Tensor, ...]:
    return insertion_and_deletion(
        class_probability(images.network),
        images.x,
        images.classes,
        images.maps,
        images.black,
        _AREA_STEPS,
    )


LOCALISATION = (
    Measurement(
        (Metric("ebpg", "EBPG", percent=False, higher_is_better=True),),
        _localised(energy_inside),
    ),
    Measurement(
        (Metric("bbox", "Bbox", percent=False, higher_is_better=True),),
        _localised(largest_inside),
    ),
    Measurement(
        (Metric("pointing", "pointing game", percent=False, higher_is_better=True),),
        _localised(points_inside),
    ),
)
FAITHFULNESS = (
    Measurement(
        (
            Metric("drop", "Drop %", percent=True, higher_is_better=False),
            Metric("increase", "Increase %", percent=True, higher_is_better=True),
        ),
        _confidence_change,
    ),
    Measurement(
        (
            Metric("drop_top", "Drop % (top 15 %)", percent=True, higher_is_better=False),
            Metric("increase_top", "Increase % (top 15 %)", percent=True, higher_is_better=True),
        ),
        _confidence_change_of_top_pixels,
    ),
    Measurement(
        (
            Metric("insertion", "insertion", percent=False, higher_is_better=True),
            Metric("deletion", "deletion", percent=False, higher_is_better=False),
        ),
        _areas,
    ),
)
# In the order of the report.
METRICS = tuple(
    metric for measurement in (*LOCALISATION, *FAITHFULNESS) for metric in measurement.metrics
)
