"""Quadrature rules against hand-worked nodes, and polynomials that they integrate exactly."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellcam.explain.integration.quadrature import Method, quadrature_rule

METHODS = get_args(Method)


@pytest.mark.parametrize(
    ("method", "nodes", "weights"),
    [
        ("riemann_right", [0.25, 0.5, 0.75, 1], [0.25] * 4),
        ("riemann_left", [0, 0.25, 0.5, 0.75], [0.25] * 4),
        ("riemann_middle", [0.125, 0.375, 0.625, 0.875], [0.25] * 4),
        ("riemann_trapezoid", [0, 0.25, 0.5, 0.75, 1], [0.125, 0.25, 0.25, 0.25, 0.125]),
    ],
)
def test_four_steps_by_hand(method: Method, nodes: list[float], weights: list[float]) -> None:
    rule = quadrature_rule(method, 4)
    np.testing.assert_allclose(rule.nodes, nodes, rtol=1e-15)
    np.testing.assert_allclose(rule.weights, weights, rtol=1e-15)
    assert rule.nodes.dtype == rule.weights.dtype == np.float64


def test_two_nodes_of_gauss_by_hand() -> None:
    rule = quadrature_rule("gausslegendre", 2)
    apart = 1 / (2 * np.sqrt(3))
    np.testing.assert_allclose(rule.nodes, [0.5 - apart, 0.5 + apart])
    np.testing.assert_allclose(rule.weights, [0.5, 0.5])


@given(st.sampled_from(METHODS), st.integers(1, 40))
def test_nodes_ascend_in_the_interval_and_weights_add_up(method: Method, n_steps: int) -> None:
    rule = quadrature_rule(method, n_steps)
    assert len(rule.nodes) == len(rule.weights) == n_steps + (method == "riemann_trapezoid")
    assert (np.diff(rule.nodes) > 0).all()
    assert rule.nodes.min() >= 0
    assert rule.nodes.max() <= 1
    np.testing.assert_allclose(rule.weights.sum(), 1)


@given(st.integers(1, 12), st.data())
def test_gauss_integrates_polynomials_of_twice_its_nodes(n_steps: int, data: st.DataObject) -> None:
    degree = data.draw(st.integers(0, 2 * n_steps - 1))
    rule = quadrature_rule("gausslegendre", n_steps)
    np.testing.assert_allclose((rule.weights * rule.nodes**degree).sum(), 1 / (degree + 1))


@pytest.mark.parametrize("method", ["riemann_middle", "riemann_trapezoid"])
def test_symmetric_rules_integrate_straight_lines(method: Method) -> None:
    rule = quadrature_rule(method, 7)
    np.testing.assert_allclose((rule.weights * (2 * rule.nodes + 3)).sum(), 4)


def test_an_unknown_method_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match=r"'simpson' is unknown.*riemann_right.*gausslegendre"):
        quadrature_rule("simpson", 3)  # type: ignore[arg-type]
