"""Adaptive integration, errors, gaps: against many steps, captum and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.brute_force import integrated_gradcam
from support.networks import random_network
from torch import Tensor, nn

from cellcam import Explanation, IntegratedGradCAM
from cellcam.explain.integration import adaptive_steps
from cellcam.explain.integration.estimates import panel_interpolation
from cellcam.explain.integration.nodes import Nodes
from cellcam.models.registry import build_network


def relative_errors(maps: Tensor, truth: Tensor) -> Tensor:
    norm = truth.flatten(2).norm(dim=2)
    return (maps - truth).flatten(2).norm(dim=2) / norm.clamp(min=1e-300)


def small_network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(3)
    network = build_network("small_cnn", 2, 2, 3).to(dtype)
    with torch.no_grad():
        network.train()(torch.randn(16, 2, 16, 16, dtype=dtype) * 2 + 0.5)
    return network.eval()


def images(n: int = 3) -> Tensor:
    torch.manual_seed(5)
    return torch.rand(n, 2, 16, 16, dtype=torch.float64) * 3


@pytest.mark.parametrize(
    ("layer", "formula", "score"),
    [
        ("features", "paper", "logit"),
        ("features", "paper", "probability"),
        ("features", "complete", "log_probability"),
        ("features.5", "paper", "logit"),
        ("features.1", "complete", "logit"),
        ("features.3", "complete", "probability"),
    ],
)
def test_reaches_the_tolerance_that_is_asked_for(layer: str, formula: str, score: str) -> None:
    cam = IntegratedGradCAM(small_network(), layer, score=score, formula=formula, upsample=False)
    truth = cam(images(), "all", method="riemann_trapezoid", n_steps=300)
    ours = cam(images(), "all", rtol=0.03)
    errors = relative_errors(ours.maps, truth.maps)
    reached = ours.error <= 0.03
    assert reached.all()
    assert (errors < 0.03).float().mean() > 0.85
    assert errors.max() < 0.09


def test_faint_maps_may_be_exact_to_a_share_of_the_strongest() -> None:
    cam = IntegratedGradCAM(small_network(), "features.5", upsample=False)
    truth = cam(images(), "all", method="riemann_trapezoid", n_steps=300).maps
    each, strongest = cam(images(), "all"), cam(images(), "all", rtol_of="strongest")
    size = truth.flatten(2).norm(dim=2).amax(1, keepdim=True)
    difference = (strongest.maps - truth).flatten(2).norm(dim=2)
    assert (difference < 0.01 * size).all()
    assert (strongest.error * strongest.maps.flatten(2).norm(dim=2) <= 0.011 * size).all()
    assert strongest.error.max() > 0.01  # still told beside each map
    assert strongest.n_evaluations.sum() < each.n_evaluations.sum()


def test_complete_maps_do_not_depend_on_how_many_paths_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cam = IntegratedGradCAM(small_network(), "features.1", formula="complete", upsample=False)
    together = cam(images(), "all", rtol=0.1)
    monkeypatch.setattr(adaptive_steps, "_MOST_KEPT", 1)  # one path at a time
    alone = cam(images(), "all", rtol=0.1)
    torch.testing.assert_close(alone.maps, together.maps, rtol=1e-9, atol=1e-12)
    assert torch.equal(alone.n_evaluations, together.n_evaluations)


@given(st.integers(1, 3), st.integers(0, 3), st.integers(0, 9))
def test_refining_halves_the_worst_panels(n_paths: int, rounds: int, seed: int) -> None:
    """Against intervals kept as plain lists of their ends."""
    random = torch.Generator().manual_seed(seed)
    nodes = Nodes(n_paths, torch.zeros(1, dtype=torch.float64))
    expected = [[0.0, 1.0] for _ in range(n_paths)]
    for _ in range(rounds + 3):
        n_panels = nodes.n_panels
        doubt = torch.rand(n_paths, nodes.n_evaluations, 2, generator=random)
        new = nodes.refine_worst(doubt)
        for i, ends in enumerate(expected):
            by_panel = doubt[i].amax(1).tolist()
            worst = range(len(by_panel))
            if n_panels >= 4:
                pairs = [by_panel[2 * j] + by_panel[2 * j + 1] for j in range(n_panels)]
                chosen = sorted(range(n_panels), key=pairs.__getitem__)[-max(2, n_panels // 4) :]
                worst = sorted(k for j in chosen for k in (2 * j, 2 * j + 1))
            middles = [(ends[k] + ends[k + 1]) / 2 for k in worst]
            assert sorted(new.positions[i].tolist()) == middles
            left = nodes.positions[i][new.left[i]]
            right = nodes.positions[i][new.right[i]]
            torch.testing.assert_close((left + right) / 2, new.positions[i])
            expected[i] = sorted([*ends, *middles])
        assert nodes.along_path().tolist() == expected


def test_fewer_evaluations_for_less_accuracy() -> None:
    cam = IntegratedGradCAM(small_network())
    coarse, fine = cam(images(), rtol=0.1), cam(images(), rtol=0.001)
    assert (coarse.n_evaluations < fine.n_evaluations).all()


def test_classes_of_one_image_share_its_evaluations() -> None:
    passes: list[tuple[int, int]] = []
    network = small_network()
    network.register_forward_pre_hook(lambda _m, args: passes.append(len(args[0])))
    cam = IntegratedGradCAM(network, n_steps=10)
    cam(images(1), 0)
    passes.clear()
    cam(images(1), 0)
    one = sum(passes)
    passes.clear()
    cam(images(1), "all")
    assert sum(passes) == one == 10


@pytest.mark.parametrize("method", ["riemann_right", "riemann_trapezoid", "gausslegendre"])
def test_fixed_rules_know_their_error(method: str) -> None:
    cam = IntegratedGradCAM(small_network(), upsample=False)
    truth = cam(images(), "all", method="riemann_trapezoid", n_steps=300)
    for steps in (8, 16):
        ours = cam(images(), "all", method=method, n_steps=steps)
        covered = relative_errors(ours.maps, truth.maps) <= ours.error
        assert covered.float().mean() > 0.85


def test_complete_map_is_captums_layer_conductance() -> None:
    from captum.attr import LayerConductance

    network, x = small_network(), images(2)
    ours = IntegratedGradCAM(network, "features.5", formula="complete", upsample=False)(
        x, 1, n_steps=400
    )
    peer = LayerConductance(network, network.features[5]).attribute(
        x, baselines=torch.zeros_like(x), target=1, n_steps=400, internal_batch_size=64
    )
    assert relative_errors(ours.maps[:, 0:1], peer.sum(1, keepdim=True)).max() < 0.01


def test_complete_map_adds_up_to_the_score_difference() -> None:
    network, x = small_network(), images()
    ours = IntegratedGradCAM(network, formula="complete", upsample=False)(x, "all")
    with torch.no_grad():
        difference = network(x) - network(torch.zeros_like(x))
    torch.testing.assert_close(ours.maps.sum((2, 3)), difference, rtol=0.01, atol=1e-4)


def test_completeness_gap_shrinks_with_the_steps() -> None:
    cam = IntegratedGradCAM(small_network(), "features.3")
    gaps = [cam(images(), "all", n_steps=m).completeness_gap.median() for m in (2, 16, 128)]
    assert gaps[2] < gaps[1] < gaps[0]
    assert gaps[2] < 0.01


def test_weights_vary_only_where_the_head_bends() -> None:
    x = torch.rand(1, 3, 64, 64)
    resnet = build_network("resnet18", 2, 3, 3).eval()
    last = IntegratedGradCAM(resnet, "layer4")(x, "all", n_steps=4)
    assert not last.weights_vary.any()
    assert last.completeness_gap.max() < 1e-3
    assert IntegratedGradCAM(resnet, "layer3")(x, "all", n_steps=4).weights_vary.all()
    probability = IntegratedGradCAM(resnet, "layer4", score="probability")(x, "all", rtol=0.2)
    assert probability.weights_vary.any()


@pytest.mark.parametrize("score", ["probability", "log_probability"])
def test_score_is_differentiated(score: str) -> None:
    class Scored(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            logits = self.network(x)
            return logits.softmax(1) if score == "probability" else logits.log_softmax(1)

    network, x = small_network(), images(1)
    ours = IntegratedGradCAM(network, "features", score=score)(x, 1, n_steps=7)
    brute = integrated_gradcam(Scored(network), "network.features", x, torch.zeros_like(x), 1, 7)
    assert relative_errors(ours.maps, brute[None, None]).max() < 1e-9


@given(st.data())
@settings(max_examples=20)
def test_equals_the_formula_on_random_architectures(data: st.DataObject) -> None:
    network, x = random_network(data.draw)
    cam = IntegratedGradCAM(network)
    ours = cam(x, "all", n_steps=3)
    start = torch.zeros_like(x[:1])
    for k in range(ours.maps.shape[1]):
        brute = integrated_gradcam(network, ours.target_layer, x[:1], start, k, 3)
        torch.testing.assert_close(ours.maps[0, k], brute, rtol=1e-9, atol=1e-12)
    parts: list[Explanation] = [cam(x, k, n_steps=3) for k in range(ours.maps.shape[1])]
    by_class = torch.cat([part.maps for part in parts], 1)
    torch.testing.assert_close(by_class, ours.maps, rtol=1e-9, atol=1e-12)
    chunked = cam(x, "all", n_steps=3, internal_batch_size=1)
    torch.testing.assert_close(chunked.maps, ours.maps, rtol=1e-9, atol=1e-12)
    adaptive = cam(x, "all", rtol=0.2, internal_batch_size=2)
    torch.testing.assert_close(cam(x, "all", rtol=0.2).maps, adaptive.maps, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_panels_are_interpolated_by_parabolas_and_lines(degree: int) -> None:
    nodes = torch.tensor([0, 0.5, 1], dtype=torch.float64)
    t = (torch.arange(8, dtype=torch.float64) + 0.5) / 8
    parabola, straight = panel_interpolation(8, nodes)
    torch.testing.assert_close(parabola @ nodes**degree, t**degree)
    lines = np.interp(t, nodes, nodes**degree)
    torch.testing.assert_close(straight @ nodes**degree, torch.from_numpy(lines))


@pytest.mark.parametrize("formula", ["paper", "complete"])
def test_the_error_factor_multiplies_estimates(formula: str) -> None:
    cam = IntegratedGradCAM(small_network(), "features.1", formula=formula, upsample=False)
    plain, half = cam(images(), rtol=0.1), cam(images(), rtol=0.05, error_factor=0.5)
    assert torch.equal(half.maps, plain.maps)
    torch.testing.assert_close(half.error, plain.error / 2)
    with pytest.raises(ValueError, match="error_factor must be positive, not 0"):
        cam(images(), error_factor=0)
