"""A project: a folder with corrections, models, and what was open. No Qt here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cellcam.errors import CellCamError, InputError
from napari_cellcam.state.corrections import TABLE, Corrections
from napari_cellcam.state.explanation_choices import ExplanationChoices

if TYPE_CHECKING:
    from pydantic import JsonValue

    from cellcam.models.network_input import Planes

_FILE = "project.json"


@dataclass
class Opened:
    """What was open: enough to open it again.

    Attributes
    ----------
    images : files of the open images
    model : folder of the model; empty while there is none
    draft : the classifier that is not trained yet, as plain data; None with a model
    layers : name of the layer of each channel
    planes : what is done with planes, as `ModelSpec.field` says it; empty: as the model was trained
    explaining : how cells are explained
    """

    images: list[str] = field(default_factory=list)
    model: str = ""
    draft: dict[str, JsonValue] | None = None
    layers: dict[str, str] = field(default_factory=dict)
    planes: Planes | Literal[""] = ""
    explaining: ExplanationChoices = field(default_factory=ExplanationChoices)


class Project:
    """Corrections and models of one piece of work. The folder is made with the first of them.

    Parameters
    ----------
    folder : of the project
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.corrections = Corrections(folder)
        self._remembered: dict[str, object] = {}

    @classmethod
    def new(cls, projects: Path) -> Project:
        """A new project, named by date and time, in the folder of all projects."""
        name = f"{datetime.now():%Y-%m-%d %H.%M}"
        n = 1
        while (projects / (unused := name if n == 1 else f"{name} ({n})")).exists():
            n += 1
        return cls(projects / unused)

    @classmethod
    def open(cls, folder: Path) -> tuple[Project, Opened]:
        """A project of before, and what was open then.

        Raises
        ------
        InputError
            If the folder is no project, or a file of it cannot be read.
        """
        project = cls(folder)
        try:
            stored = json.loads((folder / _FILE).read_text("utf-8"))
            explaining = ExplanationChoices(**stored.pop("explaining", {}))
            opened = Opened(**stored, explaining=explaining)
        except (OSError, AttributeError, ValueError, TypeError) as error:
            raise InputError(f"{folder} is no project of CellCam: {error}") from error
        if (folder / TABLE).is_file():
            project.corrections.load(folder)
        return project, opened

    def remember(self, opened: Opened) -> None:
        """Write down what is open, if it is something else than before."""
        from cellcam.stacks.writing import write_json

        stored = asdict(opened)
        if stored != self._remembered:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / _FILE, stored)
            self._remembered = stored

    def move(self, folder: Path) -> None:
        """Go on in another folder: corrections are written there; models stay where they are."""
        self.folder = self.corrections.folder = folder
        self._remembered = {}
        self.corrections.write_all()

    def new_model(self) -> Path:
        """Folder for the next model, which does not exist yet."""
        models = self.folder / "models"
        n = 1
        while any((models / f"model {n}{part}").exists() for part in ("", ".cells", ".training")):
            n += 1
        return models / f"model {n}"

    def models(self) -> list[Path]:
        """Folders of the models trained so far, the latest first."""
        found = [path.parent.parent for path in self.folder.glob("models/*/configs/inference.json")]
        return sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)


def model_line(folder: Path) -> str:
    """A model in one line: name, day, cells, accuracy on cells that it had not seen."""
    from cellcam.models.bundle import read_spec

    try:
        training = read_spec(folder).training
    except CellCamError:
        return f"{folder.name} (cannot be read)"
    day = datetime.fromtimestamp(folder.stat().st_mtime)
    cells, validation = training.get("cells"), training.get("validation")
    n = sum(v for v in cells.values() if isinstance(v, int)) if isinstance(cells, dict) else 0
    accuracy = validation.get("balanced_accuracy") if isinstance(validation, dict) else None
    told = f", {accuracy:.0%} right" if isinstance(accuracy, float) else ""
    return f"{folder.name}: {day:%d %b %H:%M}, {n} cells{told}"


def missing_files(paths: Sequence[str]) -> list[str]:
    """Files of a project that are not there any more."""
    return [path for path in paths if not Path(path).exists()]
