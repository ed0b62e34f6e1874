"""Base of all that is stored in a model folder."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class PlainData(BaseModel):
    """Frozen, without NaN or infinity, and without entries that are not known here."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
