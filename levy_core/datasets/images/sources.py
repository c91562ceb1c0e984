"""Readers of labelled images as people have them.

``open_source(folder)`` recognises: one sub-folder per class, a zip with a sub-folder per class, CIFAR-10/100's python
archive (packed or not), and MNIST's idx files (gzipped or not). Archives are read in place: nothing is extracted, and
the pickles inside CIFAR's archive are read as data without running anything (``cifar.py``).
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from levy_core.base.errors import LevyError
from levy_core.datasets.images import cifar
from levy_core.datasets.images.archives import check_size, files_of_folder, is_hidden, safe_parts, unpack_gzip
from levy_core.datasets.images.pictures import FORMATS, GREY, open_picture

IMAGE_SUFFIXES = frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)


@dataclass(frozen=True)
class Source:
    """Labelled images.

    Attributes:
        classes: names. labels: int64 [N].
        where: the folder or archive.
        key: name of an image within it: its path there, or its number in an archive that has no names.
        read: index -> uint8 [C, H, W].
    """

    classes: list[str]
    labels: np.ndarray
    where: Path
    key: Callable[[int], str]
    read: Callable[[int], np.ndarray]

    def name(self, index: int) -> str:
        """Where an image is found."""
        return f"{self.where}: {self.key(index)}"


def open_source(folder: Path) -> Source:
    """The images in ``folder``, in whichever of the known forms.

    Raises:
        LevyError: nothing there, nothing recognised, or a damaged or unsafe archive.
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
            counts = np.bincount(source.labels, minlength=len(source.classes))
            empty = [source.classes[c] for c in np.flatnonzero(counts == 0)]
            if empty:
                raise LevyError(
                    f"{folder}: no images of class {', '.join(map(repr, empty))}: remove the empty class or fill it"
                )
            return source
    found = ", ".join(p.name for p in entries[:8]) or "nothing"
    raise LevyError(
        f"{folder} holds {found}; expected one of: a sub-folder per class, one zip with a sub-folder per class, "
        "cifar-10-python.tar.gz or cifar-100-python.tar.gz, or MNIST's train-images-idx3-ubyte and train-labels-idx1-ubyte (.gz or not)"
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


def _decode(data: bytes, name: str) -> np.ndarray:
    picture = open_picture(BytesIO(data), name)
    if picture.mode in GREY:
        return np.asarray(picture.convert("L"))[None]
    return np.ascontiguousarray(np.asarray(picture.convert("RGB")).transpose(2, 0, 1))


def _by_class(
    members: list[tuple[str, str]], where: Path, read_bytes: Callable[[str], bytes], declared: set[str]
) -> Source:
    classes = sorted({c for c, _ in members} | declared, key=_class_order)
    if not members:
        raise LevyError(f"{where} has no images in sub-folders: one sub-folder per class is expected")
    number = {c: i for i, c in enumerate(classes)}
    members = sorted(members, key=lambda m: (number[m[0]], m[1]))
    labels = np.array([number[c] for c, _ in members], dtype=np.int64)

    def key(index: int) -> str:
        return members[index][1]

    return Source(classes, labels, where, key, lambda index: _decode(read_bytes(key(index)), f"{where}: {key(index)}"))


def _class_folders(folder: Path, entries: list[Path], files: dict[str, Path]) -> Source | None:
    folders = [p for p in entries if p.is_dir() and not is_hidden([p.name])]
    if not folders:
        return None
    members = [
        (sub.name, str(path.relative_to(folder)))
        for sub in folders
        for path in files_of_folder(sub)
        if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path.relative_to(folder).parts)
    ]
    return _by_class(members, folder, lambda member: (folder / member).read_bytes(), {sub.name for sub in folders})


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
    members, declared, seen = [], set(), set()
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
        if PurePosixPath(info.filename).suffix.lower() in IMAGE_SUFFIXES and len(parts) >= 2:
            check_size(info.filename, info.file_size, path)
            members.append((parts[-2], info.filename))
    # A folder entry is an (empty) class if it stands where the classes stand.
    depth = {len(PurePosixPath(name).parts) - 1 for _, name in members}
    empty_classes = {parts[-1] for parts in declared if len(parts) in depth}

    def read_bytes(member: str) -> bytes:
        try:
            return archive.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise LevyError(
                f"{path}: {member} cannot be unpacked ({error}): the zip is damaged; fetch it again"
            ) from error

    return _by_class(members, path, read_bytes, empty_classes)


def _numbered(index: int) -> str:
    return f"image {index}"


def _cifar_archive(folder: Path, entries: list[Path], files: dict[str, Path]) -> Source | None:
    batches = cifar.find(entries)
    if batches is None:
        return None
    images, labels, classes, where = batches
    return Source(classes, labels, where, _numbered, lambda index: images[index])


def _idx_files(folder: Path, entries: list[Path], files: dict[str, Path]) -> Source | None:
    paths = {}
    for kind in ("images-idx3", "labels-idx1"):
        matches = [
            p for name, p in files.items() if re.fullmatch(rf"train-{kind}-ubyte(\.gz)?", name.replace(".idx", "-idx"))
        ]
        if matches:
            paths[kind] = matches[0]
    if len(paths) < 2:
        return None
    images = _read_idx(paths["images-idx3"], dimensions=3)
    labels = _read_idx(paths["labels-idx1"], dimensions=1).astype(np.int64)
    if not images.size:
        raise LevyError(f"{paths['images-idx3']} holds no images (it announces {' x '.join(map(str, images.shape))})")
    if len(images) != len(labels):
        raise LevyError(
            f"{paths['images-idx3']} has {len(images)} images, but {paths['labels-idx1']} has {len(labels)} labels"
        )
    classes = [str(c) for c in range(int(labels.max()) + 1)]
    return Source(classes, labels, paths["images-idx3"], _numbered, lambda index: images[index][None])


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    try:
        data = unpack_gzip(path) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise LevyError(
            f"{path} cannot be unpacked ({error}): it is damaged or was only partly copied; fetch it again"
        ) from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, 8, dimensions]):
        raise LevyError(
            f"{path} is not an idx file of unsigned bytes with {dimensions} dimension{'s' if dimensions > 1 else ''}"
        )
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    if len(data) - header != prod(shape):
        raise LevyError(
            f"{path} announces {prod(shape):,} bytes and holds {len(data) - header:,}: it is truncated; fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
