"""Every code block of README and site runs on sample data, or is known to need more than that."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer.main
from support.command_line import command_here
from support.pages import ROOT, blocks, calls, commands, pages, program, shorter

from cellcam.cli import add_commands_of_packages, app

# "sh" is not run: it installs, needs a cluster, or takes minutes. "text" is output.
LANGUAGES = {"python", "bash", "sh", "text"}
# Blocks without a language are diagrams and code that belongs to another file.
FREE = {
    "docs/architecture.md",
    "docs/evidence.md",
    "docs/performance.md",
    "docs/pictures/README.md",
}
RUN = [path for path in pages() if calls(path) or program(path)]


def test_every_block_says_what_it_is() -> None:
    wrong = [
        f"{block.page}:{block.line}: {block.language!r}"
        for path in pages()
        for block in blocks(path)
        if block.language not in LANGUAGES and block.page not in FREE
    ]
    assert wrong == []


def test_pages_with_instructions_are_run() -> None:
    assert {"README.md", "docs/howto/explain.md"} <= {str(path.relative_to(ROOT)) for path in RUN}
    assert len(RUN) >= 8


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample data that the pages use, and results of commands that they build on."""
    folder = tmp_path_factory.mktemp("sample")
    runpy.run_path(str(ROOT / "docs/examples/sample.py"))["main"](folder)
    for table in ("cells.csv", "other_plate.csv"):  # a few of them take less time
        cells = pd.read_csv(folder / table)
        cells.groupby(["plate", "cls"]).head(4).to_csv(folder / table, index=False)
    # A model "of their own" that readers are told to train first.
    shutil.copytree(folder / "my_model", folder / "mitosis")
    return folder


@pytest.mark.timeout(1800)  # a page has up to seven commands
@pytest.mark.filterwarnings("ignore")  # of other packages, as in a notebook
@pytest.mark.parametrize("page", RUN, ids=[str(path.relative_to(ROOT)) for path in RUN])
def test_blocks_of_the_page_run(
    page: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(sample, tmp_path / "here")
    monkeypatch.chdir(folder)
    for call in calls(page):
        if call[-1] == "cells.h5ad":
            pytest.importorskip("anndata")
        if call[0] == "train" and "mitosis/" in call:
            shutil.rmtree("mitosis")
        done = command_here(*shorter(call))
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    exec(compile(program(page), str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", pages(), ids=[str(path.relative_to(ROOT)) for path in pages()])
def test_commands_that_are_not_run_have_known_options(page: Path) -> None:
    known_commands = _commands()
    for block in blocks(page):
        if block.language in ("sh", "bash"):
            subprocess.run(["bash", "-n", "-c", block.text], check=True)
        if block.language == "sh":
            for name, *arguments in commands(block.text):
                command = known_commands[name]
                known = {option for parameter in command.params for option in parameter.opts}
                used = {word for word in arguments if word.startswith("--")}
                assert used <= known, f"{block.page}:{block.line}"


@cache
def _commands() -> dict[str, Any]:
    """All commands by name, those of the trainer included."""
    add_commands_of_packages()
    return typer.main.get_command(app).commands  # type: ignore[attr-defined]
