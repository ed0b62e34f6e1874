from __future__ import annotations

import pytest
import torch
from cellcam_training.fitting.checkpoint import RandomState


def drawn(generator: torch.Generator) -> list[float]:
    return [*torch.rand(2, generator=generator).tolist(), *torch.rand(2).tolist()]


def test_a_resumed_training_draws_what_would_have_come() -> None:
    generator = torch.Generator().manual_seed(1)
    random = RandomState(generator, torch.device("cpu"))
    state = random.state_dict()
    expected = drawn(generator)
    random.load_state_dict(state)
    assert drawn(generator) == expected


def test_on_a_gpu_its_generator_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout draws from it. A generator of the CPU stands for that of a made-up GPU."""
    card, device = torch.Generator().manual_seed(2), torch.device("cuda", 1)
    states = {device: card}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda at: states[at].get_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, at: states[at].set_state(state))
    random = RandomState(torch.Generator(), device)
    state = random.state_dict()
    expected = drawn(card)
    random.load_state_dict(state)
    assert drawn(card) == expected
    random.load_state_dict({name: state[name] for name in ("own", "torch")})  # trained on a CPU
