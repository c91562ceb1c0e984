"""Readers of what people bring, the long tail, and the packed store."""

import gzip
import hashlib
import io
import multiprocessing
import os
import pickle
import random
import shutil
import struct
import tarfile
import zipfile
from pathlib import PurePath

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from levy_core.base.errors import LevyError
from levy_core.base.pixels import to_uint8, to_unit
from levy_core.datasets.images.longtail import in_proportion, longtail_counts, rare_classes
from levy_core.datasets.images.sources import Source, checked_reader, open_source
from levy_core.datasets.images.split import Split, assign_groups
from levy_core.datasets.images.store import ImageStore, read_group, write_group
from levy_core.datasets.starter import digits
from tests.conftest import ROOT, SHARED

CIFAR_ZIP = SHARED / "images" / "cifar10-train-jpg.zip"


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def noise_image(seed, size=(6, 5), channels=3):
    shape = size if channels == 1 else (*size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


ARCHIVES = pytest.mark.parametrize(("write", "name"), [(write_zip, "x.zip"), (write_tar, "x.tar.gz")])


def test_cifar_has_the_published_long_tail():
    counts = longtail_counts([5000] * 10, 100)
    assert counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert sum(counts) == 12_406


@given(st.lists(st.integers(50, 400), min_size=2, max_size=30), st.floats(1, 20))
def test_long_tails_fall_fit_and_keep_their_imbalance(available, imbalance):
    counts = longtail_counts(available, imbalance)
    assert all(kept <= there for kept, there in zip(counts, available, strict=True))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] <= counts[0] / imbalance + 1e-6
    assert counts[-1] + 1 > counts[0] / imbalance - 1e-6


@pytest.mark.parametrize(
    ("available", "imbalance", "message"),
    [([5, 5], 0.5, "imbalance is 0.5"), ([5], 2, "at least 2 classes"), ([5, 5], 10, "keeps no image")],
)
def test_impossible_long_tails_are_refused(available, imbalance, message):
    with pytest.raises(LevyError, match=message):
        longtail_counts(available, imbalance)


@given(st.lists(st.integers(1, 90), min_size=2, max_size=8), st.lists(st.integers(1, 500), min_size=8, max_size=8))
def test_numbers_in_proportion_fit_and_none_could_be_larger(available, counts):
    counts = counts[: len(available)]
    found = in_proportion(available, counts)
    assert all(1 <= n <= there for n, there in zip(found, available, strict=True))
    scale = min(n / count for n, count in zip(available, counts, strict=True))
    assert all(n == 1 or abs(n - scale * count) < 1 for n, count in zip(found, counts, strict=True))
    limiting = min(range(len(available)), key=lambda c: available[c] / counts[c])
    assert found[limiting] == available[limiting]


def named(*members, where="somewhere"):
    """A source of images that nobody reads, as (class, name)."""
    classes = sorted({c for c, _ in members})
    labels = np.array([classes.index(c) for c, _ in members])
    return Source(
        classes, labels, PurePath(where), lambda index: f"{members[index][0]}/{members[index][1]}", lambda index: None
    )


def names(source, indices):
    return {source.key(int(i)) for i in indices}


CLASSES = [("a", 60), ("b", 60), ("c", 60)]


def test_selections_hold_their_counts_are_nested_and_go_by_the_seed():
    source = named(*((c, k) for c, n in CLASSES for k in range(n)))
    split, other = Split.of(source, 0, 0.2), Split.of(source, 1, 0.2)
    small, large = split.first([5, 3, 1]), split.first([9, 9, 9])
    assert np.bincount(source.labels[small]).tolist() == [5, 3, 1]
    assert set(small) <= set(large)
    assert len(set(large)) == 27
    assert set(small) != set(other.first([5, 3, 1]))
    assert set(split.held_out) != set(other.held_out)
    assert not set(split.held_out) & set(split.first(split.available))
    assert len(split.held_out) + sum(split.available) == 180


def test_a_share_of_a_large_class_is_held_out():
    source = named(*(("ab"[k % 2], k) for k in range(20_000)))
    for share in (0.05, 0.2, 0.5):  # four standard deviations of a binomial count
        held_out = np.bincount(source.labels[Split.of(source, 0, share).held_out]) / 10_000
        assert np.abs(held_out - share).max() < 4 * (share * (1 - share) / 10_000) ** 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.sets(st.integers(0, 59), max_size=30), st.integers(0, 40), st.randoms())
def test_no_image_changes_sides_and_few_are_exchanged_when_images_come_and_go(seed, removed, added, random):
    before = [(c, k) for c, n in CLASSES for k in range(n)]
    after = [m for m in before if m[0] != "b" or m[1] not in removed] + [("a", f"new {k}") for k in range(added)]
    random.shuffle(after)  # the order of the files is nothing either
    old, new = named(*before), named(*after, where="/another/place")
    one, two = Split.of(old, seed, 0.25), Split.of(new, seed, 0.25)
    still = names(new, range(len(after)))
    assert names(old, one.held_out) & still == names(new, two.held_out) & names(old, range(180))
    kept = names(old, one.first([20, 10, 5])), names(new, two.first([20, 10, 5]))
    gone = kept[0] - kept[1]
    assert not any(name.startswith("c/") for name in gone)  # nothing happened to this class
    assert len([name for name in gone if name.startswith("a/")]) <= added
    assert all(name not in still for name in gone if name.startswith("b/"))


def test_the_groups_of_a_plan_keep_the_held_out_images_to_themselves():
    source = named(*((c, k) for c, n in CLASSES for k in range(n)))
    groups = assign_groups(source, imbalance=4, reference_per_class=None, seed=0, test_share=0.2)
    assert list(groups) == ["train", "balanced", "test"]
    assert not set(groups["test"]) & (set(groups["train"]) | set(groups["balanced"]))
    assert len(set(np.bincount(source.labels[groups["balanced"]]))) == 1
    everything = assign_groups(source, imbalance=1, reference_per_class=None, seed=0, test_share=0)
    assert list(everything) == ["train", "balanced"]
    assert sorted(everything["train"]) == list(range(180))
    as_they_are = assign_groups(source, imbalance=None, reference_per_class=None, seed=0, test_share=0.2)
    assert sorted([*as_they_are["train"], *as_they_are["test"]]) == list(range(180))
    assert np.array_equal(as_they_are["test"], groups["test"])


def test_a_class_of_one_image_is_refused_by_its_name():
    for share, left in ((0, "1 image, but 2 are needed"), (0.5, "1 image beside those held out, but 2 are needed")):
        source = named(*(("a", k) for k in range(40)), *(("rare", k) for k in range(1 if not share else 2)))
        with pytest.raises(LevyError, match=rf"class 'rare' has {left} to say how good images of a class are"):
            assign_groups(source, imbalance=None, reference_per_class=None, seed=1, test_share=share)
    with pytest.raises(LevyError, match=r"has 1 class, 'a', but at least 2 classes are needed"):
        assign_groups(
            named(*(("a", k) for k in range(40))), imbalance=None, reference_per_class=None, seed=1, test_share=0.2
        )


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_what_programs_leave_beside_images_is_no_image(tmp_path, form):
    picture = png(noise_image(0))
    left = ["a/.ipynb_checkpoints/1-checkpoint.png", "b/._2.png", "__MACOSX/a/1.png", ".Trash/a/1.png"]
    members = dict.fromkeys(["a/1.png", "b/2.png", *left], picture)
    if form == "zip":
        write_zip(tmp_path / "images.zip", members)
    else:
        for name, data in members.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    source = open_source(tmp_path)
    assert source.classes == ["a", "b"]
    assert len(source.labels) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"reference_per_class": 59},
            r"somewhere: reference_per_class is 59, but class 'd' has \d images beside those",
        ),
        (
            {"test_share": 1e-4},
            r"somewhere: test_share is 0.0001, but of 60 images of class 'a' none falls into it: bring",
        ),
        ({"test_share": 1 - 1e-9}, r"but of 60 images of class 'a' all fall into it: bring more images of that class"),
        ({"imbalance": 1e4}, "keeps no image"),
    ],
)
def test_images_that_do_not_suffice_are_named(changes, message):
    source = named(*((c, k) for c, n in [*CLASSES, ("d", 9)] for k in range(n)))
    with pytest.raises(LevyError, match=message):
        assign_groups(source, **{"imbalance": 2, "reference_per_class": None, "seed": 0, "test_share": 0.3} | changes)


def test_the_rare_third():
    assert rare_classes([178, 91, 8, 17, 12, 33, 46, 64, 24, 127]) == [2, 3, 4]
    assert rare_classes([9, 1]) == [1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_class_folders_and_zips_give_the_same_images(tmp_path, form, channels):
    members = {
        f"{c}/{k}.png": png(noise_image(10 * i + k, channels=channels))
        for i, c in enumerate(["2", "10"])
        for k in range(3)
    }
    if form == "zip":
        write_zip(tmp_path / "images.zip", {"__MACOSX/2/._0.png": b"junk", "2/notes.txt": b"text", **members})
    else:
        for name, data in members.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(data)
    source = open_source(tmp_path)
    assert source.classes == ["2", "10"]  # numbers in their own order
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]
    expected = noise_image(11, channels=channels)
    assert np.array_equal(source.read(4), expected[None] if channels == 1 else expected.transpose(2, 0, 1))


def test_formats_that_pillow_reads(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    Image.fromarray(noise_image(1)).save(tmp_path / "a/x.bmp")
    Image.fromarray(noise_image(2)).save(tmp_path / "a/y.webp", lossless=True)
    Image.fromarray(noise_image(3)).convert("P").save(tmp_path / "b/z.gif")
    Image.fromarray(noise_image(4)).convert("RGBA").save(tmp_path / "b/w.png")
    source = open_source(tmp_path)
    assert {source.read(i).shape for i in range(4)} == {(3, 6, 5)}
    assert np.array_equal(source.read(1), noise_image(2).transpose(2, 0, 1))


def cifar_batch(images, labels, key):
    return pickle.dumps({b"data": images.reshape(len(images), 3072), key: labels}, protocol=2)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", ["cifar-10", "cifar-100"])
def test_cifars_python_archive(tmp_path, kind, packed):
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
    if kind == "cifar-10":
        inside = "cifar-10-batches-py"
        members = {
            "data_batch_1": cifar_batch(images[:4], [0, 1, 0, 1], b"labels"),
            "data_batch_2": cifar_batch(images[4:], [1, 1, 0, 0], b"labels"),
            "test_batch": cifar_batch(images[:1], [0], b"labels"),
            "batches.meta": pickle.dumps({b"label_names": [b"cat", b"dog"]}, protocol=2),
        }
    else:
        inside = "cifar-100-python"
        members = {
            "train": cifar_batch(images, [0, 1, 0, 1, 1, 1, 0, 0], b"fine_labels"),
            "meta": pickle.dumps({b"fine_label_names": [b"cat", b"dog"]}, protocol=2),
        }
    if packed:
        write_tar(tmp_path / f"{kind}-python.tar.gz", {f"{inside}/{name}": data for name, data in members.items()})
    else:
        (tmp_path / inside).mkdir()
        for name, data in members.items():
            (tmp_path / inside / name).write_bytes(data)
    source = open_source(tmp_path)
    assert (source.classes, source.labels.tolist()) == (["cat", "dog"], [0, 1, 0, 1, 1, 1, 0, 0])
    assert np.array_equal(source.read(5), images[5])


def batches(images, *labels):
    """The members of a CIFAR-10 archive: a batch of the images for each list of labels."""
    members = {f"data_batch_{k + 1}": cifar_batch(images, own, b"labels") for k, own in enumerate(labels)}
    return members | {"batches.meta": pickle.dumps({b"label_names": [b"cat", b"dog"]}, protocol=2)}


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        (([0, 1, 0], [0, 1, 1, 1]), {}, r"data_batch_1 has 4 images, but 3 labels: a label for each is expected"),
        (([0, 1, 0, 1, 0],), {}, r"data_batch_1 has 4 images, but 5 labels"),
        (([0, 1, 0, 2],), {}, r"data_batch_1 has the label 2: whole numbers from 0 to 1, one per class name"),
        (([0, 1, 0, -1],), {}, r"has the label -1"),
        (([0, 1, 0, 0.5],), {}, r"has the label 0.5"),
        ((5,), {}, r"data_batch_1: its labels are no list"),
        (([0, 1, 0, 1],), {"batches.meta": pickle.dumps({}, protocol=2)}, r"batches.meta has no list 'label_names'"),
        (([0, 1, 0, 1],), {"data_batch_3": b""}, r"holds data_batch_1, data_batch_3: each batch once, and none left out"),
    ],
)  # fmt: skip
def test_labels_that_are_not_one_for_each_image_are_refused(tmp_path, labels, changes, message):
    images = np.zeros((4, 3, 32, 32), np.uint8)
    members = batches(images, *labels) | changes
    write_tar(
        tmp_path / "cifar-10-python.tar.gz", {f"cifar-10-batches-py/{name}": data for name, data in members.items()}
    )
    with pytest.raises(LevyError, match=message):
        open_source(tmp_path)


def mutilated(data, numbers):
    """Bytes with some changed, cut off or put in."""
    data = bytearray(data)
    for _ in range(numbers.randint(1, 4)):
        where, what = numbers.randrange(len(data) or 1), numbers.random()
        if what < 0.6:
            data[where : where + 1] = numbers.randbytes(1)
        elif what < 0.8:
            del data[where:]
        else:
            data[where:where] = numbers.randbytes(numbers.randint(1, 8))
    return bytes(data)


@pytest.mark.parametrize("form", ["cifar", "tar", "zip", "idx"])
def test_mutilated_archives_are_read_or_refused_in_a_line(tmp_path, form):
    numbers = random.Random(form)
    if form == "zip":
        write_zip(
            tmp_path / "whole", {f"{c}/{k}.png": png(noise_image(k)) for c in ("NA", "007", "-x") for k in range(2)}
        )
        files = {"x.zip": (tmp_path / "whole").read_bytes()}
    elif form == "idx":
        files = {
            "train-images-idx3-ubyte": bytes([0, 0, 8, 3]) + struct.pack(">3I", 6, 7, 4) + bytes(168),
            "train-labels-idx1-ubyte": bytes([0, 0, 8, 1]) + struct.pack(">I", 6) + bytes([0, 1, 2, 0, 1, 2]),
        }
    else:
        members = batches(np.zeros((2, 3, 32, 32), np.uint8), [0, 1], [1, 0])
        files = {f"cifar-10-batches-py/{name}": data for name, data in members.items()}
        if form == "tar":
            write_tar(tmp_path / "whole", files)
            files = {"x.tar": gzip.decompress((tmp_path / "whole").read_bytes())}
    refused = []
    for number in range(500):
        folder, which = tmp_path / str(number), numbers.choice(sorted(files))
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(mutilated(data, numbers) if name == which else data)
        try:
            source = open_source(folder)
            assert [source.read(k).dtype for k in range(len(source.labels))] == [np.uint8] * len(source.labels)
        except LevyError as error:
            refused.append(str(error))
        shutil.rmtree(folder)
    assert len(refused) > 250
    assert not [message for message in refused if "\n" in message]


@pytest.mark.parametrize("shape", [((1,), 3072), (2, 3072, 1), (-2, -3072), "ab", 6144])
def test_images_of_another_shape_than_their_bytes_are_refused(tmp_path, shape):
    (folder := tmp_path / "cifar-10-batches-py").mkdir()
    array = pickle.dumps({b"data": Reshaped(shape), b"labels": [0, 1]}, protocol=2)
    (folder / "data_batch_1").write_bytes(array)
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, protocol=2))
    with pytest.raises(LevyError, match=r"data_batch_1: its images are not rows of 3,072 bytes, as CIFAR's are"):
        open_source(tmp_path)


class Reshaped:
    """Pickled as an array of two images that says another shape of itself."""

    def __init__(self, shape):
        self.shape = shape

    def __reduce__(self):
        make, arguments, (version, _, kind, order, data) = np.zeros((2, 3072), np.uint8).__reduce__()
        return make, arguments, (version, self.shape, kind, order, data)


def test_a_zip_of_a_version_to_come_is_refused(tmp_path):
    write_zip(tmp_path / "x.zip", {"a/1.png": png(noise_image(0)), "b/1.png": png(noise_image(0))})
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 200
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(LevyError, match=r"x.zip is not a readable zip \(zip file version 20.0\)"):
        open_source(tmp_path)


def test_a_batch_that_stands_twice_in_an_archive_is_refused(tmp_path):
    members = batches(np.zeros((4, 3, 32, 32), np.uint8), [0, 1, 0, 1])
    write_tar(tmp_path / "x.tar.gz", {f"{inside}/{name}": data for inside in "ab" for name, data in members.items()})
    with pytest.raises(LevyError, match=r"holds data_batch_1, data_batch_1: each batch once"):
        open_source(tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_what_stands_in_a_tar_in_place_of_a_batch_is_refused(tmp_path, kind):
    images = np.zeros((4, 3, 32, 32), np.uint8)
    with tarfile.open(tmp_path / "cifar-10-python.tar", "w") as archive:
        for name, data in batches(images, [0, 1, 0, 1], [1, 1, 1, 1]).items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            if name == "data_batch_2":
                info.type, info.linkname = kind, "/etc/hostname"
            else:
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(
        LevyError, match=r"cifar-10-python.tar: .*data_batch_2 is a link or a device: it would be left out"
    ):
        open_source(tmp_path)


@pytest.mark.parametrize("folder", ["cifar-10-batches-py", "cats"])
@pytest.mark.parametrize("what", ["nothing", "folder", "fifo"])
def test_what_would_be_left_out_of_a_folder_is_refused_and_links_to_files_are_read(tmp_path, folder, what):
    home = tmp_path / "data"
    (home / folder).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    if folder == "cats":
        (home / "dogs").mkdir()
        files = {"cats/1.png": png(noise_image(0)), "dogs/1.png": png(noise_image(1))}
    else:
        members = batches(np.zeros((4, 3, 32, 32), np.uint8), [0, 1, 0, 1])
        files = {f"{folder}/{name}": data for name, data in members.items()}
    for number, (name, data) in enumerate(files.items()):
        (tmp_path / f"elsewhere/{number}").write_bytes(data)
        (home / name).symlink_to(tmp_path / f"elsewhere/{number}")
    assert len(open_source(home).labels) == (2 if folder == "cats" else 4)
    odd = home / folder / "odd"
    os.mkfifo(odd) if what == "fifo" else odd.symlink_to(tmp_path / ("elsewhere" if what == "folder" else "gone"))
    message = "neither a file nor a folder" if what == "fifo" else "a link to a folder or to nothing"
    with pytest.raises(LevyError, match=rf"odd is {message}: it would be left out"):
        open_source(home)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_images_stand_as_their_exif_orientation_says(tmp_path, form, orientation):
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :8] = 255  # the corner at the top left is bright
    turns = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.T, 6: lambda a: np.rot90(a, 1), 7: lambda a: a[::-1, ::-1].T, 8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation](upright)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for name in "ab":
        (tmp_path / name).mkdir()
        stored.save(
            tmp_path / name / f"1.{form.lower()}", form, exif=exif, **({"lossless": True} if form == "WEBP" else {})
        )
    image = open_source(tmp_path).read(0)
    assert image.shape[1:] == upright.shape
    assert np.abs(image[0].astype(int) - upright).max() < 30  # JPEG is not exact


def test_images_with_odd_metadata_are_read(tmp_path):
    exif, stream = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.ImageDescription] = 6, "hello"
    Image.new("L", (24, 16)).save(stream, "JPEG", exif=exif)
    odd = stream.getvalue().replace(b"\x01\x0e\x00\x02", b"\x01\x02\x00\x02")  # the text now is that of a number
    assert odd != stream.getvalue()
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpeg").write_bytes(odd)
    assert open_source(tmp_path).read(0).shape == (1, 24, 16)


def test_a_member_that_stands_twice_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a/1.png", "b/1.png"):
            archive.writestr(name, png(noise_image(0)))
        archive.writestr("a/", b"")  # folders may be named again
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/", b"")
    assert len(open_source(tmp_path).labels) == 2
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a/1.png", png(noise_image(1)))
    with pytest.raises(LevyError, match=r"x.zip holds a/1.png twice: which of the two is meant is not known"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF), r"announces 79,228,162,458,924,105,385,300,197,375 bytes and holds 0"),
        ((1 << 31, 1 << 31, 4), r"announces 18,446,744,073,709,551,616 bytes and holds 0"),  # 0 in 64 bits
        ((0, 28, 28), r"images-idx3-ubyte holds no images \(it announces 0 x 28 x 28\)"),
        ((4, 0, 28), r"holds no images"),
    ],
)
def test_idx_files_whose_headers_announce_too_much_or_nothing_are_refused(tmp_path, shape, message):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1]) + struct.pack(">I", 0))
    with pytest.raises(LevyError, match=message):
        open_source(tmp_path)


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps({b"data": Trap(), b"labels": [0]}, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat"]}, protocol=2))
    with pytest.raises(LevyError, match=r"names io.open, which image data never does"):
        open_source(tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_mnists_idx_files(tmp_path, zipped):
    images = np.random.default_rng(0).integers(0, 256, (6, 7, 4), dtype=np.uint8)
    files = {
        "train-images-idx3-ubyte": bytes([0, 0, 8, 3]) + struct.pack(">3I", 6, 7, 4) + images.tobytes(),
        "train-labels-idx1-ubyte": bytes([0, 0, 8, 1]) + struct.pack(">I", 6) + bytes([0, 1, 2, 0, 1, 2]),
    }
    for name, data in files.items():
        (tmp_path / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)
    source = open_source(tmp_path)
    assert (source.classes, source.labels.tolist()) == (["0", "1", "2"], [0, 1, 2, 0, 1, 2])
    assert np.array_equal(source.read(3)[0], images[3])
    for damaged, message in (
        (files["train-images-idx3-ubyte"][:-5], "it is truncated"),
        (b"\0\0\x0d\x03" + b"\0" * 99, "not an idx file"),
    ):
        path = tmp_path / ("train-images-idx3-ubyte" + ".gz" * zipped)
        path.write_bytes(gzip.compress(damaged) if zipped else damaged)
        with pytest.raises(LevyError, match=message):
            open_source(tmp_path)


def test_a_folder_that_is_missing_or_unknown_says_what_is_expected(tmp_path):
    with pytest.raises(LevyError, match="is not a folder"):
        open_source(tmp_path / "none")
    (tmp_path / "table.csv").write_text("1,2")
    with pytest.raises(LevyError, match=r"holds table.csv; expected one of: a sub-folder per class"):
        open_source(tmp_path)


@ARCHIVES
@pytest.mark.parametrize(
    "climbing", ["../../etc/a/b.png", "/tmp/a/b.png", "//tmp/a/b.png", "a/../../b.png", "..\\a\\b.png", "C:\\a\\b.png"]
)
def test_archives_that_climb_out_are_refused(tmp_path, write, name, climbing):
    write(tmp_path / name, {"a/1.png": png(noise_image(0)), climbing: png(noise_image(1))})
    with pytest.raises(LevyError, match=f"{name} contains the path .* which leaves the archive"):
        open_source(tmp_path)


@ARCHIVES
def test_members_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch, write, name):
    monkeypatch.setattr("levy_core.datasets.images.archives.MAX_MEMBER_BYTES", 1000)
    write(tmp_path / name, {"a/1.png": bytes(1000), "b/2.png": bytes(1001)})
    with pytest.raises(LevyError, match=rf"{name}: b/2.png unpacks to 1,001 bytes, more than the limit of 1,000"):
        open_source(tmp_path)


def test_a_tar_member_is_refused_by_its_header_before_it_is_read(tmp_path):
    bomb = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
    bomb.size = 512 * 2**20 + 1
    (tmp_path / "x.tar").write_bytes(bomb.tobuf())
    with pytest.raises(LevyError, match=r"data_batch_1 unpacks to 536,870,913 bytes"):
        open_source(tmp_path)


def test_damaged_zips_and_images_are_named(tmp_path):
    path = tmp_path / "x.zip"
    write_zip(path, {f"{c}/{k}.png": png(noise_image(k)) for c in "ab" for k in range(3)})
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(LevyError, match=r"x.zip is not a readable zip .* partly copied"):
        open_source(tmp_path)
    broken = bytearray(whole)
    broken[60] ^= 0xFF
    path.write_bytes(broken)
    with pytest.raises(LevyError, match=r"a/0.png cannot be unpacked"):
        open_source(tmp_path).read(0)
    write_zip(path, {"a/0.png": png(noise_image(0))[:60], "b/0.png": png(noise_image(0))})
    with pytest.raises(LevyError, match=r"x.zip: a/0.png is not a readable image"):
        open_source(tmp_path).read(0)
    write_zip(tmp_path / "x.zip", {"a/0.png": b"", "b/0.png": png(noise_image(0))})
    with pytest.raises(LevyError, match=r"a/0.png is not a readable image \(its bytes are no picture's\): replace it"):
        open_source(tmp_path).read(0)


def test_empty_classes_are_named(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
    (tmp_path / "cats/1.png").write_bytes(png(noise_image(0)))
    with pytest.raises(LevyError, match="no images of class 'dogs'"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("other", "what"), [(noise_image(1, (6, 6)), "6 x 6 pixels with 3"), (noise_image(1, channels=1), "1 channel")]
)
def test_images_of_mixed_sizes_or_channels_are_named(tmp_path, other, what):
    write_zip(tmp_path / "x.zip", {"a/0.png": png(noise_image(0)), "b/1.png": png(other)})
    source = open_source(tmp_path)
    read = checked_reader(source, 0)
    with pytest.raises(LevyError, match=rf"b/1.png is .*{what}.* but .*a/0.png is 6 x 5 pixels with 3 channels"):
        read(1)


def test_the_packed_store_returns_what_was_written_and_xarray_opens_it(tmp_path, monkeypatch):
    monkeypatch.setattr("levy_core.datasets.images.store.CHUNK_BYTES", 3 * 12)  # three images per chunk: several chunks
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 3, 4), dtype=np.uint8)
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    indices = np.array([6, 5, 4, 3, 2, 1, 0])
    path = tmp_path / "images.zarr"
    statistics = write_group(path, "train", indices, labels, ["a", "b"], (1, 3, 4), lambda i: images[i], iter)
    group = read_group(path, "train")
    assert np.array_equal(group.image, images[::-1])
    assert np.array_equal(group.label, labels)
    assert group.classes == ("a", "b")
    unit = to_unit(images).astype(np.float64)
    assert statistics["counts"] == [4, 3]
    assert statistics["channel_mean"] == pytest.approx([unit.mean()])
    assert statistics["channel_std"] == pytest.approx([unit.std()])
    with xr.open_zarr(path, group="train", consolidated=False) as data:
        assert data["image"].dims == ("sample", "channel", "y", "x")
        assert data["source_index"].values.tolist() == indices.tolist()
    with pytest.raises(LevyError, match="no readable group 'balanced'"):
        read_group(path, "balanced")


def test_images_are_read_by_rows_as_a_whole_group_gives_them(tmp_path, monkeypatch):
    monkeypatch.setattr("levy_core.datasets.images.store.CHUNK_BYTES", 3 * 12)  # three images per chunk
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 3, 4), dtype=np.uint8)
    images[3:6] = 0  # a chunk of nothing but zeros is a chunk, too
    path, labels = tmp_path / "images.zarr", np.arange(7) % 2
    write_group(path, "train", np.arange(7), labels, ["a", "b"], (1, 3, 4), lambda i: images[i], iter)
    store = ImageStore.open(path, "train")
    assert (len(store), store.shape, store.classes, store.labels.tolist()) == (
        7,
        (1, 3, 4),
        ("a", "b"),
        labels.tolist(),
    )
    assert np.array_equal(store[:], to_unit(images))
    rows = np.array([6, 0, 4, 4, 2])
    assert np.array_equal(store[rows], to_unit(images[rows]))
    assert store.hash() == hashlib.sha256(images.tobytes() + labels.astype(np.int64).tobytes()).hexdigest()
    chunk = path / "train" / "image" / "c" / "1" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    assert np.array_equal(store[np.array([0, 6])], to_unit(images[[0, 6]]))  # of other chunks
    with pytest.raises(LevyError, match=r"image/c/1/0/0/0 cannot be read .*truncated.*run the prepare stage again"):
        store[np.array([5])]
    chunk.unlink()
    with pytest.raises(LevyError, match="image/c/1/0/0/0 cannot be read"):
        store[np.array([5])]
    with pytest.raises(LevyError, match="no readable group 'test'"):
        ImageStore.open(path, "test")


def test_a_store_that_an_earlier_version_compressed_is_prepared_again(tmp_path):
    path, images = tmp_path / "images.zarr", np.zeros((4, 1, 3, 4), dtype=np.uint8)
    group = zarr.open_group(path, mode="a").create_group("train", attributes={"classes": ["a"]})
    group.create_array("image", data=images, dimension_names=("sample", "channel", "y", "x"))
    group.create_array("label", data=np.zeros(4, dtype=np.int64), dimension_names=("sample",))
    with pytest.raises(LevyError, match=r"plain rows of uint8.*run the prepare stage again"):
        ImageStore.open(path, "train")


def test_a_fork_of_a_process_that_has_read_a_group_reads_it_too(tmp_path):  # stages in several processes are forks
    path, zero = tmp_path / "images.zarr", np.zeros((1, 6, 5), dtype=np.uint8)
    write_group(path, "train", np.arange(4), np.zeros(4, dtype=int), ["a"], zero.shape, lambda index: zero, iter)
    read_group(path, "train")
    fork = multiprocessing.get_context("fork").Process(target=read_group, args=(path, "train"))
    fork.start()
    fork.join(60)
    fork.kill()
    assert fork.exitcode == 0


def test_pixels_survive_the_unit_interval():
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_uint8(to_unit(every)), every)
    assert to_uint8(np.array([-9.0, 9.0])).tolist() == [0, 255]


def test_an_image_has_the_same_name_wherever_its_source_lies(tmp_path):
    for folder in (tmp_path / "one", tmp_path / "two"):
        for name in ("a/1.png", "a/deep/2.png", "b/1.png"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(png(noise_image(0)))
        source = open_source(folder)
        assert [source.key(i) for i in range(3)] == ["a/1.png", "a/deep/2.png", "b/1.png"]
        assert source.name(1) == f"{folder}: a/deep/2.png"
    (tmp_path / "three").mkdir()
    write_zip(tmp_path / "three" / "x.zip", {name: png(noise_image(0)) for name in ("a/1.png", "b/1.png")})
    zipped = open_source(tmp_path / "three")
    assert [zipped.key(i) for i in range(2)] == ["a/1.png", "b/1.png"]


def test_the_starter_zip_holds_scikit_learns_digits():
    source = open_source(ROOT / "data" / "digits")
    images, target = digits()
    order = np.argsort(target, kind="stable")
    assert np.array_equal(source.labels, target[order])
    assert np.array_equal(np.stack([source.read(i)[0] for i in range(0, 1797, 100)]), images[order][::100])


@pytest.mark.skipif(not CIFAR_ZIP.exists(), reason="shared/data/images/cifar10-train-jpg.zip is not on this machine")
def test_real_cifar_becomes_cifar_10_lt(tmp_path):
    (tmp_path / "cifar10-train-jpg.zip").symlink_to(CIFAR_ZIP)
    source = open_source(tmp_path)
    available = np.bincount(source.labels).tolist()
    counts = longtail_counts(available, 100)
    assert available == [5000] * 10
    assert counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    chosen = assign_groups(source, imbalance=100, reference_per_class=None, seed=0, test_share=0)["train"]
    assert np.bincount(source.labels[chosen]).tolist() == counts
    read = checked_reader(source, int(chosen[0]))
    assert {read(int(i)).shape for i in chosen[::500]} == {(3, 32, 32)}
