from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.html import Tags

from cellcam.evaluate.metrics import METRICS
from cellcam.evaluate.sanity import SanityCheck
from cellcam.evaluate.statistics import Mean
from cellcam.reporting.cell_pictures import ShownCell
from cellcam.reporting.explanation_page import ExplanationReport, verdict, write_explanation_page

OURS, PEER = "Integrated Grad-CAM, 1 %", "<b>peer</b>"


def written(folder: Path, **changes: object) -> str:
    random = np.random.default_rng(0)
    rows = []
    for metric in ("ebpg", "drop"):
        for method, difference, p in ((OURS, 0.0, np.nan), (PEER, 0.2, 0.01)):
            figures = {"mean": 0.5, "low": 0.4, "high": 0.6, "difference": difference, "p": p}
            rows.append({"method": method, "metric": metric, **figures})
    cell = ShownCell(random.integers(0, 999, (2, 20, 30)), random.random((2, 20, 30)), "a & b")
    check = SanityCheck("fall", Mean(0.123456, 0.1, 0.2), "at least 0.3", passed=False)
    parts = {"deep inside": [0.5], "rim": [0.3], "outside": [0.2]}
    content = {
        "title": "Maps",
        "subtitle": "of two methods",
        "reference": OURS,
        "summary": pd.DataFrame(rows),
        "costs": pd.DataFrame(
            {"method": [OURS, PEER], "source": "here", "seconds": [0.01, 0.002], "empty": 0.25}
        ),
        "checks": [check],
        "truth": "a mask",
        "seen_through": "Images are hidden.",
        "examples": [cell],
        "example_methods": [OURS, PEER],
        "class_pictures": [cell],
        "channels": ["DNA"],
        "places": pd.DataFrame({"class": ["G1"], "n": [7], **parts}),
        "typical": [cell],
        "doubtful": [cell],
        **changes,
    }
    write_explanation_page(folder / "report.html", ExplanationReport(**content))
    return (folder / "report.html").read_text("utf-8")


def test_the_page_refers_to_nothing_outside_and_runs_nothing(tmp_path: Path) -> None:
    page = written(tmp_path)
    tags = Tags(page)
    assert "script" not in tags.names
    assert all(link.startswith(("data:", "#")) for link in tags.links)
    assert PEER not in page


def test_figures_and_failed_checks_are_on_the_page(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "0.1235" in page
    assert "✗ failed" in page
    assert "25 %" in page
    # Each once in the table (EBPG better, Drop % worse) and once in the legend.
    assert (page.count("▼"), page.count("▲")) == (2, 2)


def test_sections_without_content_are_left_out(tmp_path: Path) -> None:
    page = written(tmp_path, examples=(), class_pictures=(), places=None, typical=(), doubtful=())
    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        "The methods side by side",
        "What a map costs",
        "Do the maps depend on the network?",
    ]


@pytest.mark.parametrize(
    ("metric", "difference", "p", "expected"),
    [
        ("ebpg", 0.1, 0.01, "better"),
        ("ebpg", -0.1, 0.01, "worse"),
        ("drop", 0.1, 0.01, "worse"),
        ("drop", -0.1, 0.01, "better"),
        ("drop", -0.1, 0.2, ""),
        ("ebpg", 0.0, np.nan, ""),
    ],
)
def test_the_verdict_follows_the_direction_of_the_metric(
    metric: str, difference: float, p: float, expected: str
) -> None:
    known = {m.name: m for m in METRICS}
    assert verdict(difference, p, known[metric]) == expected
