from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import random_network
from torch import Tensor, nn
from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric

from cellcam.evaluate.faithfulness import (
    class_probability,
    confidence_change,
    insertion_and_deletion,
    seen_through,
)


class Given:
    """What torchcam takes for an extractor: it hands over maps that are there."""

    def __init__(self, network: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = network, maps

    def __call__(self, *_: Any, **__: Any) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> Any:
        return nullcontext()


@st.composite
def judged(draw: Any) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A network in float64, images, classes and maps without equal values, largest value 1."""
    network, x = random_network(draw)
    classes = torch.randint(0, network.eval()(x).shape[1], (len(x),))
    n_pixels = x[0, 0].numel()
    maps = torch.stack([torch.randperm(n_pixels) + 1.0 for _ in x]).double() / n_pixels
    return network, x, classes, maps.view(len(x), *x.shape[2:])


@given(judged())
@settings(max_examples=25)
def test_drop_and_increase_are_those_of_torchcam(given: Any) -> None:
    network, x, classes, maps = given
    peer = ClassificationMetric(Given(network, maps), lambda scores: scores.softmax(-1))
    peer.update(x, classes.tolist())
    ours = confidence_change(class_probability(network), x, classes, maps, torch.zeros(1))
    # torchcam divides by p + 1e-7.
    assert ours.drop.mean().item() == pytest.approx(peer.summary()["avg_drop"], abs=1e-6)
    assert ours.increase.mean().item() == peer.summary()["conf_increase"]


@given(judged(), st.integers(2, 6))
@settings(max_examples=8)
def test_insertion_and_deletion_are_those_of_torchcam(given: Any, n_steps: int) -> None:
    network, x, classes, maps = given
    n_pixels = maps[0].numel()
    n_steps = max(d for d in range(1, n_steps + 1) if n_pixels % d == 0)
    probability = class_probability(network)
    baseline = torch.full((1, x.shape[1], *[1] * (x.ndim - 2)), 0.3, dtype=x.dtype)
    peer = DeletionInsertionMetric(
        Given(network, maps), lambda scores: scores.softmax(-1), steps=n_steps, baseline=baseline
    )
    peer.update(x, classes.tolist())
    ours = insertion_and_deletion(probability, x, classes, maps, baseline, n_steps)
    summary = peer.summary()
    for name, value in zip(("insertion", "deletion"), ours, strict=True):
        theirs = next(v for k, v in summary.items() if name in k)
        assert value.mean().item() == pytest.approx(theirs, abs=1e-6)


def test_pixels_are_hidden_in_raw_counts() -> None:
    raw = torch.tensor([[[[100.0, 300.0], [50.0, 0.0]]]])
    maps = torch.tensor([[[2.0, 1.0], [0.0, 4.0]]])
    normalised = (raw - 80) / 40
    seen = seen_through(normalised, maps, torch.tensor(-80 / 40))
    torch.testing.assert_close(40 * seen + 80, raw * torch.tensor([[0.5, 0.25], [0.0, 1.0]]))


def test_the_top_share_keeps_the_most_important_pixels_whole() -> None:
    x = torch.arange(1.0, 9.0).view(1, 2, 2, 2)
    maps = torch.tensor([[[0.1, 0.4], [0.3, 0.2]]])
    seen = seen_through(x, maps, torch.tensor(-1.0), top_share=0.5)
    assert seen.flatten(2).tolist() == [[[-1, 2, 3, -1], [-1, 6, 7, -1]]]


def test_an_empty_map_hides_everything() -> None:
    x = torch.rand(1, 1, 3, 3)
    assert (seen_through(x, torch.zeros(1, 3, 3), torch.tensor(0.25)) == 0.25).all()


def test_a_map_of_the_evidence_beats_its_reverse() -> None:
    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            inside = x[:, 0, 2:4, 2:4].mean((1, 2))
            return torch.stack([8 * inside - 4, -8 * inside + 4], 1)

    x = torch.ones(1, 1, 6, 6)
    good = torch.zeros(1, 6, 6)
    good[:, 2:4, 2:4] = 1
    arguments = class_probability(Bright()), x, torch.tensor([0])
    black = torch.zeros(1)
    right, wrong = (confidence_change(*arguments, m, black) for m in (good, 1 - good))
    assert right.drop.item() == pytest.approx(0, abs=1e-6)
    assert wrong.drop.item() > 0.9
    right, wrong = (insertion_and_deletion(*arguments, m, black) for m in (good, 1 - good))
    assert right.insertion > wrong.insertion
    assert right.deletion < wrong.deletion


def test_many_images_are_judged_in_parts() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    x, classes = torch.randn(600, 1, 2, 2), torch.randint(0, 3, (600,))
    found = class_probability(network)(x, classes)
    expected = network(x).softmax(1).detach().numpy()[np.arange(600), classes.numpy()]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
