"""Cellpose's own loading and dynamics around a network of six numbers, made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.plain_finder import in_reading_order, other_pixels

from cellcam import InputError, Request, Stack
from cellcam.cells.cellpose_finder import CellposeFinder
from cellcam.cells.finder import FieldView, Labels, finder_options
from cellcam.errors import UsageError
from cellcam.stacks.blocks import Part
from cellcam.stacks.stack import PixelSize

WHY = "needs cellpose: pip install 'cellcam[cellpose]'"


def discs(shape: tuple[int, int], radius: int, spacing: int) -> np.ndarray:
    """Discs on a grid that is shaken, so that they touch here and there."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape, np.float32)
    for cy in range(spacing // 2, shape[0], spacing):
        for cx in range(spacing // 2, shape[1], spacing):
            dy, dx = random.uniform(-3, 3, 2)
            image[np.hypot(y - cy - dy, x - cx - dx) < radius] = 1
    return image


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a network whose flows climb to the middle of bright discs."""
    vit = pytest.importorskip("cellpose.vit", reason=WHY)
    models = pytest.importorskip("cellpose.models", reason=WHY)
    import torch
    from torch.nn import functional

    class Climbing(vit.BaseModel):
        def __init__(self, dtype: torch.dtype = torch.float32) -> None:
            super().__init__(dtype)
            self.W2 = torch.nn.Parameter(torch.eye(3))  # Cellpose looks for it
            self.blur = torch.nn.Parameter(torch.zeros(31))
            self.level = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = x.sum(1, keepdim=True)
            for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
                x = functional.conv2d(x, self.blur.reshape(shape), padding="same")
            padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
            up = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
            right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
            length = torch.sqrt(up**2 + right**2) + 1e-6
            flows = [5 * up / length, 5 * right / length, x - self.level]
            return torch.cat(flows, 1), torch.zeros(len(x), 256)

    patch = pytest.MonkeyPatch()
    patch.setattr(models, "CPSAM", Climbing)
    made = Climbing()
    with torch.no_grad():
        at = torch.arange(31) - 15.0
        made.blur[:] = torch.exp(-((at / 4) ** 2) / 2) / (4 * np.sqrt(2 * np.pi))
        made.level[:] = 0.4
    path = tmp_path_factory.mktemp("cellpose") / "climbing"
    made.save_model(str(path))
    yield path
    patch.undo()


def found(stack: Stack, finder: CellposeFinder) -> Labels:
    finder = finder.for_stack(stack, None, None)
    view = FieldView.whole(stack)
    return finder.label(view, finder.measure(view))


def field(shape: tuple[int, int] = (150, 170)) -> Stack:
    pixels = 500 + 1000 * discs(shape, 11, 27)
    return Stack.from_array(pixels.astype(np.uint16), "YX", ["DNA"], PixelSize(None, 0.5, 0.5))


class TestCells:
    def test_are_the_discs(self, network: Path) -> None:
        labels = found(field(), CellposeFinder(str(network)))
        truth = discs((150, 170), 11, 27) > 0
        assert labels.max() == 6 * 6
        assert ((labels > 0) & truth).sum() / ((labels > 0) | truth).sum() > 0.8

    def test_are_those_of_cellpose_itself(self, network: Path) -> None:
        """A field of one tile, which Cellpose's own call cuts in the same way."""
        from cellpose.models import CellposeModel

        stack = field((256, 256))
        ours = found(stack, CellposeFinder(str(network)))
        pixels = np.zeros((256, 256, 3), np.float32)
        pixels[..., 0] = np.asarray(stack.data)[0, 0, 0]
        model = CellposeModel(pretrained_model=str(network), use_bfloat16=False)
        theirs = model.eval(pixels, channel_axis=-1, max_size_fraction=1)[0]
        assert theirs.max() > 70
        np.testing.assert_array_equal(in_reading_order(ours), in_reading_order(theirs))

    @pytest.mark.parametrize("diameter", [None, 24])
    def test_are_the_same_in_blocks(
        self, network: Path, monkeypatch: pytest.MonkeyPatch, diameter: float | None
    ) -> None:
        """But for pixels at the rims of cells, which Cellpose's arithmetic rounds."""
        for name, pixels in {"_TILE": 64, "_STEP": 52, "_REACH": 40}.items():
            monkeypatch.setattr(f"cellcam.cells.cellpose_finder.{name}", pixels)
        shape = (280, 250)
        stack = field(shape)
        finder = CellposeFinder(str(network), min_size=4, diameter=diameter)
        view = FieldView.whole(stack)
        scale = finder.measure(view)
        whole, border = finder.label(view, scale), finder.border(scale)
        for core in [Part((0, 0), (90, 80), shape), Part((120, 110), (190, 180), shape)]:
            read = core.grown(border)
            assert read.shape != shape
            ours = finder.label(view.cut(read), scale)[core.within(read)]
            theirs = whole[core.slices]
            assert len(np.unique(ours)) == len(np.unique(theirs)) > 5
            assert ((ours > 0) != (theirs > 0)).mean() < 1e-3
            assert other_pixels(ours, theirs) < 3e-3 * ours.size

    def test_can_be_resized(self, network: Path) -> None:
        """Cells of half the size, said in um, are resized to what the network knows."""
        small = 500 + 1000 * discs((90, 100), 6, 14)
        stack = Stack.from_array(small, "YX", ["DNA"], PixelSize(None, 0.5, 0.5))
        labels = found(stack, CellposeFinder(str(network), diameter_um=7.5))
        assert labels.shape == (90, 100)
        assert 0.9 < labels.max() / (6 * 7) <= 1

    def test_stay_out_of_pixels_without_data(self, network: Path) -> None:
        pixels = (500 + 1000 * discs((256, 256), 11, 27)).astype(np.float32)
        pixels[:, 128:] = np.nan
        labels = found(Stack.from_array(pixels, "YX", ["DNA"]), CellposeFinder(str(network)))
        assert labels[:, :110].max() > 30
        assert not labels[:, 140:].any()

    def test_an_empty_field_has_none(self, network: Path) -> None:
        stack = Stack.from_array(np.full((40, 50), 7, np.uint8), "YX", ["DNA"])
        assert not found(stack, CellposeFinder(str(network))).any()


class TestRefusals:
    stack = Stack.from_array(np.zeros((4, 30, 30), np.uint8), "CYX", [*"abcd"])

    def test_without_a_network(self) -> None:
        with pytest.raises(UsageError, match="--finder-option model=PATH"):
            CellposeFinder().for_stack(self.stack, "a", None)

    def test_of_a_network_that_is_not_there(self, tmp_path: Path) -> None:
        """Cellpose itself would fetch another one."""
        with pytest.raises(UsageError, match="There is no file .*cpsam"):
            CellposeFinder(str(tmp_path / "cpsam")).for_stack(self.stack, "a", None)

    def test_of_a_file_that_is_no_network(self, network: Path, tmp_path: Path) -> None:
        (tmp_path / "cpsam").write_bytes(b"not a network")
        with pytest.raises(UsageError, match="no network of Cellpose 4"):
            found(field((60, 60)), CellposeFinder(str(tmp_path / "cpsam")))

    def test_of_volumes(self, tmp_path: Path) -> None:
        (tmp_path / "cpsam").touch()
        stack = Stack.from_array(np.zeros((3, 30, 30), np.uint8), "ZYX", ["DNA"])
        finder = CellposeFinder(str(tmp_path / "cpsam")).for_stack(stack, None, None)
        with pytest.raises(InputError, match="on planes, not on volumes"):
            finder.measure(FieldView.whole(stack, z="volume"))

    def test_of_more_channels_than_it_sees(self, tmp_path: Path) -> None:
        (tmp_path / "cpsam").touch()
        with pytest.raises(InputError, match="up to 3 channels, not a, b, c, d"):
            CellposeFinder(str(tmp_path / "cpsam"), "a,b,c,d").for_stack(self.stack, None, None)

    def test_of_um_without_a_pixel_size(self, tmp_path: Path) -> None:
        (tmp_path / "cpsam").touch()
        finder = CellposeFinder(str(tmp_path / "cpsam"), "a", diameter_um=10)
        with pytest.raises(InputError, match="pixel size of stack is unknown"):
            finder.for_stack(self.stack, None, None)


def test_its_options_are_those_of_the_command_line() -> None:
    finder = CellposeFinder("cpsam", "actin,DNA", diameter_um=12, min_size=30)
    assert Request(finder=finder).words() == [
        *("--finder", "cellpose"),
        *("--finder-option", "model=cpsam"),
        *("--find-channel", "actin,DNA"),
        *("--diameter-um", "12"),
        *("--finder-option", "min_size=30"),
    ]
    assert finder_options(CellposeFinder)["min_size"] == 15


def test_a_changed_file_of_the_network_is_another_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "network"
    request = Request(finder=CellposeFinder(model="~/network", channel="x" * 300))
    path.write_bytes(b"one")
    before = request.description()
    assert before == request.description()
    path.write_bytes(b"two")
    assert before != request.description()
