from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image
from support.html import Tags

from cellcam.evaluate.classification import (
    bootstrap_intervals,
    classification_metrics,
    reliability,
)
from cellcam.reporting.cell_pictures import ShownCell
from cellcam.reporting.classifier_page import ClassifierReport, write_classifier_page

CLASSES = ("G1", "<script>alert(1)</script>")


def written(folder: Path, **changes: object) -> str:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 60)
    probabilities = random.dirichlet([1, 1], 60)
    metrics = classification_metrics(truth, probabilities, CLASSES)
    metrics["intervals"] = bootstrap_intervals(truth, probabilities.argmax(1), CLASSES)
    cell = ShownCell(random.integers(0, 999, (2, 20, 30)), random.random((2, 20, 30)), "a & b")
    content = {
        "title": "A model",
        "subtitle": "of two classes",
        "classes": CLASSES,
        "metrics": metrics,
        "reliability": reliability(truth, probabilities),
        "judged_on": "made up",
        "history": [
            {"epoch": i, "training_loss": 1 / i, "validation_loss": 2 / i, "balanced_accuracy": 0.5}
            for i in (1, 2, 3)
        ],
        "looked_at": [cell],
        "mistakes": [cell, cell],
        **changes,
    }
    write_classifier_page(folder / "report.html", ClassifierReport(**content))
    return (folder / "report.html").read_text("utf-8")


def test_the_page_refers_to_nothing_outside_and_runs_nothing(tmp_path: Path) -> None:
    tags = Tags(written(tmp_path))
    assert "script" not in tags.names
    assert tags.links
    assert all(link.startswith(("data:", "#")) for link in tags.links)


def test_numbers_on_the_page_are_those_that_were_measured(tmp_path: Path) -> None:
    page = written(tmp_path)
    confusion = re.search(r'<table class="confusion">(.*?)</table>', page, re.S)
    cells = [int(n) for n in re.findall(r"<td[^>]*>(\d+)</td>", confusion[1])]
    assert len(cells) == 4
    assert sum(cells) == 60
    assert f"<b>{(cells[0] + cells[3]) / 60:.3f}</b>" in page


def test_pictures_show_the_cell_and_its_evidence_side_by_side(tmp_path: Path) -> None:
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", written(tmp_path))
    assert len(pictures) == 3
    picture = Image.open(io.BytesIO(base64.b64decode(pictures[0])))
    assert picture.size == (3 * 30 + 2 * 2, 20)


def test_sections_without_content_are_left_out(tmp_path: Path) -> None:
    page = written(tmp_path, history=(), looked_at=(), mistakes=())
    assert "How it was trained" not in page
    assert "surest mistakes" not in page


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path) == written(tmp_path)
