from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from support.models import untrained_model
from typer.testing import CliRunner

from cellcam import Request
from cellcam.cli_options import takes_request
from cellcam.models.bundle import save_model
from cellcam.names import joined_names, split_names

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)


@given(st.lists(names, min_size=1))
def test_joined_names_are_split_into_the_same_names(several: list[str]) -> None:
    assert list(split_names(joined_names(several))) == several
    assert list(split_names(joined_names(several, ", "))) == several


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A, B", ("A", "B")),
        ('"T cell, CD8+",other', ("T cell, CD8+", "other")),
        ('other, "T cell, CD8+"', ("other", "T cell, CD8+")),
        ("T cell, CD8+,other", ("T cell, CD8+", "other")),  # known, so no quotes are needed
        ("other,T cell, CD8+", ("other", "T cell, CD8+")),
        ("T cell, CD4+", ("T cell", "CD4+")),
        ("", ()),
        (None, ()),
    ],
)
def test_names_with_commas_are_quoted_or_known(text: str | None, expected: tuple[str, ...]) -> None:
    assert split_names(text, ("T cell, CD8+", "other")) == expected


@pytest.mark.fault(
    "A class or a channel has a comma in its name",
    "It can be chosen on the command line: in quotation marks, or as the model names it",
)
def test_classes_of_a_model_with_commas_are_chosen_on_the_command_line(tmp_path: Path) -> None:
    save_model(untrained_model(classes=("B cell", "T cell, CD8+")), tmp_path / "m")
    asked: list[Request] = []
    app = typer.Typer()

    @app.command()
    @takes_request
    def command(model: Annotated[Path, typer.Option()], request: Request) -> None:
        asked.append(request)

    for text in ("T cell, CD8+,B cell", '"T cell, CD8+",B cell'):
        words = ["--model", str(tmp_path / "m"), "--classes", text]
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert asked.pop().classes == ("T cell, CD8+", "B cell")
