"""How cells are explained: the user's choices, and what they mean in words. No Qt here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellcam.request import DEFAULT_RTOL

if TYPE_CHECKING:
    from cellcam.explain.settings import Exactness
    from cellcam.models.model import CellModel
    from cellcam.models.spec import ModelSpec

# What each choice means, one sentence each.
FORMULAS: dict[str, str] = {
    "complete": "Every place gets its part of the score; all parts add up to it.",
    "paper": "As published: features that raise the score in the mean of the cell, where they lie.",
}
BASELINES: dict[str, str] = {
    "background": "From the level at the crop's border: only what differs from empty field counts.",
    "black": "From a black image: all light counts, that of the empty field too.",
    "blur": "From a blurred cell: fine structure counts; brightness and size do not.",
}
ADAPTIVE = "As many points as this error needs, cell by cell."
FIXED = "The same number of points for every cell, as published; the error comes as it may."
OF_DIFFERENCES = (
    "Why this and not that is always by the complete formula, to an error of 10 % unless the "
    "number of steps is fixed."
)


@dataclass(frozen=True)
class ExplanationChoices:
    """How cells are explained, as far as it differs from what the model says.

    Attributes
    ----------
    formula, baseline, layer : see `ModelSpec`; None: as the model says
    n_steps : steps of the paper's sum; None: as many as the error needs
    rtol : this error, see `Request`
    """

    formula: str | None = None
    baseline: str | None = None
    layer: str | None = None
    n_steps: int | None = None
    rtol: float = DEFAULT_RTOL

    def applied_to(self, model: CellModel) -> CellModel:
        """The model with these choices; the model itself where nothing differs."""
        named = {"formula": self.formula, "baseline": self.baseline, "target_layer": self.layer}
        changes = {name: value for name, value in named.items() if value is not None}
        return model.with_spec(**changes) if changes else model

    def exactness(self, rtol: float) -> Exactness:
        """Settings of the integration, to an error of ``rtol`` unless the steps are fixed."""
        return {"n_steps": self.n_steps} if self.n_steps else {"rtol": rtol}

    def text(self, spec: ModelSpec) -> str:
        """All of it in words; empty where nothing differs from what the model says."""
        if self == ExplanationChoices():
            return ""
        formula, baseline = self.formula or spec.formula, self.baseline or spec.baseline
        how = f"{self.n_steps} steps" if self.n_steps else f"error {100 * self.rtol:g} %"
        return f"{formula} formula at {self.layer or spec.target_layer}, from {baseline}, {how}"

    def not_in_command(self) -> Iterator[str]:
        """What no option of ``cellcam explain`` says, one sentence each."""
        named = {"formula": self.formula, "baseline": self.baseline, "layer": self.layer}
        for what, value in named.items():
            if value is not None:
                yield f"The {what} {value}: the command explains as the model says."
        if self.n_steps is not None:
            yield f"The paper's sum of {self.n_steps} steps: the command asks for an error instead."
