from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cellcam_training import commands
from cellcam_training.judging.explanation_report import evaluate_explanations
from cellcam_training.simulated import planted_benchmark
from cellcam_training.simulated.planted_benchmark import run_planted
from cellcam_training.simulated.planted_cells import (
    CHANNELS,
    DIFFICULTIES,
    LEAKING_CLASS,
    simulate_cells,
    with_stripes,
)
from cellcam_training.simulated.planted_data import write_planted
from cellcam_training.tables.cell_table import read_cell_table

from cellcam import load_model
from cellcam.errors import UsageError

QUICKLY_LEARNT = ("plain", "confounded")
STAINS = {
    "none": set(),
    "micronucleus": {"DNA"},
    "asters": {"tubulin"},
    "foci": {"marker"},
    "both": {"tubulin", "marker"},
    **{f"dot_{stain}": {stain} for stain in CHANNELS},
}


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_evidence_is_planted_in_the_stains_of_the_class_and_belongs_to_the_cell(
    difficulty: str,
) -> None:
    cells = simulate_cells(difficulty, 40, seed=3)
    assert set(cells.classes) == set(DIFFICULTIES[difficulty])
    for name, evidence, body in zip(cells.classes, cells.evidence, cells.bodies, strict=True):
        found = {s for s, mask in zip(CHANNELS, evidence, strict=True) if mask.any()}
        assert found == STAINS[name]
        assert not (evidence.any(0) & ~body).any()


def test_evidence_is_brighter_than_the_rest_of_the_cell_in_its_stain() -> None:
    cells = simulate_cells("small", 80, seed=4)
    for pixels, evidence, body in zip(cells.pixels, cells.evidence, cells.bodies, strict=True):
        for channel, mask in zip(pixels.astype(float), evidence, strict=True):
            if mask.any():
                assert channel[mask].mean() > np.quantile(channel[body & ~mask], 0.8)


def test_the_same_seed_gives_the_same_cells_and_another_seed_others() -> None:
    one, same, other = (simulate_cells("shared", 8, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.pixels, same.pixels)
    assert (one.pixels != other.pixels).any()


def test_the_stripe_gives_the_class_away_only_where_it_leaks() -> None:
    fair, leaky = (simulate_cells("confounded", 300, 7, leaky=leaks) for leaks in (False, True))
    striped = {
        name: {
            k: cells.stripes[np.array(cells.classes) == k].any((1, 2)).mean()
            for k in DIFFICULTIES["confounded"]
        }
        for name, cells in {"fair": fair, "leaky": leaky}.items()
    }
    assert striped["leaky"] == {"none": 0, "asters": 0, LEAKING_CLASS: 1}
    assert all(0.2 < share < 0.5 for share in striped["fair"].values())
    foci = np.array(leaky.classes) == LEAKING_CLASS
    assert 0.35 < leaky.evidence[foci].any((1, 2, 3)).mean() < 0.65


def test_stripes_lie_outside_cells_and_only_add_light() -> None:
    cells = simulate_cells("confounded", 20, 8)
    striped = with_stripes(cells, 9)
    assert striped.stripes.any((1, 2)).all()
    assert (striped.stripes & cells.bodies).mean() < 0.01
    added = striped.pixels.astype(int) - cells.pixels
    new = added[:, 0] > 100
    assert not (new & ~striped.stripes).any()
    assert new.any((1, 2)).all()
    assert not added[:, 1:].any()


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted_benchmark, "DIFFICULTIES", dict.fromkeys(QUICKLY_LEARNT))
        run_planted(out, n_training=240, n_test=16, epochs=10, device="cpu")
    return out


def test_a_network_that_has_learnt_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train it on more cells"):
        run_planted(tmp_path, n_training=20, n_test=4, epochs=1, device="cpu")


def test_the_benchmark_writes_cells_truth_models_and_figures(benchmark: Path) -> None:
    found = json.loads((benchmark / "planted.json").read_text("utf-8"))
    assert [r["difficulty"] for r in found["difficulties"]] == list(QUICKLY_LEARNT)
    assert 0 <= found["confounder"]["told_apart"] <= 1
    for name in QUICKLY_LEARNT:
        assert (benchmark / name / "test" / "evidence" / "cells.ome.tif").is_file()
        assert load_model(benchmark / name / "model").spec.classes


def test_a_table_of_planted_cells_is_judged_by_its_masks(benchmark: Path, tmp_path: Path) -> None:
    cells = simulate_cells("plain", 12, 11)
    table = read_cell_table(write_planted(tmp_path / "cells", cells), to_train=False)
    model = load_model(benchmark / "plain" / "model")
    figures = evaluate_explanations(table, model, tmp_path, masks=tmp_path / "cells" / "evidence")
    judged = pd.read_csv(tmp_path / "explanations.csv")
    assert set(judged["method"]) == set(figures.costs["method"])
    assert len(judged) == 12 * len(figures.costs)
    with_evidence = cells.evidence.any((1, 2, 3))
    one = judged[judged["method"] == judged["method"][0]]
    np.testing.assert_array_equal(one["ebpg"].notna(), with_evidence)
    assert (tmp_path / "explanations.html").is_file()


def test_the_command_knows_what_benchmarks_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is: planted"):
        commands.benchmark("voc", tmp_path)


def test_the_command_judges_explanations_of_a_table(
    benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = benchmark / "plain" / "test" / "cells.csv"
    masks = benchmark / "plain" / "test" / "bodies"
    commands.evaluate(
        table, benchmark / "plain" / "model", tmp_path, explanations=True, masks=masks, device="cpu"
    )
    said = capsys.readouterr().out
    assert "Integrated Grad-CAM, paper, 20 steps: ebpg" in said
    assert "left out" not in said
    assert {f.name for f in tmp_path.iterdir()} >= {"explanations.html", "explanations.json"}
