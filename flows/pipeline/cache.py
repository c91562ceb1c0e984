"""Whether an entry of DVC's cache holds what its name says."""

from pathlib import Path

from tasks.runtime.checksums import hash_of


def is_sound(entry: Path) -> bool:
    """Whether an entry of DVC's cache holds what its name says; one that is not there does no harm."""
    return not entry.exists() or hash_of(entry) == f"{entry.parent.name}{entry.name}".removesuffix(".dir")
