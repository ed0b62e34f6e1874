"""Rings without order, as several formats list them, sorted into polygons with holes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cellcam.exchange.cells import Outline, Ring


def signed_area(ring: Ring) -> float:
    """Area of a ring by the shoelace formula."""
    x, y = np.asarray(ring, np.float64).T
    open_part = x[:-1] @ y[1:] - x[1:] @ y[:-1]
    return float(open_part + x[-1] * y[0] - x[0] * y[-1]) / 2


def polygons_of_rings(rings: Sequence[Ring]) -> Outline:
    """Polygons with their holes, of rings that do not cross each other.

    A ring inside an odd number of others is a hole, of the smallest of them.
    """
    if len(rings) == 1:
        return [[rings[0]]]
    areas = np.array([signed_area(ring) for ring in rings])
    outer = np.flatnonzero(areas > 0)
    if len(outer) == 1 and ((areas < 0).sum() == len(rings) - 1):
        # Outlines of one part, with holes that run the other way round.
        first = int(outer[0])
        return [[rings[first], *(ring for i, ring in enumerate(rings) if i != first)]]
    low = np.array([ring.min(axis=0) for ring in rings])
    high = np.array([ring.max(axis=0) for ring in rings])
    order = np.argsort(-np.abs(areas), kind="stable")
    around: dict[int, list[int]] = {}
    for place, i in enumerate(order.tolist()):
        larger = order[:place]
        boxed = ((low[larger] <= low[i]) & (high[larger] >= high[i])).all(axis=1)
        around[i] = [j for j in larger[boxed].tolist() if _holds(rings[j], rings[i], areas[i])]
    polygons = {i: [rings[i]] for i in around if len(around[i]) % 2 == 0}
    for i, others in around.items():
        if len(others) % 2:
            polygons[others[-1]].append(rings[i])
    return [polygons[i] for i in sorted(polygons)]


def _holds(outer: Ring, inner: Ring, area: float) -> bool:
    """Whether a ring lies in another: the middle of an edge, a little inside the ring."""
    (x0, y0), (x1, y1) = np.asarray(inner[:2], np.float64)
    inward = np.array([y0 - y1, x1 - x0]) * (1 if area > 0 else -1)
    step = min(1e-3, 1e-3 / max(np.hypot(*inward), 1e-9))
    x, y = np.array([x0 + x1, y0 + y1]) / 2 + inward * step
    start, end = np.asarray(outer, np.float64), np.concatenate([outer[1:], outer[:1]])
    crossed = (start[:, 1] > y) != (end[:, 1] > y)
    start, end = start[crossed], end[crossed]
    at = start[:, 0] + (y - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    return bool((at > x).sum() % 2)
