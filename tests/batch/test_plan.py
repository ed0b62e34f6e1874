"""The plan of a batch: groups, keys, blocks and shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from support.batches import PIXEL, write_field

from cellcam import CellModel, Request, Stack, save_model
from cellcam.batch import plan as planning
from cellcam.batch.images import FileState, InputImage
from cellcam.batch.job import Job
from cellcam.batch.plan import (
    FieldBlock,
    Item,
    Plan,
    Workload,
    border_of,
    image_by_image,
    in_shard,
    make_plan,
    measure_workload,
)
from cellcam.batch.records import Outcome
from cellcam.errors import StoppedError, UsageError
from cellcam.pipeline.matching import FieldPlace
from cellcam.stacks.blocks import Block
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

Make = Callable[..., CellModel]


@pytest.fixture
def job(model: Path, tmp_path: Path) -> Job:
    return Job.of(Request(), model, tmp_path / "out", "cpu")


def named(name: str, size: int = 1) -> InputImage:
    return InputImage(name, FileState(Path("/in") / name, size, 0))


def ends_a_group(name: str) -> bool:
    return sha256(name.encode()).digest()[0] % 32 == 0


QUIET = [name for name in (f"q{i}" for i in range(400)) if not ends_a_group(name)]
ENDING = [name for name in (f"e{i}" for i in range(400)) if ends_a_group(name)]


def planned(job: Job, loads: Sequence[Workload]) -> Plan:
    return make_plan([load.image for load in loads], job, lambda _: loads)


def groups_of(plan: Plan) -> list[list[str]]:
    return [[image.name for image in item.images] for item in plan.items]


class TestGroups:
    def test_a_name_whose_hash_says_so_ends_a_group(self, job: Job) -> None:
        names = [*QUIET[:3], ENDING[0], *QUIET[3:5], ENDING[1], QUIET[5]]
        plan = planned(job, [Workload(named(name), pixels=10) for name in names])
        assert groups_of(plan) == [names[:4], names[4:7], names[7:]]

    def test_pixels_end_a_group(self, job: Job) -> None:
        half = 2**21
        loads = [Workload(named(name), pixels=half) for name in QUIET[:5]]
        assert list(map(len, groups_of(planned(job, loads)))) == [2, 2, 1]
        loads = [Workload(named(name), pixels=half + 1) for name in QUIET[:3]]
        assert list(map(len, groups_of(planned(job, loads)))) == [1, 1, 1]

    def test_a_large_image_is_a_group_of_its_own(self, job: Job) -> None:
        loads = [Workload(named(QUIET[i]), pixels=n) for i, n in enumerate((9, 2**23, 9))]
        assert list(map(len, groups_of(planned(job, loads)))) == [1, 1, 1]

    def test_pixels_are_counted_anew_after_the_end_of_a_group(self, job: Job) -> None:
        names = [QUIET[0], ENDING[0], QUIET[1], QUIET[2]]
        loads = [Workload(named(name), pixels=2**21) for name in names]
        assert list(map(len, groups_of(planned(job, loads)))) == [2, 2]

    def test_an_image_that_comes_changes_its_own_group_alone(self, job: Job) -> None:
        names = [*QUIET[:2], ENDING[0], *QUIET[2:4], ENDING[1]]
        before = planned(job, [Workload(named(name), pixels=1) for name in names])
        names.insert(4, QUIET[9])
        after = planned(job, [Workload(named(name), pixels=1) for name in names])
        assert before.items[0].key == after.items[0].key
        assert before.items[1].key != after.items[1].key


class TestKeys:
    def test_a_key_depends_on_inputs_block_and_job(self, job: Job) -> None:
        block = FieldBlock(FieldPlace(), Block.all_of((64, 64)))
        loads = [
            Workload(named("a"), pixels=1),
            Workload(named("a", 2), pixels=1),
            Workload(replace(named("a"), labels=named("m").file), pixels=1),
            Workload(named("a"), blocks=(block,)),
            Workload(named("a"), blocks=(replace(block, measured=3.0),)),
            Workload(named("a"), blocks=(replace(block, place=FieldPlace(1)),)),
        ]
        keys = [planned(job, [load]).items[0].key for load in loads]
        keys.append(planned(replace(job, fingerprint="other"), loads[:1]).items[0].key)
        assert len(set(keys)) == len(keys)
        assert keys[0] == planned(job, loads[:1]).items[0].key

    def test_images_one_by_one_have_the_keys_of_single_images(self, job: Job) -> None:
        plan = planned(job, [Workload(named(name), pixels=1) for name in QUIET[:3]])
        (item,) = plan.items
        pieces = image_by_image(item, job)
        assert [piece.images for piece in pieces] == [(image,) for image in item.images]
        alone = planned(job, [Workload(item.images[0], pixels=1)]).items[0]
        assert pieces[0] == alone
        assert image_by_image(alone, job) == [alone]
        assert len({item.key, *(piece.key for piece in pieces)}) == 4

    def test_shards_share_all_items(self) -> None:
        items = [Item(sha256(bytes([i])).hexdigest()[:24], ()) for i in range(60)]
        shares = [{item.key for item in items if in_shard(item, i, 3)} for i in range(3)]
        assert sum(map(len, shares)) == len(set.union(*shares)) == 60
        assert min(map(len, shares)) > 10
        assert all(int(key, 16) % 3 == 1 for key in shares[1])


def test_images_that_cannot_be_used_and_blocks_have_their_place(job: Job) -> None:
    block = FieldBlock(FieldPlace(), Block.all_of((64, 64)))
    bad = Outcome("bad", "refused", "why")
    loads = [
        Workload(named("huge"), blocks=(block, replace(block, measured=1))),
        Workload(named("bad"), bad),
        Workload(named(QUIET[0]), pixels=1),
    ]
    plan = planned(job, loads)
    assert [image.name for image in plan.images] == ["huge", "bad", QUIET[0]]
    assert plan.unusable == (bad,)
    assert groups_of(plan) == [[QUIET[0]], ["huge"], ["huge"]]
    assert [item.block for item in plan.items[1:]] == list(loads[0].blocks)
    assert plan.blocks_by_image() == {"huge": list(plan.items[1:])}


class TestWorkload:
    def test_pixels_of_all_fields(self, job: Job, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).poisson(100, (2, 2, 3, 40, 50)).astype(np.uint16)
        write_ome_tiff(tmp_path / "a.tif", pixels, ["DNA", "actin"], PIXEL._replace(z=1.0))
        (load,) = measure_workload([image(tmp_path / "a.tif")], job)
        assert (load.unusable, load.blocks, load.pixels) == (None, (), 2 * 3 * 40 * 50)

    def test_unusable_images_say_why_and_stop_nothing(self, job: Job, tmp_path: Path) -> None:
        (tmp_path / "bad.tif").write_bytes(b"II")
        write_field(tmp_path / "good.tif", 0)
        paths = [tmp_path / "bad.tif", tmp_path / "nowhere.tif", tmp_path / "good.tif"]
        loads = measure_workload([image(path) for path in paths], job)
        assert [load.unusable and load.unusable.status for load in loads[:2]] == ["refused"] * 2
        assert loads[2].unusable is None
        assert loads[2].pixels == 96 * 96

    @pytest.mark.fault(
        "a reader that raises anything at all while a batch is planned", "one failed row"
    )
    @pytest.mark.parametrize("error", [MemoryError("no room"), KeyError("tag"), OSError(5, "I/O")])
    def test_no_error_of_one_image_stops_the_plan(
        self, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        write_field(tmp_path / "good.tif", 0)
        opened = planning.open_image

        def open_or_fail(one: InputImage, job: Job) -> object:
            if one.name == "bad":
                raise error
            return opened(one, job)

        monkeypatch.setattr(planning, "open_image", open_or_fail)
        loads = measure_workload([image(tmp_path / f"{n}.tif") for n in ("bad", "good")], job)
        assert loads[0].unusable is not None
        assert loads[0].unusable.status == "failed"
        assert type(error).__name__ in loads[0].unusable.reason
        assert loads[1].unusable is None

    @pytest.mark.parametrize(
        ("error", "raised"),
        [(OSError(28, "full"), StoppedError), (UsageError("wrong"), UsageError)],
    )
    def test_errors_that_concern_all_images_end_the_plan(
        self, job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception]
    ) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(planning, "open_image", fail)
        with pytest.raises(raised):
            measure_workload([named("a")], job)

    @pytest.mark.parametrize(("more", "blocks"), [(0, False), (-1, True)])
    def test_the_memory_of_maps_and_labels_decides_on_blocks(
        self, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int, blocks: bool
    ) -> None:
        """Three classes and the labels, four bytes each."""
        write_field(tmp_path / "a.tif", 0)
        monkeypatch.setattr(planning, "WHOLE_BYTES", 96 * 96 * 4 * 4 + more)
        (load,) = measure_workload([image(tmp_path / "a.tif")], job)
        assert bool(load.blocks) == blocks
        assert load.pixels == 96 * 96

    def test_maps_of_one_class_need_less(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_field(tmp_path / "a.tif", 0)
        monkeypatch.setattr(planning, "WHOLE_BYTES", 96 * 96 * 4 * 2)
        one = Job.of(Request(classes=("S",)), model, tmp_path / "out", "cpu")
        assert not measure_workload([image(tmp_path / "a.tif")], one)[0].blocks

    def test_maps_of_volumes_count_every_plane(
        self, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        volumes = make_model(
            spatial_dims=3, crop_size=(4, 16, 16), field="volume", finding={"channel": "DNA"}
        )
        save_model(volumes, tmp_path / "volumes")
        job = Job.of(Request(), tmp_path / "volumes", tmp_path / "out", "cpu")
        pixels = np.random.default_rng(0).poisson(100, (1, 2, 5, 40, 40)).astype(np.uint16)
        write_ome_tiff(tmp_path / "a.tif", pixels, ["DNA", "actin"], PIXEL._replace(z=1.0))
        for more, blocks in ((0, False), (-1, True)):
            monkeypatch.setattr(planning, "WHOLE_BYTES", 5 * 40 * 40 * 4 * 4 + more)
            assert bool(measure_workload([image(tmp_path / "a.tif")], job)[0].blocks) == blocks

    def test_blocks_tile_every_field_and_share_what_was_measured(
        self, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pixels = np.random.default_rng(0).poisson(100, (2, 2, 1, 300, 300)).astype(np.uint16)
        write_ome_tiff(tmp_path / "a.tif", pixels, ["DNA", "actin"], PIXEL)
        monkeypatch.setattr(planning, "WHOLE_BYTES", 0)
        (load,) = measure_workload([image(tmp_path / "a.tif")], job)
        assert [(block.place.t, block.measured) for block in load.blocks] == [(0, None), (1, None)]
        monkeypatch.setattr("cellcam.stacks.blocks.BLOCK_EDGE", 256)
        (load,) = measure_workload([image(tmp_path / "a.tif")], job)
        by_time = [[block for block in load.blocks if block.place.t == t] for t in range(2)]
        for blocks in by_time:
            assert sum(np.prod(block.block.core.shape) for block in blocks) == 300 * 300
            assert len({repr(block.measured) for block in blocks}) == 1
            assert blocks[0].measured is not None

    def test_a_finder_that_sees_whole_fields_is_refused_where_blocks_are_needed(
        self, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_field(tmp_path / "a.tif", 0)
        monkeypatch.setattr(type(job.request.finder), "is_local", False)
        assert not measure_workload([image(tmp_path / "a.tif")], job)[0].unusable
        monkeypatch.setattr(planning, "WHOLE_BYTES", 0)
        (load,) = measure_workload([image(tmp_path / "a.tif")], job)
        assert load.unusable is not None
        assert "cannot work in blocks" in load.unusable.reason
        assert "--labels" in load.unusable.reason


def image(path: Path) -> InputImage:
    return InputImage(path.stem, FileState.of(path))


@pytest.mark.parametrize(
    ("crop", "pixel_um", "model_um", "finder", "border"),
    [
        (16, 0.5, None, 0, 64),
        (16, 0.5, None, 90, 90),
        (100, 0.5, None, 0, 108),
        (100, None, (0.5, 0.5), 0, 108),
        (100, 0.5, (0.5, 1.0), 0, 208),
        (99, 0.3, (0.5, 0.5), 0, 173),
    ],
)
def test_the_border_holds_crops_and_cells(
    make_model: Make,
    crop: int,
    pixel_um: float | None,
    model_um: tuple[float, ...] | None,
    finder: int,
    border: int,
) -> None:
    spec = make_model(crop_size=(16, crop), pixel_size_um=model_um).spec
    size = PixelSize(None, 9.9, pixel_um)
    stack = Stack.from_array(np.zeros((2, 8, 8)), "CYX", ["DNA", "actin"], size)
    assert border_of(stack, spec, finder) == border
