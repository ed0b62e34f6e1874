"""Results as they come: Markdown for docs/performance.md, all figures as JSON, the time left."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path


class Missing(Exception):  # noqa: N818 - not an error: a part that is left out
    """A package that a part needs is not installed."""


class Report:
    """Writes lines to the screen and to ``gpu.md`` at once, and all figures to ``gpu.json``.

    Parameters
    ----------
    folder : made if it is not there
    budget : seconds for everything
    """

    def __init__(self, folder: Path, budget: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.budget = folder, budget
        self.figures: dict[str, object] = {}
        self.failed: list[str] = []
        self._started = time.monotonic()
        (folder / "gpu.md").write_text("", "utf-8")

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - (time.monotonic() - self._started)

    def line(self, text: str = "") -> None:
        """Write a line."""
        print(text, flush=True)
        with (self.folder / "gpu.md").open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def table_head(self, *names: str) -> None:
        """Begin a table."""
        self.line()
        self.row(*names)
        self.line("|" + "---|" * len(names))

    def row(self, *values: object) -> None:
        """Write a row of a table."""
        self.line("| " + " | ".join(map(str, values)) + " |")

    def keep(self, name: str, value: object) -> None:
        """Keep a figure, and write all of them."""
        self.figures[name] = value
        content = json.dumps(self.figures, indent=1, default=str)
        (self.folder / "gpu.json").write_text(content, "utf-8")

    def fail(self, why: str) -> None:
        """Note that something is wrong; the script ends with status 1."""
        self.failed.append(why)
        self.line(f"\n**FAILED: {why}**")

    def section(self, title: str, seconds: float, part: Callable[[], object]) -> None:
        """Run a part that takes about so many seconds, if the budget allows.

        If it fails, the others go on.
        """
        self.line(f"\n### {title}\n")
        if self.left < seconds:
            self.line(f"Skipped: {self.left:.0f} s of the budget are left, {seconds:.0f} needed.")
            return
        started = time.monotonic()
        try:
            part()
        except (Missing, ImportError) as missing:
            self.line(f"Left out: not installed ({missing}).")
        except Exception as error:  # noqa: BLE001 - the other sections go on
            last = traceback.format_exc().strip().splitlines()
            self.keep(f"error in {title}", last)
            self.line("```\n" + "\n".join(last[-12:]) + "\n```")
            self.fail(f"{title}: {type(error).__name__}: {str(error).splitlines()[:1]}")
        self.keep(f"seconds of {title}", round(time.monotonic() - started, 1))

    def end(self) -> int:
        """Write what failed; returns the exit status."""
        spent = self.budget - self.left
        self.keep("failed", self.failed)
        self.line(f"\n{spent:.0f} s in all. " + ("All checks passed." if not self.failed else ""))
        for why in self.failed:
            self.line(f"- FAILED: {why}")
        return 1 if self.failed else 0


def significant(value: float, digits: int = 3) -> str:
    """Number with so many digits, thousands separated: ``12,300``."""
    if value == 0 or value != value:
        return str(value)
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:g}"


def percent(share: float) -> str:
    """Percent, empty for NaN."""
    return "" if share != share else f"{share:.1%}"


def joined(values: Sequence[object]) -> str:
    """Values with commas between."""
    return ", ".join(map(str, values))
