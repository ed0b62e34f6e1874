from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from cellcam.evaluate.comparison import costs, judge_methods, summary
from cellcam.evaluate.method import Method
from cellcam.evaluate.metrics import METRICS


class Corner(nn.Module):
    """Says class 1 where the upper left corner is bright."""

    def forward(self, x: Tensor) -> Tensor:
        score = 6 * x[:, 0, :3, :3].mean((1, 2)) - 3
        return torch.stack([-score, score], 1)


def region() -> Tensor:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:3, :3] = True
    return mask


def constant(value: Tensor) -> Method:
    return Method("", "here", lambda x, _k: value.expand(len(x), -1, -1).clone())


@pytest.fixture
def judged() -> pd.DataFrame:
    torch.manual_seed(0)
    x = 0.9 + 0.1 * torch.rand(70, 1, 8, 8)
    maps = {
        "right": region().float(),
        "wrong": 1 - region().float(),
        "silent": torch.zeros(8, 8),
        "everywhere": torch.ones(8, 8),
    }
    methods = [Method(name, "here", constant(m).maps) for name, m in maps.items()]
    regions = region().expand(70, -1, -1).clone()
    regions[-1] = False
    classes = torch.ones(70, dtype=torch.int64)
    return judge_methods(methods, Corner(), x, classes, torch.zeros(1), regions)


def test_every_method_is_judged_on_every_image(judged: pd.DataFrame) -> None:
    assert len(judged) == 4 * 70
    assert judged.groupby("method")["image"].nunique().eq(70).all()
    assert judged.loc[judged["image"] == 69, ["ebpg", "bbox", "pointing"]].isna().all(axis=None)


def test_right_maps_score_well_and_wrong_maps_badly(judged: pd.DataFrame) -> None:
    means = judged.groupby("method")[[metric.name for metric in METRICS]].mean()
    for metric in METRICS:
        if metric.name.startswith("increase"):
            continue
        right, wrong = means.loc["right", metric.name], means.loc["wrong", metric.name]
        assert (right > wrong) == metric.higher_is_better, metric.name
    assert means.loc["right", ["ebpg", "bbox", "pointing"]].tolist() == [1, 1, 1]


def test_empty_maps_count_like_constant_maps(
    judged: pd.DataFrame,
) -> None:
    means = judged.groupby("method")[["ebpg", "bbox", "pointing"]].mean()
    np.testing.assert_allclose(means.loc["silent"], means.loc["everywhere"])
    np.testing.assert_allclose(means.loc["silent"], 9 / 64)
    silent = costs(judged).set_index("method")["empty"]
    assert silent.to_dict() == {"right": 0, "wrong": 0, "silent": 1, "everywhere": 0}


def test_the_summary_compares_on_the_same_images(judged: pd.DataFrame) -> None:
    table = summary(judged, "right").set_index(["metric", "method"])
    row = table.loc[("ebpg", "silent")]
    assert row["mean"] == pytest.approx(9 / 64)
    assert row["difference"] == pytest.approx(55 / 64)
    assert row["n"] == 69
    assert row["p"] < 0.001
    assert np.isnan(table.loc[("ebpg", "right"), "p"])
    assert table.loc[("drop", "wrong"), "mean"] > 50  # in per cent


def test_few_groups_give_no_small_p_values(judged: pd.DataFrame) -> None:
    table = summary(judged, "right", np.arange(70) % 3).set_index(["metric", "method"])
    assert table.loc[("ebpg", "silent"), "p"] >= 0.25


def test_without_regions_only_faithfulness_is_judged() -> None:
    x, classes = torch.rand(3, 1, 8, 8), torch.ones(3, dtype=torch.int64)
    judged = judge_methods([constant(torch.ones(8, 8))], Corner(), x, classes, torch.zeros(1))
    measured = set(summary(judged, "")["metric"])
    assert "ebpg" not in measured
    assert "drop" in measured
