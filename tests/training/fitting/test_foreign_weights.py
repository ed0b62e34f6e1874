"""Checkpoints and pretrained weights from elsewhere: data, or refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cellcam_training.fitting.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from cellcam_training.fitting.pretrained_weights import pretrained_weights

from cellcam.errors import InputError


class _Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


def pickled(path: Path) -> None:
    torch.save({"network": _Canary(path.parent / "canary")}, path)


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(_Canary(path.parent / "canary")))


def truncated(path: Path) -> None:
    torch.save({"network": {"weight": torch.ones(100, 100)}}, path)
    path.write_bytes(path.read_bytes()[:-2000])


def huge(path: Path) -> None:
    """A file of 1.6 kB whose tensor claims 10^12 values."""
    torch.save({"weight": torch.ones(1).expand(10**6, 10**6)}, path)
    assert path.stat().st_size < 4000


def sparse(path: Path) -> None:
    torch.save({"weight": torch.eye(4).to_sparse()}, path)


def not_finite(path: Path) -> None:
    torch.save({"weight": torch.tensor([1.0, float("nan")])}, path)


HOSTILE = [
    pytest.param(pickled, marks=pytest.mark.fault("30 a malicious pickle in a .pt", "not run")),
    pytest.param(plain_pickle, marks=pytest.mark.fault("30 a malicious pickle", "not run")),
    pytest.param(
        truncated, marks=pytest.mark.fault("30 a truncated .pt", "refused with a way out")
    ),
    pytest.param(huge, marks=pytest.mark.fault("30 1.6 kB that claim 10^12 values", "refused")),
    pytest.param(sparse, marks=pytest.mark.fault("30 sparse tensors in a .pt", "refused")),
    pytest.param(not_finite, marks=pytest.mark.fault("30 NaN in a .pt", "refused")),
    pytest.param(
        lambda path: path.write_bytes(b"junk"),
        marks=pytest.mark.fault("30 junk named .pt", "refused with a way out"),
    ),
    pytest.param(
        lambda path: path.write_bytes(b""),
        marks=pytest.mark.fault("30 an empty .pt", "refused with a way out"),
    ),
]


@pytest.mark.parametrize("write", HOSTILE)
def test_pretrained_weights(tmp_path: Path, write: Callable[[Path], object]) -> None:
    write(tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights\.pt .*Name another file"):
        pretrained_weights("tv_resnet18", tmp_path / "weights.pt")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("write", HOSTILE)
def test_checkpoints(tmp_path: Path, write: Callable[[Path], object]) -> None:
    write(tmp_path / CHECKPOINT)
    network = torch.nn.Linear(3, 2)
    with pytest.raises(InputError, match=r"checkpoint\.pt .*Delete it, and the training begins"):
        load_checkpoint(tmp_path / CHECKPOINT, {"network": network})
    assert not (tmp_path / "canary").exists()


@pytest.mark.fault("30 a checkpoint with wrong keys or shapes", "refused with a way out")
@pytest.mark.parametrize("other", [{"network": torch.nn.Linear(5, 2)}, {"else": torch.nn.ReLU()}])
def test_checkpoints_of_other_trainings(tmp_path: Path, other: dict[str, torch.nn.Module]) -> None:
    save_checkpoint(tmp_path / CHECKPOINT, other)
    network = torch.nn.Linear(3, 2)
    before = network.weight.detach().clone()
    with pytest.raises(InputError, match="no checkpoint of this training"):
        load_checkpoint(tmp_path / CHECKPOINT, {"network": network})
    torch.testing.assert_close(network.weight, before)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    first, second = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    save_checkpoint(tmp_path / CHECKPOINT, {"network": first})
    load_checkpoint(tmp_path / CHECKPOINT, {"network": second})
    torch.testing.assert_close(second.weight, first.weight)


def test_a_state_dict_is_read(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2, 2)}, tmp_path / "w.pt")
    weights = pretrained_weights("tv_resnet18", tmp_path / "w.pt")
    assert weights is not None
    torch.testing.assert_close(weights["weight"], torch.ones(2, 2))
    torch.save({"weight": 3}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="no state dict"):
        pretrained_weights("tv_resnet18", tmp_path / "w.pt")
