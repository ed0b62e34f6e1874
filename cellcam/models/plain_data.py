"""Base of the data classes that are stored in a model folder."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class PlainData(BaseModel):
    """Frozen data class that refuses NaN, infinity and unknown entries."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
