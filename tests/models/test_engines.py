"""Engines of calls: OpenVINO beside torch. The tests that compute with it need it installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cellcam import CellModel, load_model, save_model
from cellcam.errors import UsageError
from cellcam.models.engine import TorchEngine
from cellcam.models.engine_choice import choose_engine
from cellcam.models.registry import build_network, network_names

CPU = torch.device("cpu")
SHAPES = {2: (3, 40, 40), 3: (2, 32, 32, 32)}
# Without the deeper ones of the same blocks, which take a quarter of the time.
DEEPER = ("densenet169", "resnet34")
ENTRIES = [(name, d) for d in SHAPES for name in network_names(d) if name not in DEEPER]
Make = Callable[..., CellModel]
with_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="OpenVINO, the extra 'openvino', is not installed"
)


def random_network(name: str, spatial_dims: int) -> nn.Module:
    """Network with random weights, and logits up to 3.

    Its normalisations are those of the start. With those of its crops a deep random network is
    chaotic: torch's own float32 would then be 2e-5 away from float64.
    """
    torch.manual_seed(0)
    shape = SHAPES[spatial_dims]
    network = build_network(name, spatial_dims, shape[0], 5).eval()
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        nn.init.zeros_(last.bias)
        last.weight *= 3 / network(crops_like(8, shape)).abs().max()
    return network


def crops_like(n: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Noise of different strength around different levels."""
    strength = torch.linspace(0.2, 2, n).view(-1, *[1] * len(shape))
    return strength * (torch.rand(n, *shape) + torch.randn(n, shape[0], *[1] * (len(shape) - 1)))


@with_openvino
@pytest.mark.parametrize(("name", "spatial_dims"), ENTRIES)
def test_openvino_gives_the_scores_of_torch(name: str, spatial_dims: int) -> None:
    network, shape = random_network(name, spatial_dims), SHAPES[spatial_dims]
    engine = choose_engine("openvino", network, CPU, shape, 1.0)
    assert engine.facts.name == "openvino"
    x = crops_like(9, shape)
    with torch.no_grad():
        expected = network(x)
        scores = engine.scores(x)
    assert expected.std(0).mean() > 1e-3
    assert (scores.softmax(1) - expected.softmax(1)).abs().max() < 1e-5
    # Bit by bit, whatever crops stand beside it, wherever it stands, however many threads.
    order = torch.tensor([8, 2, 5])
    assert torch.equal(engine.scores(x[order]), scores[order])


@with_openvino
def test_scores_do_not_depend_on_the_number_of_threads() -> None:
    network, shape = random_network("resnet18", 2), SHAPES[2]
    engine = choose_engine("openvino", network, CPU, shape, 1.0)
    x, before, scores = torch.randn(40, *shape), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            scores.append(engine.scores(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])


@with_openvino
def test_the_network_is_left_as_it_was_and_its_changes_are_seen() -> None:
    network, shape = random_network("small_cnn", 2), SHAPES[2]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    engine = choose_engine("openvino", network, CPU, shape, 1.0)
    first = engine.scores(x := torch.randn(3, *shape))
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    with torch.no_grad():
        last = list(network.parameters())[-1]
        last += 1
        torch.testing.assert_close(engine.scores(x), network(x))
    assert (engine.scores(x) - first).abs().min() > 0.5


@with_openvino
def test_a_model_calls_with_its_engine_and_explains_with_torch(
    make_model: Make, tmp_path: Path
) -> None:
    save_model(make_model(), tmp_path / "model")
    plain, fast = (load_model(tmp_path / "model", "cpu", e) for e in ("torch", "openvino"))
    crops = np.random.default_rng(0).poisson(120, (50, 2, 16, 16)).astype(np.uint16)
    probabilities = fast.probabilities(crops)
    assert np.abs(probabilities - plain.probabilities(crops)).max() < 1e-5
    np.testing.assert_array_equal(fast.probabilities(crops[17:20]), probabilities[17:20])
    np.testing.assert_array_equal(fast.channel_shares(crops[:9]), plain.channel_shares(crops[:9]))
    maps = [model.explain(crops[:2]).maps for model in (plain, fast)]
    assert torch.equal(*maps)
    assert fast.with_spec(temperature=2.0).engine is fast.engine
    assert isinstance(fast.with_spec(crop_size=(24, 24)).engine, TorchEngine)


class Turning(nn.Module):
    """A network that OpenVINO cannot convert."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(x[:, 0] + x[:, 0].mT)[:, :3]


class Cheating(nn.Module):
    """A network that computes something else while it is converted."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * (3 if torch.jit.is_tracing() else 1)


class Looking(nn.Module):
    """A network whose scores depend on the other crops."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * (1 + x.mean())


@with_openvino
@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Turning(), "cannot run the network"),
        (Cheating(), "differ from torch's by"),
        (Looking(), "depend on the cells beside it"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        choose_engine("openvino", network.eval(), CPU, (3, 16, 16), 1.0)


@with_openvino
def test_openvino_is_refused_on_other_devices() -> None:
    network = build_network("small_cnn", 2, 1, 2).to("meta")
    with pytest.raises(UsageError, match="OpenVINO is for the CPU, the device is meta"):
        choose_engine("openvino", network, torch.device("meta"), (1, 16, 16), 1.0)


def test_unknown_engines_and_missing_packages_are_refused(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(make_model(), tmp_path / "model")
    with pytest.raises(UsageError, match="Choose one of torch, openvino"):
        load_model(tmp_path / "model", "cpu", "tensorrt")
    monkeypatch.setattr("cellcam.models.engine_choice.is_installed", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'cellcam\[openvino\]'"):
        load_model(tmp_path / "model", "cpu", "openvino")


@with_openvino
def test_nothing_is_reported_to_its_makers(make_model: Make, tmp_path: Path) -> None:
    """The package of OpenVINO that reports every import is not imported."""
    save_model(make_model(), tmp_path / "model")
    reporting = tmp_path / "packages" / "openvino_telemetry"
    (reporting / "backend").mkdir(parents=True)
    for file in (reporting / "__init__.py", reporting / "backend" / "__init__.py"):
        file.write_text("raise SystemExit('openvino_telemetry was imported')")
    code = (
        "import json, sys; from cellcam import load_model;"
        f"model = load_model({str(tmp_path / 'model')!r}, 'cpu', 'openvino');"
        "print(json.dumps([model.engine.facts.name,"
        " [m for m in sys.modules if 'telemetry' in m and 'ovc' not in m]]))"
    )
    path = os.pathsep.join([str(reporting.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["openvino", []]
