from __future__ import annotations

import json
from typing import Annotated

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cellcam import ImageOptions, Request, ThresholdFinder
from cellcam.cli_options import takes_request
from cellcam.errors import UsageError

# Names that a shell and a comma-separated list can carry; commas and quotes are quoted.
names = st.text('abcDNA019_ -.,"', min_size=1).map(str.strip).filter(bool)
positive = st.floats(0.01, 1e6)


def optional(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


requests = st.builds(
    Request,
    image=st.builds(
        ImageOptions,
        axes=optional(st.sampled_from(["CYX", "TZYX"])),
        channels=optional(st.lists(names, min_size=1, max_size=3).map(tuple)),
        pixel_size_um=optional(positive | st.lists(positive, min_size=2, max_size=3).map(tuple)),
        series=optional(st.integers(0, 9)),
        tolerate_missing=st.booleans(),
    ),
    finder=st.builds(
        ThresholdFinder,
        channel=optional(names),
        diameter_um=optional(positive),
        diameter=optional(positive),
        threshold=optional(st.floats(-1e6, 1e6)),
    ),
    channel_map=st.dictionaries(names, names, max_size=3),
    t=optional(st.integers(0, 99)),
    z=optional(st.integers(0, 99) | st.sampled_from(["each", "max", "mean", "volume"])),
    classes=st.sampled_from(["predicted", "all"])
    | st.lists(names.filter(lambda n: n not in ("predicted", "all")), min_size=1, max_size=3),
    explained=st.floats(0, 1),
    rtol=st.floats(0.001, 0.5),
)


def read_back(words: list[str]) -> Request:
    """The request that a command receives for these words."""
    received: list[Request] = []
    app = typer.Typer()

    @app.command()
    @takes_request
    def command(request: Request, quiet: Annotated[bool, typer.Option()] = False) -> None:
        received.append(request)

    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return received[0]


@given(requests)
def test_words_ask_for_the_same_request(request: Request) -> None:
    assert read_back(request.words()) == request


@given(requests)
def test_the_description_is_plain_data(request: Request) -> None:
    assert json.loads(json.dumps(request.description())) == request.description()


def test_the_default_request_needs_no_words() -> None:
    assert Request().words() == []
    assert read_back([]) == Request()


@pytest.mark.parametrize(
    "changes",
    [
        {"z": "min"},
        {"z": -1},
        {"t": -1},
        {"classes": "best"},
        {"classes": ()},
        {"explained": 1.5},
        {"rtol": 0.0},
    ],
)
def test_values_without_sense_are_refused_at_once(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        Request(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"pixel_size_um": 0.0}, {"series": -1}])
def test_image_options_without_sense_are_refused_at_once(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        ImageOptions(**changes)  # type: ignore[arg-type]
