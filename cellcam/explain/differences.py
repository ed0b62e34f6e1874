"""Why one class rather than another: differences of class scores as scores of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# In place of a class: the mean score of all classes.
MEAN = -1


class ScoreDifferences(nn.Module):
    """A classifier whose scores are the differences of the scores of all pairs of classes.

    Integrated Grad-CAM of such a score, with ``formula="complete"``, is the difference of the maps
    of two classes, because that formula is linear in the score; its estimated error is that of the
    difference. Each class is paired with all classes, and with their mean.

    Parameters
    ----------
    network : module, (N, C, *spatial) -> (N, n_classes)
    n_classes : number of its classes
    """

    def __init__(self, network: nn.Module, n_classes: int) -> None:
        super().__init__()
        self.network = network
        self.n_classes = n_classes

    def forward(self, x: Tensor) -> Tensor:
        """Differences (N, n_classes * (n_classes + 1)) of scores; see `index`."""
        scores = self.network(x)
        others = torch.cat([scores, scores.mean(1, keepdim=True)], 1)
        return (scores.unsqueeze(2) - others.unsqueeze(1)).flatten(1)

    def index(self, pairs: Tensor) -> Tensor:
        """Numbers (...) of the scores that belong to ``pairs`` (..., 2) of classes.

        The score of a pair is that of the first class less that of the second, or less the mean of
        all classes where the second is `MEAN`.

        Raises
        ------
        ValueError
            If a class does not exist.
        """
        first, second = pairs.unbind(-1)
        allowed = (first >= 0) & (first < self.n_classes) & (second >= MEAN)
        if not bool((allowed & (second < self.n_classes)).all()):
            raise ValueError(
                f"Pairs are of classes between 0 and {self.n_classes - 1}, the second also "
                f"{MEAN} for the mean of all classes; got {pairs.tolist()}."
            )
        return first * (self.n_classes + 1) + torch.where(second == MEAN, self.n_classes, second)
