"""DVC's hashes of files and folders."""

import json
from collections.abc import Mapping
from hashlib import file_digest, md5
from pathlib import Path


def hash_of(path: Path) -> str:
    """MD5 of a file, as DVC computes it."""
    with path.open("rb") as stream:
        return file_digest(stream, lambda: md5(usedforsecurity=False)).hexdigest()


def hash_of_text(text: str) -> str:
    """MD5 of a file that holds this text."""
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def hashes_of(path: Path) -> dict[Path, str]:
    """Of every file in a folder, or of the one file."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return {file: hash_of(file) for file in files}


def listing_of_folder(root: Path, hashes: Mapping[Path, str]) -> bytes:
    """What DVC's cache keeps of a folder with these files and their hashes."""
    listed = sorted((file.relative_to(root).as_posix(), content) for file, content in hashes.items())
    return json.dumps([{"md5": content, "relpath": name} for name, content in listed], sort_keys=True).encode()


def hash_of_folder(root: Path, hashes: Mapping[Path, str]) -> str:
    """Of a folder with these files and their hashes; without DVC's ending ``.dir``."""
    return md5(listing_of_folder(root, hashes), usedforsecurity=False).hexdigest()


def hash_of_output(path: Path, hashes: Mapping[Path, str]) -> str:
    """What dvc.lock says of an output, a file or a folder, whose files have these hashes."""
    return f"{hash_of_folder(path, hashes)}.dir" if path.is_dir() else hashes[path]
