"""Files that are written in one piece or not at all, and hashes of files."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from levy_core.base.errors import LevyError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place only if the block succeeds: no half-written file.

    The name is always the same: what a killed process left is replaced by the next, and no remains pile up in folders that DVC
    hashes as a whole. A file has one writer at a time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    temporary.touch()
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def ready(folder: Path) -> Iterator[None]:
    """Makes a folder, with those above it, before the long work of the block; where the block fails, those that stayed empty go again.

    Raises:
        LevyError: it cannot be made, or nothing can be written to it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=folder).close()
        except OSError as error:
            raise LevyError(f"{folder} cannot be written to ({error.strerror}): give another folder") from error
        yield
    except BaseException:
        with suppress(OSError):  # one that is not empty, and all above it
            for path in made:
                path.rmdir()
        raise


def write_json(path: Path, value: Any) -> None:
    """Sorted, indented JSON, written in one piece."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def hash_json(value: Any) -> str:
    """SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def hash_files(*files: Path) -> str:
    """SHA-256 of the files' contents, in order."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
