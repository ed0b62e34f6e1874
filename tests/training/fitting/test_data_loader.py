from __future__ import annotations

import numpy as np
import pytest
import torch
from cellcam_training.fitting.data_loader import TrainingData, data_loader


def test_processes_share_every_batch_and_their_generators_stay_in_step() -> None:
    data = TrainingData(np.arange(77), np.zeros(77, int), np.arange(77) >= 75)
    parts, states = [], []
    for number in range(2):
        random = torch.Generator().manual_seed(1)
        loader = data_loader(data, 16, random)
        loader.sampler.n_processes, loader.sampler.process = 2, number
        parts.append([batch[0].tolist() for batch in loader])
        states.append(random.get_state())
    assert torch.equal(*states)
    assert [len(part) for part in parts[0]] == [len(part) for part in parts[1]] == [8, 8, 7, 7, 7]
    seen = [cell for part in parts for batch in part for cell in batch]
    assert len(set(seen)) == len(seen) == 74  # of 75, an odd number


@pytest.mark.parametrize("counts", [[16], [17], [33, 0, 42], [5, 60, 1], [30, 30, 30], [1, 1]])
def test_classes_are_drawn_equally_often_and_batches_have_nearly_equal_sizes(
    counts: list[int],
) -> None:
    truth = np.repeat(np.arange(len(counts)), counts)
    data = TrainingData(np.arange(len(truth)), truth, np.zeros(len(truth), bool))
    loader = data_loader(data, 16, torch.Generator().manual_seed(1))
    epochs = [[batch[0].tolist() for batch in loader] for _ in range(2)]
    assert epochs[0] != epochs[1] or len(truth) == 2
    for batches in epochs:
        sizes = [len(batch) for batch in batches]
        assert len(sizes) == len(loader)
        assert max(sizes) <= 16
        assert max(sizes) - min(sizes) <= 1
        drawn = np.bincount(np.concatenate(batches).astype(int), minlength=len(truth))
        present = [k for k, count in enumerate(counts) if count]
        assert len({int(drawn[truth == k].sum()) for k in present}) == 1
        for k in present:
            assert np.ptp(drawn[truth == k]) <= 1
