"""What a crash can leave of bytes that DVC takes on trust: outputs and its cache, read and repaired; and all repairs of a checkout."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from flows.pipeline.cache import is_sound
from flows.pipeline.dvc import Dvc, repair_rwlock
from flows.pipeline.graph import read_state
from flows.pipeline.lockfile import dvc_waits, repair_gaps, repair_lock
from levy_core.base.errors import LevyError
from levy_core.base.files import replacing
from levy_core.base.manifest import MANIFEST, DamagedError, check_manifest
from tasks.registry.lineage import read_stages
from tasks.runtime.checksums import hash_of_output, hashes_of, listing_of_folder
from tasks.runtime.paths import LOCK


def repair_outputs(dvc: Dvc, stages: Collection[str], changed: Collection[str] = ()) -> list[str]:
    """Removes files of outputs that are not what ``dvc.lock`` says, mends damaged entries of DVC's cache, and names both.

    DVC believes its cache: a damaged entry is copied into outputs and called up to date. What is removed here comes back from
    the cache where that is sound; else DVC misses it and makes it again. Every byte of every output is read.

    Args:
        dvc: of the working directory. stages: whose outputs. changed: outputs that DVC itself knows to be other than
            ``dvc.lock`` says: an unfinished stage goes on from them.
    """
    with dvc_waits():
        entries = read_stages(LOCK)
    store = find_store(dvc)
    repaired: list[str] = []
    for out in (out for stage in stages if stage in entries for out in entries[stage].get("outs", [])):
        path = Path(out["path"])
        if "md5" not in out or str(path) in changed or not path.exists():
            continue
        hashes = hashes_of(path)
        if hash_of_output(path, hashes) == out["md5"]:
            repaired += _repair_entries(path, hashes, out["md5"], store)
            continue
        damaged = _damaged(path, hashes, out["md5"], store)
        for file in damaged:
            file.unlink()
        with suppress(LevyError):  # not in the cache any more: its stage runs
            dvc.output("checkout", str(path))
        repaired += map(str, damaged)
    return repaired


def find_store(dvc: Dvc) -> Path:
    """The folder of DVC's cache in which entries are named by their MD5."""
    return Path(dvc.output("cache", "dir").strip()) / "files" / "md5"


def _entry(store: Path, content: str) -> Path:
    return store / content[:2] / content[2:]


def _repair_entries(path: Path, hashes: Mapping[Path, str], expected: str, store: Path) -> list[str]:
    """Writes damaged entries of the cache anew from an output that is whole, and names them."""
    contents = {_entry(store, content): file for file, content in hashes.items()}
    damaged = [entry for entry in contents if not is_sound(entry)]
    for entry in damaged:
        _write_entry(entry, contents[entry].read_bytes())
    if path.is_dir() and not is_sound(listing := _entry(store, expected)):
        _write_entry(listing, listing_of_folder(path, hashes))
        damaged.append(listing)
    return list(map(str, damaged))


def _write_entry(entry: Path, content: bytes) -> None:
    with replacing(entry) as temporary:
        temporary.write_bytes(content)
    entry.chmod(0o444)  # as DVC leaves its entries


def _damaged(path: Path, hashes: Mapping[Path, str], expected: str, store: Path) -> list[Path]:
    """The files of an output that make it differ from its hash in ``dvc.lock``; damaged copies leave DVC's cache."""
    if (entries := discard_damaged(expected, store)) is None:
        return list(hashes)  # which of them are right, nobody knows
    wanted = {path / name: f"{entry.parent.name}{entry.name}" for name, entry in entries.items()}
    return [file for file, content in hashes.items() if wanted.get(file) != content]


def discard_damaged(expected: str, store: Path) -> dict[str, Path] | None:
    """Removes damaged copies of an output from DVC's cache, so that DVC fetches them anew.

    Args:
        expected: what ``dvc.lock`` says of the output, a folder's with the ending ``.dir``. store: of ``find_store``.

    Returns:
        The entry of each of its files, whether or not it is there, by the file's path in the output, which is empty where that is one
        file; None where the cache does not know what the folder holds.
    """
    entries = {"": _entry(store, expected)}
    if expected.endswith(".dir"):
        listing = entries[""]
        if not listing.exists() or not is_sound(listing):
            listing.unlink(missing_ok=True)
            return None
        entries = {entry["relpath"]: _entry(store, entry["md5"]) for entry in json.loads(listing.read_text())}
    for entry in entries.values():
        if not is_sound(entry):
            entry.unlink()
    return entries


def _is_damaged(output: Path) -> bool:
    try:
        if (output / MANIFEST).exists():
            check_manifest(output)
    except DamagedError:
        return True
    return False


def repair_checkout(dvc: Dvc) -> Iterator[str]:
    """All that can be repaired in this checkout, also what takes long: lines for people, none where all is whole.

    Raises:
        LevyError: ``dvc.lock`` holds the marks of a git merge, or DVC cannot say what is changed.
        DvcBusyError: another DVC is at work.
    """
    yield from filter(None, (repair_rwlock(), repair_lock()))
    state = read_state(dvc)
    if filled := repair_gaps():
        yield filled
        state = read_state(dvc)
    # An unfinished stage may go on from an output that is changed, but not from one that its own manifest calls damaged.
    changed = {output for output in state.changed_outputs if not _is_damaged(Path(output))}
    if repaired := repair_outputs(dvc, state.graph.needs, changed):
        names = ", ".join(repaired[:3]) + (", ..." if len(repaired) > 3 else "")
        yield (
            f"{len(repaired)} damaged files of outputs or of DVC's cache came back from a whole copy or were removed, "
            f"and `levy run` makes those again: {names}"
        )
