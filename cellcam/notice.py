"""The notice that every result, report and model folder carries."""

from __future__ import annotations

RESEARCH_USE = "For research use only: the results are no diagnosis."
