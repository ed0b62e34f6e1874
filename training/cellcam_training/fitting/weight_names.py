"""Names of weights in files from elsewhere: what stands before them, and what is left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

Weights = dict[str, Tensor]

# Of two copies of a network in one file, as in those of DINO, the one that is used afterwards.
_PREFERRED = ("teacher", "ema")


def flattened(content: Any, before: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors of nested dictionaries, as ``teacher.backbone.norm.weight``."""
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Tensor):
            yield f"{before}{name}", value
        else:
            yield from flattened(value, f"{before}{name}.")


def without_prefix(weights: Weights, known: set[str]) -> Weights:
    """The weights of a file whose names stand behind a common prefix, under a network's names.

    The prefix is the one that gives the most names of the network, such as ``module.`` or
    ``teacher.backbone.``; of several, that of a teacher or a moving average. Weights without it
    belong to something else.

    Parameters
    ----------
    known : names of the network
    """
    counts = Counter(prefix for name in weights for prefix in _prefixes(name, known))
    if not counts:
        return weights
    most = max(counts.values())
    found = [prefix for prefix, n in counts.items() if n == most]
    best = next((p for p in found if any(word in p for word in _PREFERRED)), found[0])
    return {
        name.removeprefix(best): value for name, value in weights.items() if name.startswith(best)
    }


def _prefixes(name: str, known: set[str]) -> Iterator[str]:
    """What stands before a known name at the end of ``name``."""
    parts = name.split(".")
    for i in range(len(parts)):
        if ".".join(parts[i:]) in known:
            yield "".join(f"{part}." for part in parts[:i])
