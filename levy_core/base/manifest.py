"""The SHA-256 of every file of a folder, kept in the folder: ``sha256sum --check SHA256SUMS`` reads it, too."""

import logging
import re
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path

from levy_core.base.errors import LevyError
from levy_core.base.files import replacing

MANIFEST = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\n")
REMEDY = "`levy doctor` names the command that restores it"


class DamagedError(LevyError):
    """Files are not those that were written."""


def sha256_of_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but its manifest, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def format_manifest(hashes: Mapping[str, str]) -> str:
    """A line per file, in order of their paths."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def parse_manifest(text: str) -> dict[str, str]:
    """The inverse of ``format_manifest``.

    Raises:
        ValueError: the text was not made by it.
    """
    hashes = {name: content for content, name in LINE.findall(text)}
    if not hashes or format_manifest(hashes) != text:
        raise ValueError("a SHA-256 and a path in each line, in order of the paths, were expected")
    return hashes


def write_manifest(folder: Path) -> None:
    """Writes the manifest of a folder as it is now; call it last."""
    text = format_manifest(sha256_of_files(folder))
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_text(text)


def check_manifest(folder: Path) -> None:
    """Compares every file of a folder with its manifest; a folder of an earlier version has none, which is logged.

    Raises:
        DamagedError: names the files that are damaged, missing, or not in the manifest.
    """
    try:
        recorded = parse_manifest((folder / MANIFEST).read_text())
    except FileNotFoundError:
        logging.getLogger("levy").warning(
            "%s was written by an earlier levy, without %s: its files are not compared", folder, MANIFEST
        )
        return
    except (OSError, ValueError) as error:
        raise DamagedError(f"{folder / MANIFEST} is damaged ({error}): {REMEDY}") from error
    if damage := find_damage(recorded, sha256_of_files(folder)):
        raise DamagedError(f"{folder} is not as it was written: {'; '.join(damage)}. {REMEDY}")


def find_damage(recorded: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """A few words for each path at which the hashes that are on record and those of the files differ."""
    return [f"{name} {_describe(recorded.get(name), found.get(name))}" for name in find_different(recorded, found)]


def find_different(recorded: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """The paths at which they differ, or of which one has no hash."""
    return sorted(name for name in {*recorded, *found} if recorded.get(name) != found.get(name))


def _describe(recorded: str | None, found: str | None) -> str:
    if found is None:
        return "is missing"
    if recorded is None:
        return "is not on record"
    return f"is damaged (SHA-256 {found[:12]}…, on record is {recorded[:12]}…)"
