"""What the readers of archives refuse before they read a member: paths that leave the archive, and bombs."""

import gzip
import re
from pathlib import Path, PurePosixPath

from levy_core.base.errors import LevyError

MAX_MEMBER_BYTES = 512 * 2**20  # what is in memory at a time, unpacked: a decompression bomb stops here


def safe_parts(member: str, archive: Path) -> tuple[str, ...]:
    """The parts of an archive member's path.

    Raises:
        LevyError: the path is absolute or climbs out of the archive.
    """
    parts = PurePosixPath(member.replace("\\", "/")).parts
    # The root is "/" or, of a path that begins with exactly two slashes, "//".
    if not parts or ".." in parts or parts[0].startswith("/") or re.match(r"^[A-Za-z]:", parts[0]):
        raise LevyError(f"{archive} contains the path {member!r}, which leaves the archive: refusing to read it")
    return parts


def check_size(member: str, size: int, archive: Path) -> None:
    """Refuses a member by the unpacked size that its header announces.

    Raises:
        LevyError: names the member, its size and the limit.
    """
    if size > MAX_MEMBER_BYTES:
        raise LevyError(f"{archive}: {member} unpacks to {size:,} bytes, more than the limit of {MAX_MEMBER_BYTES:,}")


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
