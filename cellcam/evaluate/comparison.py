"""The paper's table on any images: all metrics of several methods, with paired comparisons."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellcam.evaluate.method import Method
from cellcam.evaluate.metrics import METRICS, MappedImages, measured
from cellcam.evaluate.statistics import bootstrap_mean, holm, sign_flip_test
from cellcam.progress import Progress, nobody

if TYPE_CHECKING:
    import pandas as pd

# Images of one call of a method.
_TOGETHER = 64


class _Comparison(TypedDict):
    method: str
    mean: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    p: float
    n: int


def judge_methods(
    methods: Sequence[Method],
    network: nn.Module,
    x: Tensor,
    classes: Tensor,
    black: float | Tensor,
    regions: Tensor | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Metrics of every method on every image.

    An empty map counts in localisation like a constant map, with the share of the image that the
    region fills, so that empty maps are no advantage.

    Parameters
    ----------
    methods : to compare
    network : in evaluation mode, on the device of ``x``
    x : (N, C, *spatial) tensor
    classes : (N,) int64 tensor, the class that is explained in each image
    black : input of the network for zero counts, which hides pixels
    regions : (N, *spatial) bool tensor, known places of the evidence; images with an empty
        region are left out of localisation

    Returns
    -------
    one row for each method and image: method, source, image (number), the names of `METRICS`
    (NaN without a region), ``empty`` and ``seconds`` (for each map, in batches of 64;
    processor time where there is no GPU)
    """
    import pandas as pd

    report, starts = progress or nobody, range(0, len(x), _TOGETHER)
    parts = []
    # Processor time, so that other programs on the machine do not count.
    clock = time.perf_counter if x.is_cuda else time.process_time
    black = torch.as_tensor(black, dtype=x.dtype, device=x.device)
    for done, (method, first) in enumerate((m, s) for m in methods for s in starts):
        report(done, len(methods) * len(starts), method.name)
        rows = slice(first, first + _TOGETHER)
        started = clock()
        maps = method.maps(x[rows], classes[rows])
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        seconds = (clock() - started) / len(maps)
        known = None if regions is None else regions[rows]
        figures = measured(MappedImages(network, x[rows], classes[rows], maps, black, known))
        names = {"method": method.name, "source": method.source}
        image = np.arange(first, first + len(maps))
        empty = (~maps.flatten(1).any(1)).cpu().numpy()
        parts.append(
            pd.DataFrame({**names, "image": image, **figures, "empty": empty, "seconds": seconds})
        )
    return pd.concat(parts, ignore_index=True)


def summary(
    judged: pd.DataFrame, reference: str, groups: NDArray[np.int64] | None = None
) -> pd.DataFrame:
    """Means with intervals, and paired comparisons with one method.

    Parameters
    ----------
    judged : as `judge_methods` returns it
    reference : method that all others are compared with
    groups : (N,) numbers of movies or fields; intervals and tests resample whole groups

    Returns
    -------
    one row for each method and metric: method, source, metric, mean, low, high (95 %),
    difference (reference less method), difference_low, difference_high, p (sign flips, after
    Holm over the methods), n. Percentages are times 100. Metrics without any image are left out.
    """
    import pandas as pd

    rows = []
    for metric in METRICS:
        table = judged.pivot(index="image", columns="method", values=metric.name).dropna()
        if table.empty:
            continue
        grouped = None if groups is None else groups[table.index.to_numpy()]
        table *= 100 if metric.percent else 1
        found = [_compared(table, name, reference, grouped) for name in judged["method"].unique()]
        others = [row for row in found if row["method"] != reference]
        adjusted = holm(np.array([row["p"] for row in others]))
        for row, p in zip(others, adjusted, strict=True):
            row["p"] = float(p)
        rows += [{"metric": metric.name, **row} for row in found]
    return pd.DataFrame(rows)


def costs(judged: pd.DataFrame) -> pd.DataFrame:
    """Method, source, mean seconds of a map, and the part of the maps that is empty."""
    by_method = judged.groupby("method", sort=False)
    return by_method.agg(
        source=("source", "first"), seconds=("seconds", "mean"), empty=("empty", "mean")
    ).reset_index()


def _compared(
    table: pd.DataFrame, name: str, reference: str, groups: NDArray[np.int64] | None
) -> _Comparison:
    values = table[name].to_numpy()
    difference = table[reference].to_numpy() - values
    mean, apart = bootstrap_mean(values, groups), bootstrap_mean(difference, groups)
    return {
        "method": name,
        "mean": mean.value,
        "low": mean.low,
        "high": mean.high,
        "difference": apart.value,
        "difference_low": apart.low,
        "difference_high": apart.high,
        "p": sign_flip_test(difference, groups) if name != reference else np.nan,
        "n": len(values),
    }
