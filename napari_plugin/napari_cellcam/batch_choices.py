"""What the user chose for a folder, as the command that does it. No Qt here."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from cellcam.errors import UsageError


@dataclass(frozen=True)
class BatchChoices:
    """One set of choices.

    Attributes
    ----------
    folder, out, model : of the images, of the results, of the model
    explained : part of the cells that are explained, 0 to 1
    labels : where the user's own label images are, as the command has it; empty finds the cells
    z : projection of stacks; None leaves it to the model
    device : auto, cpu, cuda, cuda:1 or mps
    more : other options, as they are written in a terminal
    """

    folder: str
    out: str
    model: str
    explained: float = 1.0
    labels: str = ""
    z: str | None = None
    device: str = "auto"
    more: str = ""

    def words(self) -> list[str]:
        """The command's words after ``cellcam``.

        Raises
        ------
        UsageError
            If something that is needed was not chosen.
        """
        if not self.folder:
            raise UsageError("Choose the folder of the images.")
        if not self.out:
            raise UsageError("Choose a folder for the results.")
        words = ["batch", self.folder, "--model", self.model, "--out", self.out]
        if self.explained < 1:
            words += ["--explain", f"{self.explained:g}"]
        if self.labels:
            words += ["--labels", self.labels]
        if self.z is not None:
            words += ["--z", self.z]
        if self.device != "auto":
            words += ["--device", self.device]
        try:
            return words + shlex.split(self.more)
        except ValueError as error:
            raise UsageError(f"The further options cannot be read: {error}.") from error

    def command(self) -> str:
        """The command, for a terminal; errors of `words`."""
        return shlex.join(["cellcam", *self.words()])
