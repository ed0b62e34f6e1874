"""A certificate of a model: its list, its figures, and the files that hold them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import JsonValue

from cellcam.errors import UsageError
from cellcam.evaluate.classification import reliability
from cellcam.evaluate.degraded import DegradedPoint
from cellcam.models.bundle import METADATA, load_model
from cellcam.models.folder_files import read_json
from cellcam.models.model import CellModel
from cellcam.progress import Progress, nobody, staged
from cellcam.reporting.certificate_page import (
    CertificateItem,
    CertificatePage,
    write_certificate_page,
)
from cellcam.stacks.writing import write_json
from cellcam.versions import package_versions
from cellcam_training.judging.certificate_items import (
    STATED,
    measured_items,
    model_items,
    split_item,
    stated_items,
)
from cellcam_training.judging.classifier_evaluation import Evaluation, evaluate_model
from cellcam_training.judging.explanation_evaluation import sanity_checks
from cellcam_training.judging.robustness import degraded_points
from cellcam_training.tables.cell_table import CellTable

# Cells that are changed, and cells whose explanations are checked: what five minutes allow.
_CHANGED, _EXPLAINED = 600, 12
_VERSIONS = {"pytorch_version": "torch", "monai_version": "monai", "numpy_version": "numpy"}


def certify(
    folder: Path,
    table: CellTable,
    out: Path,
    about: Mapping[str, str],
    channels: tuple[str, ...] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[CertificateItem]:
    """Write ``certificate.html`` and ``certificate.json``, and the files of `evaluate_model`.

    Parameters
    ----------
    folder : of the model
    table : cells with their classes, best of images that had no part in the training
    out : folder for the results
    about : what only the user can know, by the names of `STATED`
    channels : names of the images' channels, overruling those in the files

    Returns
    -------
    the list, each item answered or marked missing

    Raises
    ------
    UsageError
        If ``about`` has an unknown name.
    InputError
        See `evaluate_model`.
    """
    check_about(about)
    report = progress or nobody
    model = load_model(folder, device)
    done = evaluate_model(table, model, out, channels, folder, progress)
    rows = np.sort(np.random.default_rng(0).permutation(len(done.predictions.truth))[:_CHANGED])
    truth, groups = done.predictions.truth[rows], done.predictions.groups[rows]
    changing = staged(progress, "changing images")
    points = degraded_points(model, np.asarray(done.crops.pixels[rows]), truth, groups, changing)
    report(0, 0, "sanity checks of explanations")
    shown = np.asarray(done.crops.pixels[rows[:: max(1, len(rows) // _EXPLAINED)][:_EXPLAINED]])
    called = torch.from_numpy(model.probabilities(shown).argmax(1))
    checks = sanity_checks(model, model.normalised(shown), called.to(model.device))
    items = [
        *model_items(model.spec, _versions(folder)),
        split_item(_split(folder), _validation_groups(model)),
        *measured_items(done.metrics, model.spec, points, checks),
        *stated_items(about),
    ]
    page = CertificatePage(
        folder.resolve().name,
        _subtitle(model, table),
        items,
        done.metrics,
        reliability(done.predictions.truth, done.predictions.probabilities),
        points,
        len(rows),
        checks,
        table.warnings,
    )
    write_certificate_page(out / "certificate.html", page)
    write_json(out / "certificate.json", _as_json(page, done, points, model))
    return items


def check_about(about: Mapping[str, str]) -> None:
    """Refuse statements that no item asks for."""
    unknown = [name for name in about if name not in STATED]
    if unknown:
        raise UsageError(f"--about {unknown[0]}: the names are {', '.join(STATED)}.")


def _subtitle(model: CellModel, table: CellTable) -> str:
    spec = model.spec
    return (
        f"{spec.network} that tells apart {', '.join(spec.classes)}; {len(table.rows)} cells of "
        f"{table.source.name}; {date.today().isoformat()}."
    )


def _versions(folder: Path) -> dict[str, str]:
    """Versions of the packages of the training, as the folder states them."""
    path = folder / METADATA
    content = read_json(path) if path.is_file() else None
    if not isinstance(content, dict):
        return {}
    own = content.get("required_packages_version")
    stated = own if isinstance(own, dict) else {}
    more = {name: content[key] for key, name in _VERSIONS.items() if key in content}
    return {name: str(version) for name, version in (stated | more).items()}


def _split(folder: Path) -> dict[str, int]:
    """Number of cells of each part of the training's table."""
    path = folder / "docs" / "split.csv"
    listed = pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else None
    if listed is None or "split" not in listed:
        return {}
    return dict(sorted(Counter(listed["split"]).items()))


def _validation_groups(model: CellModel) -> list[str]:
    groups = model.spec.training.get("validation_groups")
    return [str(group) for group in groups] if isinstance(groups, list) else []


def _as_json(
    page: CertificatePage, done: Evaluation, points: list[DegradedPoint], model: CellModel
) -> dict[str, JsonValue]:
    """Content of ``certificate.json``; what was not computed is not in it."""
    return {
        "format_version": 1,
        "model": page.model,
        "weights_sha256": model.spec.weights_sha256,
        "date": date.today().isoformat(),
        "versions": dict(package_versions(("cellcam", "torch", "monai", "numpy"))),
        "items": [asdict(item) | {"filled": item.is_filled} for item in page.items],
        "metrics": dict(done.metrics),
        "changed_cells": page.n_changed,
        "robustness": [point.as_json() for point in points],
        "explanations": [
            {
                "name": check.name,
                "expected": check.expected,
                "passed": check.passed,
                **{k: v for k, v in check.figure._asdict().items() if np.isfinite(v)},
            }
            for check in page.checks
        ],
        "warnings": list(page.warnings),
    }
