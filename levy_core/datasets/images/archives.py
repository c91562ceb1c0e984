"""What the readers of archives refuse before they read a member: paths that leave the archive, and bombs."""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from levy_core.base.errors import LevyError

MAX_MEMBER_BYTES = 512 * 2**20  # what is in memory at a time, unpacked: a decompression bomb stops here
MAX_HEADER_BYTES = 2**20  # of all names, links and attributes of a tar, which tarfile keeps: 2,048 plain members
GZIP = b"\x1f\x8b"


def safe_parts(member: str, archive: Path) -> tuple[str, ...]:
    """The parts of an archive member's path.

    Raises:
        LevyError: the path is absolute or climbs out of the archive.
    """
    path = member.replace("\\", "/")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))  # as pathlib's, in a third of its time
    if not parts or ".." in parts or path.startswith("/") or re.match(r"^[A-Za-z]:", parts[0]):
        raise LevyError(f"{archive} contains the path {member!r}, which leaves the archive: refusing to read it")
    return parts


def check_size(member: str, size: int, archive: Path) -> None:
    """Refuses a member by the unpacked size that its header announces.

    Raises:
        LevyError: names the member, its size and the limit.
    """
    if size > MAX_MEMBER_BYTES:
        raise LevyError(f"{archive}: {member} unpacks to {size:,} bytes, more than the limit of {MAX_MEMBER_BYTES:,}")


def is_hidden(parts: Sequence[str]) -> bool:
    """Whether a path is of what programs leave beside people's files: Jupyter's ``.ipynb_checkpoints``, macOS' ``._name`` and ``__MACOSX``."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def files_of_folder(folder: Path) -> list[Path]:
    """The files of a folder and its sub-folders, in order; links to files count as files.

    Raises:
        LevyError: something there is neither file nor folder, or is a link to a folder or to nothing: it would be left out.
    """
    found = sorted(folder.rglob("*"))
    for path in found:
        if not path.is_file() and (path.is_symlink() or not path.is_dir()):
            what = "a link to a folder or to nothing" if path.is_symlink() else "neither a file nor a folder"
            raise LevyError(f"{path} is {what}: it would be left out; put the files themselves there, or remove it")
    return [path for path in found if path.is_file()]


def unpack_gzip(path: Path) -> bytes:
    """What a gzipped file holds; it announces no size, so that reading stops at the limit.

    Raises:
        LevyError: names the file and the limit.
        OSError, EOFError, zlib.error: a damaged file.
    """
    with gzip.open(path) as stream:
        data = stream.read(MAX_MEMBER_BYTES + 1)
    if len(data) > MAX_MEMBER_BYTES:
        raise LevyError(f"{path} unpacks to more than the limit of {MAX_MEMBER_BYTES:,} bytes")
    return data


class _RationedReader:
    """A stream that refuses to read more bytes than it was allowed."""

    def __init__(self, stream: BinaryIO, path: Path):
        self._stream, self._path = stream, path
        self.seek, self.tell = stream.seek, stream.tell
        self.allowed = 0

    def read(self, size: int) -> bytes:
        if size > self.allowed:
            raise LevyError(
                f"{self._path} has more than {MAX_HEADER_BYTES:,} bytes of headers (names, links, attributes) among its "
                f"members: that many are not read into memory; pack only the files that are needed"
            )
        self.allowed -= size
        return self._stream.read(size)


def files_of_tar(path: Path) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Parts of the path and bytes of every file in a tar, gzipped or not; headers and files are read up to their limits.

    ``tarfile`` reads a header as long as it says it is before anybody sees the member, so bytes are counted below it.

    Raises:
        LevyError: no tar, a damaged one, a path that leaves it, or more bytes than a limit; names the file.
    """
    total = 0
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(GZIP)) == GZIP
            raw.seek(0)
            stream = _RationedReader(gzip.GzipFile(fileobj=raw) if packed else raw, path)  # type: ignore[arg-type]
            stream.allowed = headers = MAX_HEADER_BYTES
            with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
                for member in archive:
                    parts = safe_parts(member.name, path)
                    check_size(member.name, member.size, path)
                    total += member.size
                    check_size("all that it holds", total, path)  # its members are in memory together
                    if member.isdir():
                        continue
                    file = archive.extractfile(member) if member.isfile() else None
                    if file is None:
                        raise LevyError(
                            f"{path}: {member.name} is a link or a device: it would be left out; pack the files themselves"
                        )
                    headers, stream.allowed = stream.allowed, member.size
                    yield parts, file.read()
                    stream.allowed = headers
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise LevyError(
            f"{path} is not a readable tar archive ({error}): it is damaged or was only partly copied; fetch it again"
        ) from error
