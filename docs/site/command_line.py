"""Hook of the site: the page of the command line, written from the program's own help."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import typer.main
from mkdocs.structure.pages import Page

from cellcam.cli import app


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill in the commands."""
    if "<!-- commands -->" not in markdown:
        return markdown
    known = {command.name for command in app.registered_commands}
    for joined in entry_points(group="cellcam.commands"):
        if joined.name not in known:
            app.command(joined.name)(joined.load())
    commands = typer.main.get_command(app).commands
    sections = [_section(name, command) for name, command in commands.items()]
    return markdown.replace("<!-- commands -->", "\n".join(sections))


def _section(name: str, command: Any) -> str:
    """One command: what it does, and its arguments and options as a table."""
    usage = " ".join(["cellcam", name, *(_placeholder(p) for p in command.params if _required(p))])
    rows = "\n".join(_row(parameter) for parameter in command.params if parameter.name != "help")
    return (
        f"## cellcam {name}\n\n{command.help}\n\n```text\n{usage}\n```\n\n"
        f"| argument or option | meaning | default |\n|---|---|---|\n{rows}\n"
    )


def _required(parameter: Any) -> bool:
    return parameter.param_type_name == "argument" or parameter.required


def _placeholder(parameter: Any) -> str:
    name = parameter.name.upper()
    if parameter.param_type_name == "argument":
        return name if parameter.required else f"[{name}]"
    return f"{parameter.opts[0]} {name}"


def _row(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    name = parameter.name.upper() if is_argument else ", ".join(parameter.opts)
    default = "" if parameter.default in (None, False, [], ()) else f"`{parameter.default}`"
    if parameter.required:
        default = "required"
    text = (parameter.help or "").replace("|", "\\|").replace("\n", " ")
    return f"| `{name}` | {text} | {default} |"
