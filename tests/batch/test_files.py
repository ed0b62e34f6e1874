"""Which files of a folder are images: sets once, links and unreadable ones with their reason."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from support.batches import HERE, field_of_discs, write_field
from support.ome_files import image_xml, ome, tiff_data, write_planes, write_positions

from cellcam import InputError, Request, open_stack
from cellcam.batch.images import InputImage, list_images
from cellcam.batch.merge import BatchResult
from cellcam.batch.run import run_batch
from cellcam.errors import UsageError
from cellcam.request import ImageOptions
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

QUICK = Request(explained=0)


def batch(folder: Path, model: Path, out: Path, request: Request = QUICK) -> BatchResult:
    done = run_batch([folder], model, out, request, resources=HERE)
    assert done is not None
    return done


def listed(*paths: Path) -> dict[str, InputImage]:
    return {image.name: image for image in list_images(paths)}


def discs(seed: int) -> np.ndarray:
    """(T, C, Z, Y, X) pixels that the model fits."""
    return np.asarray(field_of_discs(seed).data)


@pytest.mark.fault("a multi-position OME set in a batch", "each position once, under its own name")
@pytest.mark.parametrize("kind", ["all in all", "companion", "master"])
def test_a_set_gives_each_position_once(model: Path, tmp_path: Path, kind: str) -> None:
    named = Request(explained=0, image=ImageOptions(channels=("DNA", "actin")))
    write_positions(tmp_path / "set", [discs(i) for i in range(3)], kind=kind)
    for i in range(3):
        write_field(tmp_path / "single" / f"pos{i}.tif", i)
    done = batch(tmp_path / "set", model, tmp_path / "out", named)
    batch(tmp_path / "single", model, tmp_path / "expected", named)
    assert [outcome.status for outcome in done.outcomes] == ["done"] * 3
    columns = ["image", "label", "y", "x", "class"]
    cells, expected = (
        pd.read_parquet(tmp_path / out / "cells.parquet")[columns] for out in ("out", "expected")
    )
    pd.testing.assert_frame_equal(cells, expected)


@pytest.mark.fault("an image whose time points are files of their own, in a batch", "once")
def test_an_image_in_several_files_is_worked_on_once(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    frames = [discs(0), discs(1)]
    names = [(f"t{t}.ome.tif", f"0000000{t}-0000-4000-8000-000000000000") for t in range(2)]
    planes = "".join(
        tiff_data(c, 1, (t, c, 0), file) for t, file in enumerate(names) for c in range(2)
    )
    image = image_xml(0, (2, 2, 1, 96, 96), planes, channels=["DNA", "actin"])
    for (name, uuid), frame in zip(names, frames, strict=True):
        write_planes(folder / name, frame[0, :, 0], ome(image, uuid))
    done = batch(folder, model, tmp_path / "out")
    assert [(o.image, o.status) for o in done.outcomes] == [("t0", "done")]
    assert "2 files: t0.ome.tif, t1.ome.tif" in done.outcomes[0].notes[0]
    images = pd.read_csv(tmp_path / "out" / "images.csv")
    assert images["image"].tolist() == ["t0"]
    assert set(pd.read_csv(tmp_path / "out" / "cells.csv")["t"]) == {0, 1}
    # A part that changes makes it another input.
    before = (tmp_path / "out" / "cells.csv").read_text()
    write_planes(folder / "t1.ome.tif", discs(7)[0, :, 0], ome(image, names[1][1]))
    batch(folder, model, tmp_path / "out")
    assert (tmp_path / "out" / "cells.csv").read_text() != before


@pytest.mark.fault(
    "a stopped acquisition in a batch", "a row with the way out; with --tolerate-missing a note"
)
def test_a_stopped_acquisition(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    image = image_xml(0, (5, 2, 1, 96, 96), tiff_data(0, 10), channels=["DNA", "actin"])
    frames = np.concatenate([discs(i)[0, :, 0] for i in range(3)])
    write_planes(folder / "a.ome.tif", frames, ome(image.replace("XYZCT", "XYCZT")))
    done = batch(folder, model, tmp_path / "out")
    assert "time points 0 to 2" in done.failed[0].reason
    done = batch(folder, model, tmp_path / "out", Request(explained=0, t=2))
    assert not done.failed
    assert set(pd.read_csv(tmp_path / "out" / "cells.csv")["t"]) == {2}
    tolerant = Request(explained=0, image=ImageOptions(tolerate_missing=True))
    done = batch(folder, model, tmp_path / "out", tolerant)
    assert not done.failed
    assert set(pd.read_csv(tmp_path / "out" / "cells.csv")["t"]) == {0, 1, 2}
    (notes,) = pd.read_csv(tmp_path / "out" / "images.csv")["notes"]
    assert "4 of 10 planes are missing" in notes
    assert "2 of 5 time points were left out" in notes
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["request"]["tolerate_missing"] is True


@pytest.mark.fault("8 links out of the folder of a batch", "a row with the reason; not opened")
def test_links_out_of_the_folder_are_rows(tmp_path: Path) -> None:
    write_field(tmp_path / "in" / "a.tif", 0)
    write_field(tmp_path / "outside" / "secret.tif", 1)
    os.symlink(tmp_path / "outside" / "secret.tif", tmp_path / "in" / "file.tif")
    os.symlink(tmp_path / "outside", tmp_path / "in" / "folder")
    os.symlink(tmp_path / "in" / "a.tif", tmp_path / "in" / "inside.tif")
    images = listed(tmp_path / "in")
    assert {name: image.unusable[:0] for name, image in images.items()} == dict.fromkeys(
        ["a", "file", "folder", "inside"], ""
    )
    assert not images["a"].unusable
    assert not images["inside"].unusable
    for name in ("file", "folder"):
        assert f"link out of its folder, to {tmp_path / 'outside'}" in images[name].unusable
    # Given by the user, a link is followed.
    assert not listed(tmp_path / "in" / "file.tif")["file"].unusable


@pytest.mark.fault("25 links in a circle, and links to nothing", "rows with the reason")
def test_links_that_lead_nowhere_are_rows(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    os.symlink("loop.tif", tmp_path / "in" / "loop.tif")
    os.symlink("gone.tif", tmp_path / "in" / "broken.tif")
    os.symlink(".", tmp_path / "in" / "here")
    images = listed(tmp_path / "in")
    assert set(images) == {"loop", "broken"}
    assert all("where nothing is" in image.unusable for image in images.values())


@pytest.mark.fault("results in the folder that a batch works on", "not taken for images")
def test_results_are_no_images(tmp_path: Path) -> None:
    write_field(tmp_path / "a.tif", 0)
    write_field(tmp_path / "own.labels.ome.tif", 1)
    results = tmp_path / "results" / "images"
    results.mkdir(parents=True)
    for name in ("a.cells.parquet", "a.labels.ome.tif", "a.maps.ome.tif", "a.overview.png"):
        (results / name).write_bytes(b"")
    (results / "b.maps.ome.zarr").mkdir()
    (results / "b.cells.parquet").write_bytes(b"")
    assert set(listed(tmp_path)) == {"a", "own.labels"}


@pytest.mark.fault("25 a pipe with the name of an image", "a row with the reason, no waiting")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    write_field(tmp_path / "a.tif", 0)
    images = listed(tmp_path)
    assert set(images) == {"a", "pipe"}
    assert "is a pipe, a socket or a device" in images["pipe"].unusable
    (named,) = list_images([tmp_path / "pipe.tif"])
    with pytest.raises(InputError, match="is a pipe, a socket or a device"):
        open_stack(named.file.path)


@pytest.mark.fault("25 files and folders that must not be read", "rows with the reason")
@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_must_not_be_read_is_a_row(model: Path, tmp_path: Path) -> None:
    write_field(tmp_path / "in" / "closed" / "a.tif", 0)
    write_field(tmp_path / "in" / "b.tif", 0)
    (tmp_path / "in" / "closed").chmod(0)
    (tmp_path / "in" / "b.tif").chmod(0)
    try:
        done = batch(tmp_path / "in", model, tmp_path / "out")
    finally:
        (tmp_path / "in" / "closed").chmod(0o755)
    assert {o.image: "cannot be read" in o.reason for o in done.failed} == {
        "closed": True, "b": True,
    }  # fmt: skip


def test_a_folder_that_cannot_be_listed_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_field(tmp_path / "in" / "closed" / "a.tif", 0)
    write_field(tmp_path / "in" / "b.tif", 0)
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    images = listed(tmp_path / "in")
    assert images["closed"].unusable.endswith("cannot be read: Permission denied.")
    assert not images["b"].unusable


@pytest.mark.fault("25 an image vanishes while the batch runs", "a row with the reason")
def test_a_file_that_vanishes_is_a_row(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(2):
        write_field(tmp_path / "in" / f"i{i}.tif", i)
    from cellcam.batch import whole_images

    opened = whole_images.open_image

    def vanishing(image: InputImage, job: object) -> object:
        image.file.path.unlink() if image.name == "i0" else None
        return opened(image, job)  # type: ignore[arg-type]

    monkeypatch.setattr(whole_images, "open_image", vanishing)
    done = batch(tmp_path / "in", model, tmp_path / "out")
    assert {o.image: o.status for o in done.outcomes} == {"i0": "refused", "i1": "done"}
    assert "There is no file" in done.failed[0].reason


@pytest.mark.fault("25 names that are formulas, no UTF-8, or too long", "safe names, or a reason")
def test_names_that_are_not_nice(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    names = ["=cmd|'!A0", "@sum", "-1+1|x", "µ zelle 细胞", "a\nb", "-3", "{name}", "x" * 250]
    write_field(folder / "plain.tif", 0)
    for name in names:
        shutil.copy(folder / "plain.tif", folder / f"{name}.tif")
    raw = os.fsencode(folder) + b"/bytes\xff\xfe.tif"
    shutil.copy(os.fsencode(folder / "plain.tif"), raw)
    done = batch(folder, model, tmp_path / "out")
    assert [o.image for o in done.failed] == ["x" * 250]
    assert "shorten" in done.failed[0].reason
    assert len(done.outcomes) == 10
    for table in ("images.csv", "cells.csv"):
        text = pd.read_csv(tmp_path / "out" / table)["image"].astype(str)
        assert not text.str.match(r"[=@]|-1").any()
        assert {"'=cmd|'!A0", "'@sum", "'-1+1|x", "-3", "a\nb"} - {"-3"} <= set(text)
    parquet = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert "=cmd|'!A0" in set(parquet["image"])
    assert any(name.startswith("bytes__~") for name in parquet["image"])
    assert json.loads((tmp_path / "out" / "run.json").read_text())["failed"] == 1


@pytest.mark.fault(
    "damaged files of microscopes in the folder of a batch", "rows that say what to do"
)
def test_files_of_microscopes_are_rows(model: Path, tmp_path: Path) -> None:
    write_field(tmp_path / "in" / "a.tif", 0)
    (tmp_path / "in" / "b.czi").write_bytes(b"ZISRAWFILE" + bytes(500))
    (tmp_path / "in" / "c.nd2").write_bytes(b"\xda\xce\xbe\x0a" + bytes(500))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    done = batch(tmp_path / "in", model, tmp_path / "out")
    reasons = {outcome.image: outcome.reason for outcome in done.failed}
    assert set(reasons) == {"b", "c"}
    assert all("Copy" in reason for reason in reasons.values())


@pytest.mark.fault("OME-Zarr images in the folder of a batch", "worked on like files")
def test_folders_that_are_images_are_listed(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=discs(0)[0, :, 0], chunks=(1, 48, 48))
    axes = [{"name": a, "unit": "micrometer"} for a in "cyx"]
    scale = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    group.attrs["multiscales"] = [
        {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    ]
    group.attrs["omero"] = {"channels": [{"label": "DNA"}, {"label": "actin"}]}
    assert list(listed(tmp_path / "in")) == ["a"]
    done = batch(tmp_path / "in", model, tmp_path / "out")
    assert [(o.image, o.status) for o in done.outcomes] == [("a", "done")]
    assert done.cells > 0


@pytest.mark.fault(
    "several TIFF axes without names in a batch", "one remedy for all; --axes then applies"
)
def test_axes_without_names(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(3):
        with tifffile.TiffWriter(folder / f"i{i}.tif") as tif:
            for plane in discs(i)[0, :, 0]:
                tif.write(plane, metadata=None, contiguous=False)
    done = batch(folder, model, tmp_path / "out")
    assert all("does not say what its axes mean" in o.reason for o in done.failed)
    assert len({o.reason.replace(f"i{i}", "") for i, o in enumerate(done.failed)}) == 1
    facts = ImageOptions("CYX", ("DNA", "actin"), 0.5)
    done = batch(folder, model, tmp_path / "out", Request(explained=0, image=facts))
    assert not done.failed
    assert done.cells > 0


@pytest.mark.fault("11 images of several types and pixel sizes in a folder", "each by its own")
def test_each_image_has_its_own_scale(model: Path, tmp_path: Path) -> None:
    sizes = {"a": 0.5, "b": 0.25, "c": 0.5}
    for name, um in sizes.items():
        pixels = discs(3).astype(np.float32 if name == "c" else np.uint16)
        path = tmp_path / "in" / f"{name}.tif"
        write_ome_tiff(path, pixels, ("DNA", "actin"), PixelSize(None, um, um))
    batch(tmp_path / "in", model, tmp_path / "out")
    cells = pd.read_csv(tmp_path / "out" / "cells.csv")
    for name, um in sizes.items():
        own = cells[cells["image"] == name]
        assert len(own) > 0
        np.testing.assert_allclose(own["y_um"], own["y"] * um)
    a, c = (cells[cells["image"] == name] for name in "ac")
    np.testing.assert_allclose(a["p_S"], c["p_S"], rtol=1e-5)


@pytest.mark.parametrize("labels", ["masks/{nme}.tif", "masks/{}.tif", "{name", "{name.x}.tif"])
def test_a_pattern_of_label_images_that_makes_no_sense(tmp_path: Path, labels: str) -> None:
    write_field(tmp_path / "a.tif", 0)
    with pytest.raises(UsageError, match="--labels.*{name}"):
        list_images([tmp_path], labels)
