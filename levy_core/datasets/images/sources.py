"""Readers of labelled images as people have them.

``open_source(folder)`` recognises: one sub-folder per class, a zip with a sub-folder per class, CIFAR-10/100's python
archive (packed or not), and MNIST's idx files (gzipped or not). Archives are read in place: nothing is extracted, and
the pickles inside CIFAR's archive are read as data without running anything (``cifar.py``).
"""

import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.datasets.images import cifar, idx
from levy_core.datasets.images.archives import check_size, files_of_folder, is_hidden, safe_parts
from levy_core.datasets.images.left_out import could_be_meant, find_beside, is_readable
from levy_core.datasets.images.pictures import GREY, open_picture


@dataclass(frozen=True)
class Source:
    """Labelled images.

    Attributes:
        classes: names. labels: int64 [N].
        where: the folder or archive.
        key: name of an image within it: its path there, or its number in an archive that has no names.
        read: index -> uint8 [C, H, W].
        lost: what reading left out of images so far (``pictures.LOSSES``) -> their keys.
        left_out: files that a person may believe to be among the images, and that are not read.
    """

    classes: list[str]
    labels: np.ndarray
    where: Path
    key: Callable[[int], str]
    read: Callable[[int], np.ndarray]
    left_out: tuple[str, ...] = ()
    lost: dict[str, set[str]] = field(default_factory=dict, compare=False, repr=False)

    def name(self, index: int) -> str:
        """Where an image is found."""
        return f"{self.where}: {self.key(index)}"


def open_source(folder: Path) -> Source:
    """The images in ``folder``, in whichever of the known forms.

    Raises:
        LevyError: nothing there, nothing recognised, a damaged or unsafe archive, images in folders beside an archive, an empty class, or two whose
            names are one to some systems.
    """
    if not folder.is_dir():
        raise LevyError(
            f"{folder} is not a folder: raw images are expected there (`dvc pull data.dvc` fetches the starter data)"
        )
    entries = sorted(
        p
        for p in folder.iterdir()
        if not p.name.startswith(".") and (p.is_dir() or not p.name.upper().startswith("README"))
    )
    files = {p.name: p for p in entries if p.is_file()}
    for recognise in (_idx_files, _cifar_archive, _zip_of_folders, _class_folders):
        source = recognise(folder, entries, files)
        if source is not None:
            _refuse_twins(folder, source.classes)
            counts = np.bincount(source.labels, minlength=len(source.classes))
            empty = [source.classes[c] for c in np.flatnonzero(counts == 0)]
            if empty:
                raise LevyError(
                    f"{folder}: no images of class {', '.join(map(repr, empty))}: remove the empty class or fill it"
                )
            if source.where != folder:
                beside = find_beside(folder, entries, source.where)
                if rivals := [name for name in beside if is_readable(name) and "/" in name]:
                    raise LevyError(
                        f"{folder} holds {source.where.name} and images in folders ({rivals[0]}): which is meant is not known; take one of the two "
                        "away, or put all images into class folders"
                    )
                source = replace(source, left_out=(*source.left_out, *beside))
            return source
    found = ", ".join(p.name for p in entries[:8]) or "nothing"
    raise LevyError(
        f"{folder} holds {found}; expected one of: a sub-folder per class, one zip with a sub-folder per class, "
        "cifar-10-python.tar.gz or cifar-100-python.tar.gz, or MNIST's train-images-idx3-ubyte and train-labels-idx1-ubyte (.gz or not)"
    )


def _refuse_twins(folder: Path, classes: list[str]) -> None:
    """Names that differ in letter case or in how Unicode writes an accent are one folder to a Mac, and the case is nothing to Windows."""
    seen: dict[str, str] = {}
    for name in classes:
        other = seen.setdefault(unicodedata.normalize("NFC", name).lower(), name)
        if other != name:
            raise LevyError(
                f"{folder}: the classes {other!a} and {name!a} differ only in letter case or in how an accent is written, which a Mac or "
                "Windows takes for one folder: put their images into one, or give one another name"
            )


def checked_reader(source: Source, first: int) -> Callable[[int], np.ndarray]:
    """A reader that refuses an image whose shape differs from that of image ``first``."""
    expected = source.read(first).shape

    def read(index: int) -> np.ndarray:
        image = source.read(index)
        if image.shape != expected:
            raise LevyError(
                f"{source.name(index)} is {_describe(image.shape)}, but {source.name(first)} is {_describe(expected)}: "
                "all images of a data set must have one size and one number of channels"
            )
        return image

    return read


def _describe(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[2]} pixels with {shape[0]} channel{'s' if shape[0] > 1 else ''}"


def _class_order(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _decode(data: bytes, name: str, tell: Callable[[str], None]) -> np.ndarray:
    picture = open_picture(BytesIO(data), name, tell)
    if picture.mode in GREY:
        return np.asarray(picture.convert("L"))[None]
    return np.ascontiguousarray(np.asarray(picture.convert("RGB")).transpose(2, 0, 1))


def _by_class(
    members: list[tuple[str, str]],
    where: Path,
    read_bytes: Callable[[str], bytes],
    declared: set[str],
    left_out: list[str],
) -> Source:
    classes = sorted({c for c, _ in members} | declared, key=_class_order)
    if not members:
        raise LevyError(f"{where} has no images in sub-folders: one sub-folder per class is expected")
    number = {c: i for i, c in enumerate(classes)}
    members = sorted(members, key=lambda m: (number[m[0]], m[1]))
    labels = np.array([number[c] for c, _ in members], dtype=np.int64)

    def key(index: int) -> str:
        return members[index][1]

    lost: dict[str, set[str]] = {}

    def read(index: int) -> np.ndarray:
        own = key(index)
        return _decode(read_bytes(own), f"{where}: {own}", lambda loss: lost.setdefault(loss, set()).add(own))

    return Source(classes, labels, where, key, read, tuple(left_out), lost)


def _class_folders(folder: Path, entries: list[Path], files: dict[str, Path]) -> Source | None:
    folders = [p for p in entries if p.is_dir() and not is_hidden([p.name])]
    if not folders:
        return None
    found = [(sub.name, path.relative_to(folder)) for sub in folders for path in files_of_folder(sub)]
    members = [(c, str(path)) for c, path in found if is_readable(path.name) and not is_hidden(path.parts)]
    others = [path.as_posix() for _, path in found if not is_readable(path.name)]
    left_out = [name for name in (*files, *others) if could_be_meant(name)]
    return _by_class(
        members, folder, lambda member: (folder / member).read_bytes(), {sub.name for sub in folders}, left_out
    )


def _zip_of_folders(folder: Path, entries: list[Path], files: dict[str, Path]) -> Source | None:
    zips = [p for name, p in files.items() if name.lower().endswith(".zip")]
    if not zips:
        return None
    if len(zips) > 1:
        raise LevyError(f"{folder} holds {len(zips)} zips ({', '.join(p.name for p in zips)}): one is expected")
    path = zips[0]
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise LevyError(
            f"{path} is not a readable zip ({error}): it is damaged or was only partly copied; fetch it again"
        ) from error
    members, declared, seen, left_out, depths = [], set(), set(), [], set()
    for info in archive.infolist():
        parts = safe_parts(info.filename, path)
        if is_hidden(parts):
            continue
        if info.is_dir():
            declared.add(parts)
            continue
        if parts in seen:
            raise LevyError(f"{path} holds {info.filename} twice: which of the two is meant is not known; pack it once")
        seen.add(parts)
        if is_readable(info.filename) and len(parts) >= 2:
            check_size(info.filename, info.file_size, path)
            members.append((parts[-2], info.filename))
            depths.add(len(parts) - 1)
        elif could_be_meant(info.filename):
            left_out.append(info.filename)
    # A folder entry is an (empty) class if it stands where the classes stand.
    empty_classes = {parts[-1] for parts in declared if len(parts) in depths}

    def read_bytes(member: str) -> bytes:
        try:
            return archive.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise LevyError(
                f"{path}: {member} cannot be unpacked ({error}): the zip is damaged; fetch it again"
            ) from error

    return _by_class(members, path, read_bytes, empty_classes, left_out)


def _numbered(index: int) -> str:
    return f"image {index}"


def _cifar_archive(folder: Path, entries: list[Path], files: dict[str, Path]) -> Source | None:
    batches = cifar.find(entries)
    if batches is None:
        return None
    images, labels, classes, where = batches
    return Source(classes, labels, where, _numbered, lambda index: images[index])


def _idx_files(folder: Path, entries: list[Path], files: dict[str, Path]) -> Source | None:
    found = idx.find(list(files.values()))
    if found is None:
        return None
    images, labels, classes, where = found
    return Source(classes, labels, where, _numbered, lambda index: images[index][None])
