"""Channels one at a time, baselines by name, odd networks, interrupts and leaks."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

import psutil
import pytest
import torch
from brute_force import integrated_gradcam
from torch import Tensor, nn

from cellcam import IntegratedGradCAM
from cellcam.explain.execution import is_out_of_memory
from cellcam.explain.path import baseline_images, blurred, border_level
from cellcam.models.registry import build_network


def small_network(channels: int = 3, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(3)
    network = build_network("small_cnn", 2, channels, 3).to(dtype)
    with torch.no_grad():
        network.train()(torch.randn(16, channels, 16, 16, dtype=dtype) * 2 + 0.5)
    return network.eval()


def images(n: int = 2, channels: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(5)
    return torch.rand(n, channels, 16, 16, dtype=dtype) * 3


class TestChannels:
    def test_each_map_follows_the_path_on_which_its_channel_alone_moves(self) -> None:
        network, x = small_network(), images()
        ours = IntegratedGradCAM(network)(x, [0, 2], channels="each", n_steps=4)
        assert ours.maps.shape == (2, 2, 3, 16, 16)
        for s in range(3):
            start = x[1:].clone()
            start[:, s] = 0
            brute = integrated_gradcam(network, "features", x[1:], start, 2, 4)
            torch.testing.assert_close(ours.maps[1, 1, s], brute, rtol=1e-9, atol=1e-12)

    def test_shares_are_what_the_score_loses_and_add_up_with_the_interaction(self) -> None:
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

    def test_all_channels_cost_what_their_number_says(self) -> None:
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

    def test_share_names_the_channel_that_carries_the_evidence(self) -> None:
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
    for _ in range(10):
        for rows in torch.randperm(len(x)).split(32):
            # A network that has never seen a cell without one stain cannot be asked about it.
            missing = torch.rand(len(rows), 3, 1, 1) < 0.15
            seen = torch.where(missing, border_level(x[rows]), x[rows])
            loss = nn.functional.cross_entropy(network(seen), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


class TestBaselines:
    def test_black_is_what_zero_counts_become(self) -> None:
        network, x = small_network(), images()
        named = IntegratedGradCAM(network, black=torch.full((1, 3, 1, 1), -0.7))(x, n_steps=3)
        given = IntegratedGradCAM(network, baselines=-0.7)(x, n_steps=3)
        torch.testing.assert_close(named.maps, given.maps)

    def test_background_is_the_median_of_the_border(self) -> None:
        x = torch.zeros(1, 2, 5, 7)
        x[0, 0] = 3.0
        x[0, 0, 1:4, 1:6] = 100.0
        assert border_level(x)[0, :, 0, 0].tolist() == [3.0, 0.0]
        assert (baseline_images("background", x)[0, 0] == 3.0).all()

    @pytest.mark.parametrize("shape", [(9, 11), (7, 9, 8)])
    def test_blur_is_scipys(self, shape: tuple[int, ...]) -> None:
        from scipy.ndimage import gaussian_filter

        x = torch.rand(1, 1, *shape, dtype=torch.float64)
        peer = gaussian_filter(x[0, 0].numpy(), 1.3, mode="nearest", radius=4)
        torch.testing.assert_close(blurred(x, 1.3)[0, 0], torch.from_numpy(peer))

    def test_a_function_of_the_images(self) -> None:
        network, x = small_network(), images()
        by_function = IntegratedGradCAM(network)(x, baselines=lambda x: x / 2, n_steps=3)
        by_tensor = IntegratedGradCAM(network)(x, baselines=x / 2, n_steps=3)
        torch.testing.assert_close(by_function.maps, by_tensor.maps)

    def test_unknown_names_are_refused(self) -> None:
        with pytest.raises(ValueError, match="blur"):
            IntegratedGradCAM(small_network())(images(), baselines="grey")


class TestAnyNetwork:
    def test_several_layers_are_averaged_and_kept(self) -> None:
        network, x = small_network(), images()
        both = IntegratedGradCAM(network, ["features", "features.3"])(x, n_steps=3)
        singles = [
            IntegratedGradCAM(network, layer)(x, n_steps=3) for layer in ("features", "features.3")
        ]
        torch.testing.assert_close(both.maps, (singles[0].maps + singles[1].maps) / 2)
        assert both.target_layer == "features, features.3"
        assert [layer.target_layer for layer in both.layers] == ["features", "features.3"]

    def test_wrapped_for_several_devices(self) -> None:
        network, x = small_network(), images()
        plain = IntegratedGradCAM(network, "features.3")(x, n_steps=3)
        wrapped = IntegratedGradCAM(nn.DataParallel(network), "features.3")(x, n_steps=3)
        torch.testing.assert_close(wrapped.maps, plain.maps)

    def test_compiled(self) -> None:
        network, x = small_network(), images()
        plain = IntegratedGradCAM(network, "features.3")(x, n_steps=3)
        compiled = IntegratedGradCAM(torch.compile(network), "features.3")(x, n_steps=3)
        torch.testing.assert_close(compiled.maps, plain.maps)

    def test_weights_in_bfloat16(self) -> None:
        network, x = small_network(dtype=torch.float32), images(dtype=torch.float32)
        exact = IntegratedGradCAM(network)(x, 0, n_steps=8).maps
        rough = IntegratedGradCAM(network.bfloat16())(x, 0, n_steps=8).maps
        assert rough.dtype == torch.float32
        assert (rough - exact).norm() < 0.1 * exact.norm()

    def test_changed_weights_change_the_map(self) -> None:
        network, x = small_network(), images()
        cam = IntegratedGradCAM(network)
        cam(x, 0, n_steps=3)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.data.mul_(0.9)  # torch does not count this as a change
        torch.testing.assert_close(
            cam(x, 0, n_steps=3).maps, IntegratedGradCAM(network)(x, 0, n_steps=3).maps
        )

    def test_automatic_precision_stays_close(self) -> None:
        network, x = small_network(dtype=torch.float32), images(dtype=torch.float32)
        plain = IntegratedGradCAM(network)(x, 0, n_steps=8).maps
        auto = IntegratedGradCAM(network, precision="auto")(x, 0, n_steps=8).maps
        assert (auto - plain).norm() < 0.05 * plain.norm()


class TestLongCalls:
    def test_progress_is_told_and_can_cancel(self) -> None:
        told: list[tuple[int, int]] = []
        network, x = small_network(), images(5)
        IntegratedGradCAM(network, progress=lambda *now: told.append(now))(
            x, n_steps=4, internal_batch_size=2
        )
        assert {now[0] for now in told} == {0, 2, 4}
        assert {now[1] for now in told} == {5}

        def cancel(done: int, _total: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        network.train()
        with pytest.raises(KeyboardInterrupt):
            IntegratedGradCAM(network, progress=cancel)(x, n_steps=4, internal_batch_size=2)
        assert network.training
        assert not any(module._forward_hooks for module in network.modules())

    def test_halves_the_batch_when_memory_runs_out(self) -> None:
        class Narrow(nn.Module):
            def __init__(self, network: nn.Module) -> None:
                super().__init__()
                self.network = network

            def forward(self, x: Tensor) -> Tensor:
                if len(x) > 3:
                    raise torch.OutOfMemoryError("CUDA out of memory.")
                return self.network(x)

        network, x = small_network(), images(7)
        ours = IntegratedGradCAM(Narrow(network), "network.features")(
            x, n_steps=4, internal_batch_size=16
        )
        torch.testing.assert_close(ours.maps, IntegratedGradCAM(network)(x, n_steps=4).maps)

    def test_other_errors_are_no_lack_of_memory(self) -> None:
        assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: ..."))
        assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))

    def test_nothing_returned_holds_a_graph(self) -> None:
        explanation = IntegratedGradCAM(small_network())(images(), "all", channels="each")
        tensors = [value for value in vars(explanation).values() if isinstance(value, Tensor)]
        assert len(tensors) >= 8
        assert not any(tensor.requires_grad for tensor in tensors)

    @pytest.mark.parametrize("settings", [{"n_steps": 2}, {"rtol": 0.5}])
    def test_many_small_calls_leak_nothing(self, settings: dict[str, object]) -> None:
        network = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
        ).eval()
        cam, x = IntegratedGradCAM(network, **settings), torch.rand(1, 1, 6, 6)
        calls = int(os.environ.get("CELLCAM_LEAK_CALLS", "400"))
        repeat(cam, x, calls)
        before = (resident_bytes(), alive(), len(network[1]._forward_hooks))
        repeat(cam, x, calls)
        after = (resident_bytes(), alive(), len(network[1]._forward_hooks))
        assert after[1] <= before[1]
        assert after[2] == before[2] == 0
        assert after[0] - before[0] < 8e6


def repeat(call: Callable[[Tensor], object], x: Tensor, times: int) -> None:
    for _ in range(times):
        call(x)
    gc.collect()


def alive() -> int:
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def resident_bytes() -> int:
    return psutil.Process().memory_info().rss
