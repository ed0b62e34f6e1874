"""Facts about a network, found once by running it before anything is explained."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from cellcam.explain.memory import automatic_batch_size
from cellcam.explain.network.heads import HeadOfMeans, head_of_means
from cellcam.explain.network.layouts import Precision, fastest_execution
from cellcam.explain.network.splitting import Layer, SplitNetwork, split_network

# Gradients that are held at once, where each position of a layer has its own.
_MOST_GRADIENTS = 2**26


@dataclass
class LastBaseline:
    """Values at the last baseline image that all paths of a call shared, for the next call.

    Attributes
    ----------
    image : (1, C, *spatial); None before the first
    activations : (1, C, U) at the layer
    logits : (1, n_classes)
    """

    image: Tensor | None = None
    activations: Tensor | None = None
    logits: Tensor | None = None


@dataclass(frozen=True)
class NetworkFacts:
    """Facts about a network at a layer, for inputs of one shape.

    Attributes
    ----------
    weights : `fingerprint` of the network when they were found
    split : trunk and head
    head : the head as a function of mean activations, where it is one
    batch_size : number of images to run at once
    """

    weights: object
    split: SplitNetwork
    head: HeadOfMeans | None
    batch_size: int
    last_baseline: LastBaseline = field(default_factory=LastBaseline)

    def batch_size_for(self, n_classes: int | None) -> int:
        """Batch size at which the gradients of so many classes (None: of all) fit."""
        if self.head is not None:
            return self.batch_size
        gradients = self.split.n_features * self.split.map_shape.numel()
        gradients *= n_classes or self.split.n_classes
        return max(1, min(self.batch_size, _MOST_GRADIENTS // gradients))


def find_facts(
    network: nn.Module, layer: Layer | None, x: Tensor, precision: Precision, n_trial: int | None
) -> NetworkFacts:
    """Run a network on images of ``x`` (N, C, *spatial) and note what is found.

    Parameters
    ----------
    n_trial : images in a pass that is timed for ``precision="auto"``; None: a batch
    """
    weights = fingerprint(network)
    split = split_network(network, layer, x)
    head = head_of_means(split, x[:1])
    split = replace(split, pooled=head is not None)
    batch_size = automatic_batch_size(split.scores, x, split.device)
    if precision == "auto":
        trial = x[: n_trial or batch_size]
        fastest = fastest_execution(
            lambda way: replace(split, execution=way).scores(trial), split.device, split.execution
        )
        split = replace(split, execution=fastest)
    return NetworkFacts(weights, split, head, batch_size)


def fingerprint(network: nn.Module) -> object:
    """Changes with every weight: torch's count of changes in place, and the norm of all weights.

    The count alone misses changes through ``.data``.
    """
    tensors = [*network.parameters(), *network.buffers()]
    norm = nn.utils.get_total_norm([t.detach() for t in tensors if t.is_floating_point()])
    return tuple((id(tensor), tensor._version) for tensor in tensors), float(norm)
