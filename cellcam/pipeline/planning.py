"""The plan of a batch: which pieces of work there are, each with a key that says what it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256

from cellcam.cells.extents import largest_extent
from cellcam.cells.finding import FieldScale, measure_field
from cellcam.errors import InputError
from cellcam.models.spec import ModelSpec
from cellcam.pipeline.choices import Job, digest
from cellcam.pipeline.inputs import Image
from cellcam.pipeline.matching import field_seen, fields_of, finding_choices, matching_channels
from cellcam.pipeline.records import Outcome, disk_full_stops, outcome_of
from cellcam.pipeline.spooling import in_blocks
from cellcam.stacks.blocks import Block, blocks_of
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import Stack, ZChoice

# Images whose maps need no more are worked on whole, all their fields at once.
WHOLE_BYTES = 2**28
# Small images are worked on together, up to so many pixels or images.
_GROUP_PIXELS, _GROUP_IMAGES = 2**22, 32
_MIN_HALO = 64


@dataclass(frozen=True)
class FieldBlock:
    """One block of one field of a huge image.

    Attributes
    ----------
    t, z : the field
    block : the part of it
    scale : measured on the whole field; None where the block is the whole field, or the cells
        are the user's
    """

    t: int
    z: ZChoice
    block: Block
    scale: FieldScale | None = None


@dataclass(frozen=True)
class Item:
    """A piece of work, done whole or not at all.

    Attributes
    ----------
    key : of all that its result depends on: inputs, model, choices, code
    images : several small ones, or the one that the block belongs to
    block : None for whole images
    """

    key: str
    images: tuple[Image, ...]
    block: FieldBlock | None = None


@dataclass(frozen=True)
class Look:
    """What a first look at an image says about the work in it.

    Attributes
    ----------
    image : the input
    unusable : what becomes of it where it cannot be used
    pixels : of one plane, times the number of fields
    blocks : of an image too large to be worked on whole
    """

    image: Image
    unusable: Outcome | None = None
    pixels: int = 0
    blocks: tuple[FieldBlock, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All work of a batch.

    Attributes
    ----------
    images : every input, in order
    items : work on images that can be used
    unusable : outcomes of images that no item works on
    """

    images: tuple[Image, ...]
    items: tuple[Item, ...]
    unusable: tuple[Outcome, ...]

    def blocks_by_image(self) -> dict[str, list[Item]]:
        """Items of each huge image, by its name."""
        grouped: dict[str, list[Item]] = {}
        for item in self.items:
            if item.block is not None:
                grouped.setdefault(item.images[0].name, []).append(item)
        return grouped


def look_at(images: Sequence[Image], job: Job) -> list[Look]:
    """Open images and see whether they can be used and how much work they are."""
    with disk_full_stops():
        return [_look(image, job) for image in images]


def make_plan(
    images: Sequence[Image],
    job: Job,
    look: Callable[[Sequence[Image]], Iterable[Look]],
) -> Plan:
    """Plan the work on images.

    Parameters
    ----------
    look : `look_at`, done here or by workers
    """
    looks = list(look(images))
    usable = [one for one in looks if one.unusable is None]
    items = [_item(tuple(group), job) for group in _groups([o for o in usable if not o.blocks])]
    items += [_item((one.image,), job, block) for one in usable for block in one.blocks]
    unusable = tuple(one.unusable for one in looks if one.unusable is not None)
    return Plan(tuple(images), tuple(items), unusable)


def singly(item: Item, job: Job) -> list[Item]:
    """The same work, one image at a time."""
    if len(item.images) == 1:
        return [item]
    return [_item((image,), job) for image in item.images]


def in_shard(item: Item, number: int, count: int) -> bool:
    """Whether an item belongs to shard ``number`` of ``count``."""
    return int(item.key, 16) % count == number


def _look(image: Image, job: Job) -> Look:
    choices, spec = job.choices, job.spec
    try:
        stack = choices.opened(image.file.path, image.name)
        if image.labels is not None:
            open_stack(image.labels.path)
        matching_channels(stack, spec, dict(choices.mapping))
        fields = list(fields_of(stack, spec, choices.z))
        seen = field_seen(stack, spec, choices.z)
        pixels = math.prod(stack.data.shape[-2:]) * len(fields)
        planes = stack.data.shape[2] if seen == "volume" else 1
        classes = choices.classes if isinstance(choices.classes, tuple) else spec.classes
        if pixels * planes * 4 * (len(classes) + 1) <= WHOLE_BYTES:
            return Look(image, pixels=pixels)
        stack = in_blocks(stack, image.file, job)
        return Look(image, pixels=pixels, blocks=tuple(_blocks(stack, image, job, fields)))
    except InputError as error:
        return Look(image, outcome_of(error, image.name))


def _blocks(
    stack: Stack, image: Image, job: Job, fields: Sequence[tuple[int, ZChoice]]
) -> Iterator[FieldBlock]:
    choices, spec = job.choices, job.spec
    if image.labels is not None:
        labels = in_blocks(open_stack(image.labels.path), image.labels, job)
        halo = max(halo_of(stack, spec), largest_extent(labels))
        yield from (FieldBlock(t, z, block) for t, z in fields for block in blocks_of(stack, halo))
        return
    how = finding_choices(
        stack, spec, dict(choices.mapping), choices.find_channel, choices.diameter_um
    )
    for t, z in fields:
        scale = measure_field(
            stack, t=t, z=field_seen(stack, spec, z), threshold=choices.threshold, **how
        )
        blocks = blocks_of(stack, halo_of(stack, spec, scale.diameter))
        for block in blocks:
            yield FieldBlock(t, z, block, scale if len(blocks) > 1 else None)


def halo_of(stack: Stack, spec: ModelSpec, diameter: float | None = None) -> int:
    """Pixels that a block is read beyond its edge, so that nothing in it depends on the cut.

    Four diameters hold a cell, its neighbour and all filters; a crop may reach its own size.
    """
    crop = max(spec.crop_size[-2:])
    own, wanted = stack.pixel_size_um.x, spec.pixel_size_um
    if wanted is not None and own is not None:
        crop = math.ceil(crop * wanted[-1] / own)
    return max(_MIN_HALO, math.ceil(4 * (diameter or 0)), crop + 8)


def _groups(looks: Sequence[Look]) -> Iterator[list[Image]]:
    """Small images that share the network's batches.

    Where a group ends is decided by a hash of the name: an image that comes or goes changes
    the group it is in, and no other.
    """
    group: list[Image] = []
    pixels = 0
    for look in looks:
        if group and pixels + look.pixels > _GROUP_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(look.image)
        pixels += look.pixels
        if sha256(look.image.name.encode()).digest()[0] % _GROUP_IMAGES == 0:
            yield group
            group, pixels = [], 0
    if group:
        yield group


def _item(images: tuple[Image, ...], job: Job, block: FieldBlock | None = None) -> Item:
    told = [job.fingerprint, [asdict(image) for image in images], block and asdict(block)]
    return Item(digest(told), images, block)
