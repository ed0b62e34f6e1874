"""The points of a certificate, after QUAREP-LiMi's checklist for machine-learning workflows.

Each is answered by what was measured, by what the model folder states, or by the user; or it says
what is missing. https://doi.org/10.1038/s41592-023-01987-9
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cellcam import __version__
from cellcam.evaluate.degraded import DegradedPoint
from cellcam.evaluate.sanity import SanityCheck
from cellcam.models.spec import ModelSpec
from cellcam.reporting.certificate_page import CertificateItem, Level
from cellcam_training.judging.predictions import Metrics

METHOD = (
    "CellCam explains by Integrated Grad-CAM: Sattarzadeh et al., ICASSP 2021, "
    "https://doi.org/10.1109/ICASSP39728.2021.9415064."
)
# What only the user can know: name for --about, level, and what is asked.
STATED: dict[str, tuple[Level, str]] = {
    "model": ("minimal", "where others can get the model"),
    "test data": ("minimal", "where others can get images to test it on"),
    "training data": ("recommended", "where others can get the training images and labels"),
    "labelling": ("recommended", "who gave the classes, and by which rules"),
    "computer": ("recommended", "on what computer it was trained"),
    "code": ("recommended", "where the code of the workflow is archived"),
    "container": ("recommended", "a container or web service that runs the workflow"),
    "limitations": ("recommended", "for which images and questions it must not be used"),
    "licence of the model": ("asked for as well", "terms of use of the model"),
    "licence of the training data": ("asked for as well", "terms of use of the training images"),
    "licence of the test data": ("asked for as well", "terms of use of the test images"),
}


def stated_items(about: Mapping[str, str]) -> list[CertificateItem]:
    """Items that only the user can answer."""
    items = []
    for name, (level, asks) in STATED.items():
        given = about.get(name, "")
        missing = "" if given else f'Say {asks}: --about "{name}=..."'
        items.append(CertificateItem(name, level, (given,) if given else (), missing))
    return items


def model_items(spec: ModelSpec, versions: Mapping[str, str]) -> list[CertificateItem]:
    """What the model folder states about the model and its training.

    Parameters
    ----------
    versions : of the packages of the training; empty where the folder does not say
    """
    training = spec.training
    recipe = _entries(training.get("recipe"))
    size = " x ".join(map(str, spec.crop_size))
    network = f"{spec.network}, {spec.spatial_dims}-D, crops of {size} pixels of the channels "
    method = (f"{network}{', '.join(spec.channels)}.", f"CellCam {__version__}. {METHOD}")
    counts = _entries(training.get("cells"))
    cells = [f"{n} {name}" for name, n in counts.items()]
    chosen = [f"{name}: {value}" for name, value in _settings(recipe)]
    times = [
        f"{training[name]} {unit}"
        for name, unit in (("epochs", "epochs"), ("seconds", "seconds"))
        if isinstance(training.get(name), int | float)
    ]
    used = [f"{name} {version}" for name, version in versions.items()]
    return [
        CertificateItem("method", "minimal", method),
        _item("weights", [f"sha256 {spec.weights_sha256}."], "minimal"),
        _item("training cells", [f"{', '.join(cells)}."] if cells else [], "recommended"),
        _item("hyperparameters", [f"{'; '.join(chosen)}."] if chosen else [], "recommended"),
        _item("training time", [f"{', '.join(times)}."] if times else [], "recommended"),
        _item("versions at training", [f"{', '.join(used)}."] if used else [], "recommended"),
        _validation_item(training),
    ]


def split_item(split: Mapping[str, int], groups: Sequence[str]) -> CertificateItem:
    """How the cells of the training were divided.

    Parameters
    ----------
    split : number of cells of each part, as ``docs/split.csv`` names it; empty without that file
    groups : plates, movies or patients that were kept for validation
    """
    if not split:
        return _item("split", [], "recommended")
    answers = [f"{', '.join(f'{n} {name}' for name, n in split.items())}."]
    named = [group for group in groups if group]
    if named:
        answers.append(f"Whole groups were kept for validation: {', '.join(named)}.")
    else:
        answers.append("Single cells, without groups: neighbours may be on both sides.")
    return CertificateItem("split", "recommended", tuple(answers))


def measured_items(
    metrics: Metrics,
    spec: ModelSpec,
    points: Sequence[DegradedPoint],
    checks: Sequence[SanityCheck],
) -> list[CertificateItem]:
    """What was measured on the cells of the table."""
    return [
        _performance_item(metrics),
        CertificateItem("calibration", "recommended", _calibration(metrics, spec)),
        CertificateItem("robustness", "recommended", tuple(_weakest(points))),
        _unlike_item(spec, points[0]),
        _sanity_item(checks),
        _item(
            "note of the model", [spec.note] if spec.note else [], "recommended", "none is stored"
        ),
    ]


def _calibration(metrics: Metrics, spec: ModelSpec) -> tuple[str, ...]:
    return (
        f"Calibration error {metrics['ece']:.3f}; temperature {spec.temperature:.3g}.",
        f"Calls below {spec.uncertain_below:.2f} are flagged as uncertain.",
    )


def _performance_item(metrics: Metrics) -> CertificateItem:
    interval = metrics["intervals"]["balanced_accuracy"]
    sure = f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    recalls = {
        name: figures["recall"]
        for name, figures in metrics["per_class"].items()
        if figures["recall"] is not None
    }
    worst = min(recalls, key=lambda name: recalls[name])
    answers = (
        f"{metrics['n']} cells: balanced accuracy {metrics['balanced_accuracy']:.3f}{sure}.",
        f"Accuracy {metrics['accuracy']:.3f}, macro F1 {metrics['macro_f1']:.3f}.",
        f"Found least often: {worst}, {recalls[worst]:.0%} of its cells.",
    )
    seen = metrics["trained_on"]
    if seen == 0:
        return CertificateItem("performance on new cells", "recommended", answers)
    why = (
        "The model folder does not say which cells it was trained on, so that these may be among "
        "them. Train with this version of CellCam."
        if seen is None
        else f"The model was trained on {seen} of these cells: the figures are too good. Give a "
        "table of cells that had no part in the training (--data)."
    )
    return CertificateItem("performance on new cells", "recommended", answers, why)


def _validation_item(training: Mapping[str, Any]) -> CertificateItem:
    """Figures on the cells that the training kept for validation."""
    metrics = _entries(training.get("validation"))
    figures = {
        name: metrics[name]
        for name in ("balanced_accuracy", "accuracy", "macro_f1", "ece")
        if isinstance(metrics.get(name), float)
    }
    listed = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items()]
    interval = _entries(metrics.get("intervals")).get("balanced_accuracy")
    if listed and isinstance(interval, list) and len(interval) == 2:
        listed[0] += f" ({interval[0]:.3f} to {interval[1]:.3f})"
    answers = [f"{metrics.get('n', '?')} cells: {', '.join(listed)}."] if listed else []
    return _item("validation at training", answers, "recommended")


def _weakest(points: Sequence[DegradedPoint]) -> list[str]:
    """For each kind of change, the level that costs most, and whether it is noticed."""
    usual, sentences = points[0], []
    for kind in dict.fromkeys(point.kind for point in points[1:]):
        worst = min(
            (point for point in points if point.kind == kind), key=lambda p: p.balanced_accuracy
        )
        fall = f"{worst.balanced_accuracy:.2f} instead of {usual.balanced_accuracy:.2f}"
        text = f"{worst.name[0].upper()}{worst.name[1:]}: balanced accuracy {fall}"
        if worst.flagged is not None:
            text += f", {worst.flagged:.0%} of the cells are flagged"
        sentences.append(f"{text}.")
    return sentences


def _unlike_item(spec: ModelSpec, usual: DegradedPoint) -> CertificateItem:
    name = "cells unlike the training"
    if usual.flagged is None or spec.known_cells is None:
        return _item(name, [], "recommended", "the model does not know its training cells")
    answer = (
        f"{usual.flagged:.1%} of these cells are flagged as unlike those of the training; of cells "
        f"of the training's own images it would be {spec.known_cells.false_alarms:.0%}."
    )
    return CertificateItem(name, "recommended", (answer,))


def _sanity_item(checks: Sequence[SanityCheck]) -> CertificateItem:
    passed = [check for check in checks if check.passed]
    answers = [f"{len(passed)} of {len(checks)} sanity checks passed."]
    answers += [
        f"Failed: {check.name} is {check.figure.value:.3g}, expected {check.expected}."
        for check in checks
        if not check.passed
    ]
    return CertificateItem("explanations", "recommended", tuple(answers))


def _item(
    name: str, answers: Sequence[str], level: Level, why: str = "the model folder does not say"
) -> CertificateItem:
    """An item that is missing where there is no answer."""
    missing = "" if answers else f"{why[0].upper()}{why[1:]}."
    return CertificateItem(name, level, tuple(answers), missing)


def _entries(value: object) -> Mapping[str, Any]:
    """Entries of a folder that may be anyone's."""
    return value if isinstance(value, dict) else {}


def _settings(recipe: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Settings of a recipe that say something, those of its parts one by one."""
    flat: list[tuple[str, object]] = []
    for name, value in recipe.items():
        inner = [(f"{name} {part}", v) for part, v in _entries(value).items()]
        flat += inner or [(name, value)]
    said = [(name, value) for name, value in flat if value not in (None, "")]
    return [(n, ", ".join(map(str, v)) if isinstance(v, list) else v) for n, v in said]
