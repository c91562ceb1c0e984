"""What lies beside images and is not read is told, and classes whose names are one to some systems are refused."""

import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from levy_core.base.errors import LevyError
from levy_core.datasets.images.left_out import could_be_meant, describe_left_out
from levy_core.datasets.images.sources import open_source

SILENT = [
    "README",
    "LICENSE",
    "notes.txt",
    "a/labels.csv",
    "b/meta.json",
    ".DS_Store",
    "a/Thumbs.db",
    "a/.hidden/x.dcm",
    "b/1.png.md5",
]
NFC, NFD = "caf\u00e9", "cafe\u0301"


def picture(seed=0):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write(root, members, form="folder"):
    root.mkdir(exist_ok=True)
    if form == "zip":
        with zipfile.ZipFile(root / "all.zip", "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return
    for name, data in members.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


CLASSES = {f"{c}/{i}.png": picture(i) for c in "ab" for i in range(2)}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_files_of_other_formats_and_images_in_no_class_are_left_out_with_their_number_endings_and_an_example(
    tmp_path, form
):
    odd = ["a/1.dcm", "a/2.DCM", "b/1.heic", "b/deep/2.svg", "b/scan", "more.7z"]
    write(tmp_path, CLASSES | dict.fromkeys([*odd, "loose.png", "other.jpg", *SILENT], picture()), form)
    source = open_source(tmp_path)
    assert len(source.labels) == 4
    assert sorted(source.left_out) == sorted([*odd, "loose.png", "other.jpg"])
    loose, others = describe_left_out(source.left_out)
    assert loose.startswith("2 images are left out, in no class folder, for example ")
    assert others.startswith("6 files are left out (2 .dcm, 1 ")
    assert "convert images of other formats" in others


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_what_is_obviously_no_image_is_left_out_silently(tmp_path, form):
    write(tmp_path, CLASSES | dict.fromkeys(SILENT, b"x"), form)
    source = open_source(tmp_path)
    assert source.left_out == ()
    assert describe_left_out(source.left_out) == []


def test_what_lies_beside_an_archive_is_left_out_too(tmp_path):
    write(tmp_path, CLASSES, "zip")
    write(tmp_path, {"new/x.dcm": b"x", "late.png": picture(), "notes.txt": b"x"})
    assert open_source(tmp_path).left_out == ("late.png", "new/x.dcm")
    write(tmp_path, {"c/1.png": picture()})
    with pytest.raises(
        LevyError, match=r"holds all.zip and images in folders \(c/1.png\): which is meant is not known"
    ):
        open_source(tmp_path)


def test_class_folders_beside_mnists_files_are_refused_as_beside_a_zip(tmp_path):
    """Their images were told to be in no class folder."""
    header = lambda *shape: bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    write(tmp_path, {"train-images-idx3-ubyte": header(4, 8, 8) + bytes(256)})
    write(tmp_path, {"train-labels-idx1-ubyte": header(4) + bytes([0, 1, 0, 1])})
    assert open_source(tmp_path).left_out == ()
    write(tmp_path, {"c/1.png": picture()})
    with pytest.raises(
        LevyError, match=r"holds train-images-idx3-ubyte and images in folders \(c/1.png\): which is meant"
    ):
        open_source(tmp_path)


def test_mnists_test_images_are_not_missed():
    assert not could_be_meant("t10k-images-idx3-ubyte.gz")
    assert not could_be_meant("train-labels.idx1-ubyte")
    assert could_be_meant("train-images.zip")


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("names", [("Cat", "cat"), (NFC, NFD)])
def test_classes_that_are_one_folder_to_some_systems_are_refused_with_both_names(tmp_path, form, names):
    probe = tmp_path / "probe"
    for name in names:
        (probe / name).mkdir(parents=True, exist_ok=True)
    if form == "folder" and len(list(probe.iterdir())) < 2:
        pytest.skip("this file system takes the two for one")
    write(tmp_path / "data", {f"{c}/{i}.png": picture(i) for c in (*names, "dog") for i in range(2)}, form)
    with pytest.raises(LevyError) as refused:
        open_source(tmp_path / "data")
    assert all(ascii(name) in str(refused.value) for name in names)
    assert "differ only in letter case or in how an accent is written" in str(refused.value)
