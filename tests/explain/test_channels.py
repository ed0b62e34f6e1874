"""One map and one share for every channel."""

from __future__ import annotations

import torch
from support.brute_force import integrated_gradcam
from support.networks import images, small_network
from torch import Tensor, nn

from cellcam import IntegratedGradCAM
from cellcam.explain.baselines import border_level
from cellcam.models.registry import build_network


def test_each_map_follows_the_path_on_which_its_channel_alone_moves() -> None:
    network, x = small_network(), images()
    ours = IntegratedGradCAM(network)(x, [0, 2], channels="each", n_steps=4)
    assert ours.maps.shape == (2, 2, 3, 16, 16)
    for s in range(3):
        start = x[1:].clone()
        start[:, s] = 0
        brute = integrated_gradcam(network, "features", x[1:], start, 2, 4)
        torch.testing.assert_close(ours.maps[1, 1, s], brute, rtol=1e-9, atol=1e-12)


def test_shares_are_what_the_score_loses_and_add_up_with_the_interaction() -> None:
    network, x = small_network(), images()
    ours = IntegratedGradCAM(network, score="log_probability")(x, "all", channels="each")
    with torch.no_grad():
        scores = network(x).log_softmax(1)
        for s in range(3):
            without = x.clone()
            without[:, s] = 0
            lost = scores - network(without).log_softmax(1)
            torch.testing.assert_close(ours.channel_shares[:, :, s], lost)
        total = scores - network(torch.zeros_like(x)).log_softmax(1)
    torch.testing.assert_close(ours.channel_shares.sum(2) + ours.interaction, total)


def test_all_channels_cost_what_their_number_says() -> None:
    passes: list[int] = []
    network, x = small_network(), images(1)
    network.register_forward_pre_hook(lambda _m, args: passes.append(len(args[0])))
    cam = IntegratedGradCAM(network, n_steps=20)
    spent = {}
    for channels in (None, "each"):
        cam(x, 0, channels=channels)
        passes.clear()
        cam(x, 0, channels=channels)
        spent[channels] = sum(passes)
    assert spent["each"] <= 3.2 * spent[None]


def test_share_names_the_channel_that_carries_the_evidence() -> None:
    x, where = planted_cells(600)
    network = trained(x, where)
    x, where = planted_cells(200, seed=1)
    ours = IntegratedGradCAM(network, baselines="blur")(x, channels="each", n_steps=1)
    right = ours.class_idx[:, 0] == where
    assert right.float().mean() > 0.9
    named = ours.channel_shares[:, 0].argmax(1) == where
    assert named[right].float().mean() >= 0.95


def planted_cells(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Round cells in three channels of any brightness; one channel, the class, holds spots."""
    generator = torch.Generator().manual_seed(seed)
    where = torch.randint(0, 3, (n,), generator=generator)
    grid = torch.arange(24.0) - 11.5
    body = ((grid**2 + grid[:, None] ** 2) < 64).float()
    level = 0.5 + torch.rand(n, 3, 1, 1, generator=generator)
    x = level * body + 0.1 + 0.05 * torch.randn(n, 3, 24, 24, generator=generator)
    for i in range(n):
        for _ in range(4):
            y, z = torch.randint(8, 15, (2,), generator=generator).tolist()
            x[i, where[i], y : y + 2, z : z + 2] += 1.0
    return x, where


def trained(x: Tensor, y: Tensor) -> nn.Module:
    torch.manual_seed(0)
    network = build_network("small_cnn", 2, 3, 3)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(20):
        for rows in torch.randperm(len(x)).split(32):
            # A network that has never seen a cell without one stain cannot be asked about it.
            missing = torch.rand(len(rows), 3, 1, 1) < 0.15
            seen = torch.where(missing, border_level(x[rows]), x[rows])
            loss = nn.functional.cross_entropy(network(seen), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()
