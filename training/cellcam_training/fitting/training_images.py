"""How far each training image, taken as a whole, lies from the cells of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cellcam.models.missing_counts import missing_counts
from cellcam.models.normalisation import Normalisation
from cellcam.models.spec import KnownImages
from cellcam.models.training_cells import TrainingCells
from cellcam.models.unlike import measures_of
from cellcam_training.fitting.training_cells import described, measured_rows

# Share of images of the training's kind that get a warning by mistake, and the number of images
# from which on a rank can show it.
FALSE_ALARMS = 0.05
FEWEST_IMAGES = 19
# Of a training image: fewer cells say little, and more only take time.
_FEWEST_CELLS, _MOST_CELLS = 5, 20
_MOST_IMAGES = 100
# So many parts of the training are left out, one after the other.
_PARTS = 20
_FEWEST_FAMILIES = 5


def with_training_images(
    cells: TrainingCells,
    normalisation: Normalisation,
    pixels: NDArray[np.generic],
    groups: NDArray[np.integer],
    images: NDArray[np.integer],
    seed: int = 0,
) -> TrainingCells:
    """The training cells of a model with the values of its training images.

    The value of an image is the median `unlike` of its cells. They are compared with the cells of
    other images only, and of other groups where there are at least five, as those of a new image
    will be. Of many images and cells a sample is measured.

    Parameters
    ----------
    cells : as `known_cells` returns them for the same pixels and seed
    pixels : (N, C, *crop_size) counts
    groups, images : (N,) number of the plate, movie or patient, and of the image, of each cell

    Returns
    -------
    TrainingCells
        Unchanged if fewer than 19 images have five cells.
    """
    judged = _judged_cells(images, np.random.default_rng(seed))
    if len(judged) < FEWEST_IMAGES:
        return cells
    parts = _parts(images, groups, np.random.default_rng(seed))
    rows = measured_rows(len(pixels), seed)
    earlier = np.full(len(cells.reference) - len(rows), -1)  # of a model that training began with
    part_of = np.concatenate([earlier, parts[rows]])
    values = []
    for part in np.unique(parts):
        inside = [image for image in judged if parts[image[0]] == part]
        if not inside:
            continue
        others = described(cells.reference[part_of != part], cells.farthest, cells.sparsest)
        for image in inside:
            measures = measures_of(np.asarray(pixels[image]), normalisation)
            values.append(float(np.median(others.unlike(measures))))
    missing = np.array([missing_counts(np.asarray(pixels[image])) for image in judged])
    known = KnownImages(
        values=tuple(sorted(values)),
        fewest_cells=min(map(len, judged)),
        false_alarms=FALSE_ALARMS,
        missing_counts=tuple(map(_limit, missing.T)),
    )
    return replace(cells, images=known)


def _judged_cells(images: NDArray[np.integer], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Numbers of the cells of each image that is judged, in ascending order."""
    names, counts = np.unique(images, return_counts=True)
    chosen = rng.permutation(names[counts >= _FEWEST_CELLS])[:_MOST_IMAGES]
    return [
        np.sort(rng.permutation(np.flatnonzero(images == name))[:_MOST_CELLS])
        for name in np.sort(chosen)
    ]


def _limit(shares: NDArray[np.float32]) -> float:
    """Share that few enough of the training images reach; NaN, not known, counts as 1."""
    place = int(FALSE_ALARMS * (len(shares) + 1) + 1e-9)
    return float(np.sort(np.nan_to_num(shares, nan=1.0))[-place])


def _parts(
    images: NDArray[np.integer], groups: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Part (N,) of each cell: images stay together, and groups where there are enough of them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, image = np.unique(images, return_inverse=True)
    group = np.unique(groups, return_inverse=True)[1] + len(names)
    n = int(group.max()) + 1
    links = coo_array((np.ones(len(image)), (image, group)), shape=(n, n))
    families = connected_components(links, directed=False)[1][image]
    if len(np.unique(families)) < _FEWEST_FAMILIES:
        families = image
    parts: NDArray[np.int64] = (rng.permutation(int(families.max()) + 1) % _PARTS)[families]
    return parts
