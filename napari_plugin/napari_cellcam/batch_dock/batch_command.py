"""The ``cellcam batch`` command of the choices for a folder."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from cellcam.errors import UsageError
from cellcam.request import Request


@dataclass(frozen=True)
class BatchCommand:
    """A call of ``cellcam batch``.

    Attributes
    ----------
    folder, out, model : folders of the images, of the results, of the model
    request : what to do with every image
    labels : pattern of the user's label images, see ``--labels``; empty: cells are found
    device : auto, cpu, cuda, cuda:1 or mps
    more : further options, as in a terminal
    """

    folder: str
    out: str
    model: str
    request: Request = field(default_factory=Request)
    labels: str = ""
    device: str = "auto"
    more: str = ""

    def words(self) -> list[str]:
        """The command's words after ``cellcam``.

        Raises
        ------
        UsageError
            If the folder of the images or of the results is missing, or the further options cannot
            be split into words.
        """
        if not self.folder:
            raise UsageError("Choose the folder of the images.")
        if not self.out:
            raise UsageError("Choose a folder for the results.")
        words = ["batch", self.folder, "--model", self.model, "--out", self.out]
        words += self.request.words()
        if self.labels:
            words += ["--labels", self.labels]
        if self.device != "auto":
            words += ["--device", self.device]
        try:
            return words + shlex.split(self.more)
        except ValueError as error:
            raise UsageError(f"The further options cannot be read: {error}.") from error

    def text(self) -> str:
        """The command for a terminal; raises as `words`."""
        return shlex.join(["cellcam", *self.words()])
