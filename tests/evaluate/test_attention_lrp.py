"""AttnLRP of the benchmarks: the same network, and relevance that is neither made nor lost."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torchvision.models import VisionTransformer

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "attention_lrp.py"


@pytest.fixture(scope="module")
def lrp() -> ModuleType:
    spec = importlib.util.spec_from_file_location("attention_lrp", BENCHMARK)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def network() -> VisionTransformer:
    torch.manual_seed(0)
    made = VisionTransformer(32, 8, 2, 2, 16, 24, num_classes=3).double().eval()
    torch.nn.init.normal_(made.heads.head.weight)  # zeros at first
    return made


def test_the_scores_stay_the_same(lrp: ModuleType, network: VisionTransformer) -> None:
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    for through_queries in (True, False):
        changed = lrp.with_relevance(network, through_queries)
        torch.testing.assert_close(changed(x), network(x), rtol=1e-12, atol=1e-12)


def test_without_biases_relevance_adds_up_to_the_score(
    lrp: ModuleType, network: VisionTransformer
) -> None:
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
        network.class_token.zero_()  # so that no relevance ends there
        network.encoder.pos_embedding[:, 0].zero_()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    classes = torch.tensor([0, 2])
    relevance = lrp.relevance_of_tokens(network, x, classes, through_queries=False)
    assert relevance.shape == (2, 4, 4)
    scores = network(x).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(relevance.sum((1, 2)), scores, rtol=1e-4, atol=1e-6)
