"""Facts about a network, found once by running it before anything is explained."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import Tensor, nn

from cellcam.explain.memory import automatic_batch_size
from cellcam.explain.network.dependence import check_same_each_time, mixes_images
from cellcam.explain.network.execution import Precision, fastest_execution
from cellcam.explain.network.heads import is_affine, sees_means_only, with_needed_rows
from cellcam.explain.network.splitting import SplitNetwork
from cellcam.explain.network.target import Target, split_network

_MOST_GRADIENTS = 2**26  # held at once, where each position of a layer has its own


class Baseline(NamedTuple):
    """A baseline image (1, C, *spatial), its activations (1, C, U) and logits (1, n_classes)."""

    image: Tensor
    activations: Tensor
    logits: Tensor


@dataclass(frozen=True)
class NetworkFacts:
    """Facts about a network at a layer, for inputs of one shape."""

    weights: object  # `fingerprint` of the network when they were found
    split: SplitNetwork
    affine: bool  # whether the head's gradient is the same everywhere
    mixes: bool  # whether an image's scores depend on others in the batch
    batch_size: int  # number of images to run at once
    # The last baseline that all paths of a call shared, for the next call.
    last_baseline: list[Baseline] = field(default_factory=list)

    def batch_size_for(self, n_classes: int | None) -> int:
        """Batch size at which the gradients of so many classes (None: of all) fit."""
        if self.split.pooled:
            return self.batch_size
        layout = self.split.layout
        by_class = layout.n_features * (layout.space.numel() + layout.n_others)
        gradients = by_class * (n_classes or self.split.n_classes)
        return max(1, min(self.batch_size, _MOST_GRADIENTS // gradients))


def find_facts(
    network: nn.Module, target: Target, x: Tensor, precision: Precision, n_trial: int | None
) -> NetworkFacts:
    """Find the facts with images of ``x`` (N, C, *spatial).

    With ``precision="auto"`` passes of ``n_trial`` images are timed; None: of a batch.
    """
    weights = fingerprint(network)
    split = split_network(network, target, x)
    check_same_each_time(split, x[:1])
    mixes = mixes_images(split, x[:1])
    split = replace(split, pooled=sees_means_only(split, x[:1]))
    if not split.pooled:
        split = with_needed_rows(split, x[:1])
    affine = split.pooled and is_affine(split, x[:1])
    batch_size = automatic_batch_size(split.scores, x, split.device)
    if precision == "auto":
        trial = x[: n_trial or batch_size]
        fastest = fastest_execution(
            lambda way: replace(split, execution=way).scores(trial), split.device, split.execution
        )
        split = replace(split, execution=fastest)
    return NetworkFacts(weights, split, affine, mixes, batch_size)


def fingerprint(network: nn.Module) -> object:
    """Changes with every weight: torch's count of changes in place, and the norm of all weights.

    With their device and type, too, which `torch.nn.Module.to` changes in the same parameters.
    """
    # The count alone misses changes through ``.data``.
    tensors = [*network.parameters(), *network.buffers()]
    norm = nn.utils.get_total_norm([t.detach() for t in tensors if t.is_floating_point()])
    return tuple((id(t), t._version, t.device, t.dtype) for t in tensors), float(norm)
