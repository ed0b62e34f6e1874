"""The YAML file of a recipe, and what is wrong with it in plain words."""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from cellcam.errors import UsageError

# Kinds of pydantic's errors, and what they mean.
_MEANING = {
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "string_type": "is not text; put it in quotation marks",
    "tuple_type": "is not a list, such as [64, 64]",
    "model_type": "is not a list of settings",
    "model_attributes_type": "is not a list of settings",
    "path_type": "is not a path",
}
_LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


class Settings(BaseModel):
    """Frozen settings that refuse unknown names, NaN, infinity, and yes or no for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, content: object) -> object:
        for name, value in content.items() if isinstance(content, dict) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None and field.annotation is not bool:
                raise ValueError(
                    f"{name}: {value} is neither a number nor text; YAML reads yes, no, on and "
                    "off as true and false"
                )
        return content


class _Loader(yaml.SafeLoader):
    """YAML without settings that stand twice: the second would count, and nobody would know."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the setting {name} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def packaged(name: Path) -> Path | None:
    """File of a recipe that comes with CellCam, unless there is a file of that name."""
    if name.exists() or len(name.parts) != 1:
        return None
    # Beside the package in the repository, inside it where it is installed.
    package = Path(__file__).parents[1]
    folders = (package / "recipes", package.parent / "recipes")
    files = [folder / f"{name}.yaml" for folder in folders]
    return next((file for file in files if file.is_file()), None)


def recipe_content(path: Path) -> dict[str, object]:
    """Settings of a recipe file, not checked yet.

    Raises
    ------
    UsageError
        If it cannot be read, or is no list of settings.
    """
    try:
        content = yaml.load(path.read_text("utf-8-sig"), _Loader)
    except OSError as error:
        raise UsageError(f"Recipe {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"Recipe {path} is not UTF-8 text. Save it as UTF-8.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"Recipe {path} cannot be used: {_place_in_yaml(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UsageError(
            f"Recipe {path} cannot be used: it must be a list of settings, one in a line, such as "
            "epochs: 40"
        )
    return content


def _place_in_yaml(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}."
    return f"{error}."


def problems_in_words(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Each problem of a recipe as one line: the setting, its value, and what is allowed."""
    lines = [_in_words(problem, model) for problem in error.errors(include_url=False)]
    return list(dict.fromkeys(lines))


def _in_words(problem: Any, model: type[BaseModel]) -> str:
    kind, place = problem["type"], [str(part) for part in problem["loc"]]
    # Names of alternatives, such as "literal['auto','no']", are no part of a recipe.
    named = [part for part in place if part.isidentifier() or part.isdecimal()]
    setting = ".".join(named)
    if kind == "extra_forbidden":
        known = _settings(model, place[:-1])
        close = difflib.get_close_matches(place[-1], known, 1)
        hint = f"; did you mean {close[0]}?" if close else f". Settings are {', '.join(known)}."
        return f"{'.'.join(place)}: there is no such setting{hint}"
    if kind == "value_error":
        text = str(problem["ctx"]["error"]).rstrip(".")
        return f"{setting}: {text}." if setting else f"{text}."
    if kind == "missing":
        return f"{'.'.join(named[:-1])} needs {named[-1]}."
    value = repr(problem["input"])
    shown = value if len(value) <= 60 else f"{value[:57]}..."
    return f"{setting}: {shown} {_wrong(problem)}."


def _wrong(problem: Any) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    for word, text in _LIMITS.items():
        if word in context:
            return f"must be {text} {context[word]}"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    return _MEANING.get(kind, problem["msg"][:1].lower() + problem["msg"][1:])


def _settings(model: type[BaseModel], place: list[str]) -> list[str]:
    """Names of the settings at a place of the recipe."""
    for name in place:
        field = model.model_fields.get(name)
        annotation = field.annotation if field else None
        inner = [
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        model = inner[0] if inner else model
    return sorted(model.model_fields)
