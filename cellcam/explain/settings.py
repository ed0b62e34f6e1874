"""The keyword arguments of a call, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from cellcam.explain.adaptive_steps import RtolOf, Tolerance
from cellcam.explain.execution import Precision
from cellcam.explain.integral import Formula
from cellcam.explain.path import Baseline
from cellcam.explain.quadrature import Method
from cellcam.explain.scores import Score

Progress = Callable[[int, int], object]

_DEFAULT_RTOL = 0.01
_DEFAULT_STEPS = 20


@dataclass(frozen=True)
class Settings:
    """How to explain; the names are those of the keyword arguments of `IntegratedGradCAM`."""

    baselines: Baseline = "black"
    rtol: float | None = None
    rtol_of: RtolOf = "map"
    method: Method | None = None
    n_steps: int | None = None
    score: Score = "logit"
    formula: Formula = "paper"
    channels: Literal["each"] | None = None
    precision: Precision = "float32"
    internal_batch_size: int | None = None
    upsample: bool = True
    progress: Progress | None = None

    @property
    def tolerance(self) -> Tolerance | None:
        """Error to reach, None where the number of steps is fixed."""
        if self.method is None and self.n_steps is None:
            return Tolerance(self.rtol or _DEFAULT_RTOL, self.rtol_of)
        return None

    @property
    def fixed_rule(self) -> tuple[Method, int]:
        """Name and number of steps of the quadrature rule; the paper's sum by default."""
        return self.method or "riemann_right", self.n_steps or _DEFAULT_STEPS


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """``settings`` with ``changes``, checked.

    Raises
    ------
    TypeError
        If a setting does not exist.
    ValueError
        If a value is not among those possible, or two exclude each other.
    """
    unknown = set(changes) - set(Settings.__dataclass_fields__)
    if unknown:
        known = ", ".join(Settings.__dataclass_fields__)
        raise TypeError(f"Unknown setting {', '.join(sorted(unknown))}. Known: {known}.")
    fixed = {key for key in ("method", "n_steps") if changes.get(key) is not None}
    if changes.get("rtol") is not None:
        if fixed:
            raise ValueError(
                "rtol asks for as many steps as the error needs, method and n_steps for a "
                "fixed number: give one or the other."
            )
        settings = replace(settings, method=None, n_steps=None)
    elif fixed:
        settings = replace(settings, rtol=None)
    settings = replace(settings, **changes)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    choices = {"score": Score, "formula": Formula, "precision": Precision, "rtol_of": RtolOf}
    for name, kind in choices.items():
        value = getattr(settings, name)
        if value not in get_args(kind):
            raise ValueError(
                f"{name}={value!r} is unknown. Choose one of {', '.join(get_args(kind))}."
            )
    if settings.channels not in (None, "each"):
        raise ValueError(f"channels={settings.channels!r} is unknown: None or 'each'.")
    if settings.rtol is not None and not 0 < settings.rtol < 1:
        raise ValueError(f"rtol must lie between 0 and 1, as 0.01 does; got {settings.rtol!r}.")
    if settings.n_steps is not None and settings.n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, not {settings.n_steps}.")
    if settings.internal_batch_size is not None and settings.internal_batch_size < 1:
        raise ValueError(
            f"internal_batch_size must be at least 1, not {settings.internal_batch_size}."
        )
