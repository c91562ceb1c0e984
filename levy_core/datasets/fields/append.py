"""What of a store prepared before still holds, chunk by chunk: its file is taken over without being computed again."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from levy_core.base.files import write_json
from levy_core.datasets.fields.codec import JSON, TENSORS
from levy_core.datasets.fields.store import GROUPS

STORE, PREPARED = "fields.zarr", "prepared.json"
FORMAT = 2  # rises whenever equal blocks of equal standardisation would be written as other bytes
Hashes = dict[str, list[str]]  # of each group, of the source's fields in each of its chunks (``reading.hash_chunks``)


@dataclass(frozen=True)
class PreviousStore:
    """A folder prepared before, of the same standardisation; ``hashes`` are of the sources that it was made from."""

    folder: Path
    hashes: Hashes

    def unchanged(self, group: str, hashes: list[str], chunk_bytes: int) -> list[int]:
        """The chunks of a group that are as they would be written now.

        Args:
            hashes: of the group's sources now. chunk_bytes: of each chunk's file.
        """
        both = enumerate(zip(self.hashes[group], hashes, strict=False))
        return [i for i, (old, new) in both if old == new and _size(self.chunk(group, i)) == chunk_bytes]

    def chunk(self, group: str, number: int) -> Path:
        return self.folder / _chunk(group, number)

    def take_over(self, group: str, chunks: list[int], into: Path) -> None:
        """Links the files of some chunks into the prepared folder ``into``, or copies them across file systems."""
        for number in chunks:
            source, target = self.chunk(group, number), into / _chunk(group, number)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source.resolve(), target)
            except OSError:
                shutil.copyfile(source, target)


def write_hashes(folder: Path, hashes: Hashes) -> None:
    """Writes what ``find_previous`` asks about."""
    write_json(folder / PREPARED, {"format": FORMAT, "hashes": hashes})


def find_previous(folder: Path | None, new: Path) -> PreviousStore | None:
    """What was prepared before, if its standardisation is, byte for byte, that of ``new``; else None.

    Args:
        folder: perhaps prepared before. new: the folder being prepared, with its codec.
    """
    if folder is None:
        return None
    try:
        record = json.loads((folder / PREPARED).read_text())
        if record["format"] != FORMAT:
            return None
        same = all((folder / name).read_bytes() == (new / name).read_bytes() for name in (JSON, TENSORS))
        hashes = {group: list(record["hashes"][group]) for group in GROUPS}
        return PreviousStore(folder, hashes) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _chunk(group: str, number: int) -> Path:
    return Path(STORE, group, "field", "c", str(number), "0", "0", "0")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
