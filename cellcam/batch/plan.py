"""The plan of a batch: its items, each with a key made of everything its result depends on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

from cellcam.batch.images import FileState, InputImage
from cellcam.batch.job import Job, digest
from cellcam.batch.opening import open_image, open_in_blocks
from cellcam.batch.records import Outcome, disk_full_stops, outcome_of, stop_if_all_would_fail
from cellcam.cells.finder import CellFinder, FieldView
from cellcam.cells.no_data import REACH, Fill
from cellcam.cells.user_labels import UserLabels, mask_is_too_large
from cellcam.errors import InputError, UsageError
from cellcam.models.network_input import NetworkInput
from cellcam.pipeline.find_field import with_fill
from cellcam.pipeline.matching import FieldPlace, MatchedStack, map_planes
from cellcam.stacks.blocks import Block, blocks_of
from cellcam.stacks.stack import Stack
from cellcam.stacks.writing import check_name

# Images whose maps need no more memory are worked on whole, all their fields at once.
WHOLE_BYTES = 2**28
# Small images are worked on together, up to so many pixels or images.
_GROUP_PIXELS, _GROUP_IMAGES = 2**22, 32
_MIN_BORDER = 64


@dataclass(frozen=True)
class FieldBlock:
    """One block of one field of a huge image.

    Attributes
    ----------
    place : the field
    block : the rectangle of it
    measured : what the finder measured on the whole field; None where the block is the whole field
    fill : of the whole field; None where the block is the whole field
    """

    place: FieldPlace
    block: Block
    measured: object = None
    fill: Fill | None = None


@dataclass(frozen=True)
class Item:
    """A piece of work that is done whole or not at all.

    Attributes
    ----------
    key : hash of its inputs and of the job's fingerprint
    images : several small images, or the image that the block belongs to
    block : None for whole images
    """

    key: str
    images: tuple[InputImage, ...]
    block: FieldBlock | None = None


@dataclass(frozen=True)
class Workload:
    """How much work an image is.

    Attributes
    ----------
    unusable : the outcome of an image that cannot be used
    pixels : of one plane, times the number of fields
    blocks : of an image too large to be worked on whole
    """

    image: InputImage
    unusable: Outcome | None = None
    pixels: int = 0
    blocks: tuple[FieldBlock, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All work of a batch.

    Attributes
    ----------
    images : every input, in order; an image in several files once
    items : work on images that can be used
    unusable : outcomes of the others
    """

    images: tuple[InputImage, ...]
    items: tuple[Item, ...]
    unusable: tuple[Outcome, ...]

    def blocks_by_image(self) -> dict[str, list[Item]]:
        """Items of each huge image, by its name."""
        grouped: dict[str, list[Item]] = {}
        for item in self.items:
            if item.block is not None:
                grouped.setdefault(item.images[0].name, []).append(item)
        return grouped


def measure_workload(images: Sequence[InputImage], job: Job) -> list[Workload]:
    """Open images: can they be used, and how much work are they?"""
    with disk_full_stops():
        return [_workload(image, job) for image in images]


def make_plan(
    images: Sequence[InputImage],
    job: Job,
    measure: Callable[[Sequence[InputImage]], Iterable[Workload]],
) -> Plan:
    """Plan the work on images.

    Parameters
    ----------
    measure : `measure_workload`, in this process or in workers
    """
    workloads = _each_image_once(measure(images))
    usable = [load for load in workloads if load.unusable is None]
    groups = _groups([load for load in usable if not load.blocks])
    items = [_item(tuple(group), job) for group in groups]
    items += [_item((load.image,), job, block) for load in usable for block in load.blocks]
    unusable = tuple(load.unusable for load in workloads if load.unusable is not None)
    return Plan(tuple(load.image for load in workloads), tuple(items), unusable)


def _each_image_once(workloads: Iterable[Workload]) -> list[Workload]:
    """Work without repeats: every file of an image in several files leads to the same image."""
    kept: dict[tuple[Path, ...], Workload] = {}
    for load in workloads:
        files = load.image.parts or (load.image.file,)
        kept.setdefault(tuple(file.path for file in files), load)
    return list(kept.values())


def image_by_image(item: Item, job: Job) -> list[Item]:
    """The same work as one item for each image."""
    if len(item.images) == 1:
        return [item]
    return [_item((image,), job) for image in item.images]


def in_shard(item: Item, number: int, count: int) -> bool:
    """Whether an item belongs to shard ``number`` of ``count``."""
    return int(item.key, 16) % count == number


def border_of(stack: Stack, spec: NetworkInput, finder_border: int) -> int:
    """Pixels to read around a block, so that neither its cells nor its crops depend on the cut."""
    crop = max(spec.crop_size[-2:])
    pixel, model_pixel = stack.pixel_size_um.x, spec.pixel_size_um
    if model_pixel is not None and pixel is not None:
        crop = math.ceil(crop * model_pixel[-1] / pixel)
    return max(_MIN_BORDER, finder_border, crop + 8)


def _workload(image: InputImage, job: Job) -> Workload:
    try:
        if image.unusable:
            raise InputError(image.unusable)
        check_name(job.images, image.name)
        matched = open_image(image, job)
        image = replace(image, parts=tuple(map(FileState.of, matched.stack.files)))
        places = list(matched.fields())
        pixels = math.prod(matched.stack.data.shape[-2:]) * len(places)
        if _bytes_of_maps(matched, pixels) <= WHOLE_BYTES:
            return Workload(image, pixels=pixels)
        if not matched.finder.is_local:
            raise InputError(_why_not_in_blocks(image.name, matched.finder))
        blocks = _blocks(open_in_blocks(image, job), places)
        return Workload(image, pixels=pixels, blocks=tuple(blocks))
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file can raise anything
        stop_if_all_would_fail(error)
        return Workload(image, outcome_of(error, image.name))


def _why_not_in_blocks(image: str, finder: CellFinder) -> str:
    if isinstance(finder, UserLabels):
        return mask_is_too_large(finder.labels.name)
    return (
        f"{image} is too large to be worked on in one piece, and the finder {finder.name!r} "
        "cannot work in blocks. Choose another --finder, or give label images with --labels."
    )


def _bytes_of_maps(matched: MatchedStack, pixels: int) -> int:
    """Memory of the maps and labels of all fields, which have so many pixels in one plane each."""
    planes = matched.stack.data.shape[2] if matched.z == "volume" else 1
    classes, _ = map_planes(matched.spec, matched.request.classes)
    return pixels * planes * 4 * (len(classes) + 1)


def _blocks(matched: MatchedStack, places: Sequence[FieldPlace]) -> Iterator[FieldBlock]:
    stack, finder = matched.stack, matched.finder
    for place in places:
        view = with_fill(FieldView.whole(stack, *place), matched)
        measured = finder.measure(view)
        border = border_of(stack, matched.spec, finder.border(measured)) + REACH
        blocks = blocks_of(stack, border)
        for block in blocks:
            if len(blocks) == 1:
                yield FieldBlock(place, block)
            else:
                yield FieldBlock(place, block, measured, view.fill)


def _groups(workloads: Sequence[Workload]) -> Iterator[list[InputImage]]:
    """Small images that share the network's batches.

    A hash of the name decides where a group ends: an image that comes or goes changes its own
    group and no other.
    """
    group: list[InputImage] = []
    pixels = 0
    for load in workloads:
        if group and pixels + load.pixels > _GROUP_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(load.image)
        pixels += load.pixels
        if sha256(load.image.name.encode()).digest()[0] % _GROUP_IMAGES == 0:
            yield group
            group, pixels = [], 0
    if group:
        yield group


def _item(images: tuple[InputImage, ...], job: Job, block: FieldBlock | None = None) -> Item:
    inputs = [[asdict(image) for image in images], block and asdict(block)]
    return Item(digest([job.fingerprint, *inputs]), images, block)
