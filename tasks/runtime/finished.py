"""Results that stay: a stage that has finished does nothing where all that decides its result is as it was.

DVC starts a stage again when a room that it imports from has changed, which happens more often than a change of what it uses.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from levy_core.base.files import write_json
from tasks.runtime.checksums import hashes_of


class FinishedStage:
    """What a stage finished with: the fingerprint of what decided its outputs, and the hashes of their files.

    Args:
        path: of the record; it is no DVC output, so that it says something of the outputs of this checkout only.
        fingerprint: hash of what decides the outputs. outputs: files and folders.
    """

    def __init__(self, path: Path, fingerprint: str, outputs: Sequence[Path]):
        self._path, self._fingerprint, self._outputs = path, fingerprint, outputs

    def is_kept(self) -> bool:
        """Whether the stage has finished with this fingerprint, and its files still are what it wrote, neither more nor fewer."""
        try:
            record = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return False
        # Files are read last: they may be large.
        same = isinstance(record, dict) and record.get("fingerprint") == self._fingerprint
        return same and record == self._describe()

    def write(self) -> None:
        """Records the outputs as they are now."""
        write_json(self._path, self._describe())

    def _describe(self) -> dict[str, Any]:
        return {"fingerprint": self._fingerprint, "files": hash_contents(*self._outputs)}


def fingerprint_of(path: Path) -> str | None:
    """The fingerprint that a stage finished with here; None where no record says it."""
    try:
        return str(json.loads(path.read_text())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def hash_contents(*paths: Path) -> dict[str, str]:
    """The hash of every file of these files and folders, as far as they are there, by its path."""
    there = [path for path in paths if path.exists()]
    return {file.as_posix(): content for path in there for file, content in hashes_of(path).items()}
