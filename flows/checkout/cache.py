"""DVC's hashes: of a file, of a folder, and whether an entry of its cache holds what its name says."""

import json
from collections.abc import Mapping
from hashlib import file_digest, md5
from pathlib import Path


def hash_of(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as stream:
        return file_digest(stream, lambda: md5(usedforsecurity=False)).hexdigest()


def hash_of_folder(root: Path, hashes: Mapping[Path, str]) -> str:
    """Of a folder with these files and their hashes; without DVC's ending ``.dir``."""
    listed = sorted((file.relative_to(root).as_posix(), content) for file, content in hashes.items())
    text = json.dumps([{"md5": content, "relpath": name} for name, content in listed], sort_keys=True)
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def is_sound(entry: Path) -> bool:
    """Whether an entry of DVC's cache holds what its name says; one that is not there does no harm."""
    return not entry.exists() or hash_of(entry) == f"{entry.parent.name}{entry.name}".removesuffix(".dir")
