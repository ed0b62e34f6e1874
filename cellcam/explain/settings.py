"""The keyword arguments of `IntegratedGradCAM`, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Literal, TypedDict, Unpack, get_args

from torch import Tensor

from cellcam.explain.baselines import Baseline
from cellcam.explain.integration.adaptive_steps import RtolOf, Tolerance
from cellcam.explain.integration.integral import Formula
from cellcam.explain.integration.quadrature import Method, Rule, quadrature_rule
from cellcam.explain.network.execution import Precision
from cellcam.explain.scores import Score

ProgressCallback = Callable[[int, int], object]

_DEFAULT_RTOL = 0.01
_DEFAULT_STEPS = 20


class Exactness(TypedDict, total=False):
    """The keyword arguments that say how exactly to integrate."""

    rtol: float | None
    method: Method | None
    n_steps: int | None


class SettingOptions(Exactness, total=False):
    """Names and types of the keyword arguments, for editors and type checkers."""

    baselines: Baseline
    rtol_of: RtolOf
    error_factor: float
    score: Score
    formula: Formula
    channels: Literal["each"] | None
    region: Tensor | None
    precision: Precision
    internal_batch_size: int | None
    upsample: bool
    progress: ProgressCallback | None


@dataclass(frozen=True)
class Settings:
    """Values of the keyword arguments of `IntegratedGradCAM.__call__`."""

    baselines: Baseline = "black"
    rtol: float | None = None
    rtol_of: RtolOf = "map"
    method: Method | None = None
    n_steps: int | None = None
    error_factor: float = 1.0
    score: Score = "logit"
    formula: Formula = "paper"
    channels: Literal["each"] | None = None
    region: Tensor | None = None
    precision: Precision = "float32"
    internal_batch_size: int | None = None
    upsample: bool = True
    progress: ProgressCallback | None = None

    @property
    def tolerance(self) -> Tolerance | None:
        """Error to reach; None where the number of steps is fixed."""
        if self.method is None and self.n_steps is None:
            return Tolerance(self.rtol or _DEFAULT_RTOL, self.rtol_of, self.error_factor)
        return None

    @property
    def rule(self) -> Rule:
        """Quadrature rule with a fixed number of steps; by default the paper's sum."""
        return quadrature_rule(self.method or "riemann_right", self.n_steps or _DEFAULT_STEPS)

    def changed(self, **changes: Unpack[SettingOptions]) -> Settings:
        """Settings with ``changes``; `TypeError` for unknown names, `ValueError` for values."""
        known = Settings.__dataclass_fields__
        if unknown := sorted(set(changes) - set(known)):
            raise TypeError(f"Unknown setting {', '.join(unknown)}. Known: {', '.join(known)}.")
        fixed = changes.get("method") is not None or changes.get("n_steps") is not None
        if changes.get("rtol") is None:
            return replace(replace(self, rtol=None) if fixed else self, **changes)
        if fixed:
            raise ValueError(
                "rtol asks for as many steps as the error needs, method and n_steps for a fixed "
                "number: give one or the other."
            )
        return replace(replace(self, method=None, n_steps=None), **changes)

    def __post_init__(self) -> None:
        choices = {"score": Score, "formula": Formula, "precision": Precision, "rtol_of": RtolOf}
        for name, kind in choices.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                options = ", ".join(get_args(kind))
                raise ValueError(f"{name}={value!r} is unknown. Choose one of {options}.")
        if self.channels not in (None, "each"):
            raise ValueError(f"channels={self.channels!r} is unknown: None or 'each'.")
        if self.rtol is not None and not 0 < self.rtol < 1:
            raise ValueError(f"rtol must lie between 0 and 1, as 0.01 does; got {self.rtol!r}.")
        if not 0 < self.error_factor < inf:
            raise ValueError(f"error_factor must be positive, not {self.error_factor!r}.")
        for name in ("n_steps", "internal_batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}.")
