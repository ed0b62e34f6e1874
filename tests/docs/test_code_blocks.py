"""Every code block of README and site runs on sample data, or is known to need more than that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer.main
from support.pages import ROOT, blocks, commands, pages, script

from cellcam.cli import app

# "sh" is not run: it installs, needs a cluster, or takes minutes. "text" is output.
LANGUAGES = {"python", "bash", "sh", "text"}
# Blocks without a language are diagrams and code that belongs to another file.
FREE = {
    "docs/architecture.md",
    "docs/evidence.md",
    "docs/performance.md",
    "docs/pictures/README.md",
}
RUN = [path for path in pages() if script(path)]


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
    _run([sys.executable, str(ROOT / "docs/examples/sample.py")], folder)
    # A model "of their own" that readers are told to train first.
    shutil.copytree(folder / "my_model", folder / "mitosis")
    return folder


@pytest.mark.timeout(1800)  # a page has up to seven commands
@pytest.mark.parametrize("page", RUN, ids=[str(path.relative_to(ROOT)) for path in RUN])
def test_blocks_of_the_page_run(page: Path, sample: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sample, tmp_path / "here")
    text = script(page)
    if "--out mitosis/" in text:
        shutil.rmtree(folder / "mitosis")
    if "cellcam export results/" in text:
        pytest.importorskip("anndata")
    _run(["bash", "-c", text], folder)


@pytest.mark.parametrize("page", pages(), ids=[str(path.relative_to(ROOT)) for path in pages()])
def test_commands_that_are_not_run_have_known_options(page: Path) -> None:
    known_commands = _commands()
    for block in blocks(page):
        if block.language in ("sh", "bash"):
            _run(["bash", "-n", "-c", block.text], ROOT)
        if block.language == "sh":
            for name, *arguments in commands(block.text):
                command = known_commands[name]
                known = {option for parameter in command.params for option in parameter.opts}
                used = {word for word in arguments if word.startswith("--")}
                assert used <= known, f"{block.page}:{block.line}"


@cache
def _commands() -> dict[str, Any]:
    """All commands by name, those of the trainer included."""
    known = {command.name for command in app.registered_commands}
    for joined in entry_points(group="cellcam.commands"):
        if joined.name not in known:
            app.command(joined.name)(joined.load())
    return typer.main.get_command(app).commands  # type: ignore[attr-defined]


def _run(command: list[str], folder: Path) -> None:
    """Run it with this Python first in the path; the output is shown if it fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Threads that wait must not keep the cores from other tests.
    calm = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "MPLBACKEND": "agg"}
    environment = {**os.environ, **calm, "PATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
