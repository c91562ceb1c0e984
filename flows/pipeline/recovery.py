"""What a crash can leave of files that DVC writes in place, and of bytes that it takes on trust."""

import fcntl
import json
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.pipeline.cache import is_sound
from flows.pipeline.dvc import Dvc, repair_rwlock
from flows.pipeline.graph import read_state
from levy_core.base.errors import LevyError
from levy_core.base.files import replacing
from levy_core.base.manifest import MANIFEST, DamagedError, check_manifest
from tasks.params import plain_yaml
from tasks.registry.lineage import LOCK, read_stages
from tasks.runtime.checksums import hash_of_output, hashes_of, listing_of_folder

TMP = Path(".dvc/tmp")
KEPT, DAMAGED = TMP / "dvc.lock.kept", TMP / "dvc.lock.damaged"


@contextmanager
def _dvc_waits() -> Iterator[None]:
    """Holds the lock under which every DVC of this checkout writes; waits for it while another holds it."""
    TMP.mkdir(exist_ok=True)
    with (TMP / "lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def keep_lock() -> None:
    """Keeps a copy of ``dvc.lock`` as it is after a stage: what ``repair_lock`` takes."""
    with _dvc_waits():
        if LOCK.exists():
            with replacing(KEPT) as temporary:
                temporary.write_bytes(LOCK.read_bytes())


def find_lock_damage() -> str:
    """What is wrong with ``dvc.lock``, and what `levy run` does about it; empty where DVC can read it, or where there is none.

    Raises:
        LevyError: the file holds the marks of a git merge, which a person has to resolve.
    """
    damage = _damage_of(LOCK.read_text(errors="replace")) if LOCK.exists() else ""
    if not damage:
        return ""
    place = next((place for place, _ in _whole_copies()), None)
    return f"{LOCK} is damaged ({damage}): " + (
        f"`levy run` puts {place} in its place and keeps the remains in {DAMAGED}"
        if place
        else f"there is no whole copy, so `levy run` moves it to {DAMAGED} and runs every stage again"
    )


def repair_lock() -> str:
    """Puts the last whole ``dvc.lock``, kept by a run or else by git, in place of one that DVC cannot read.

    DVC writes the file in place: a kill or a full disk in that moment leaves it empty or cut off. A file that DVC can read is
    never replaced, also if it was cut off: the stages that it does not name run again. The remains stay in ``.dvc/tmp``.

    Returns:
        What was done, for people; empty where nothing was.

    Raises:
        LevyError: as ``find_lock_damage``.
    """
    if not find_lock_damage():
        return ""
    with _dvc_waits():
        if not (damage := _damage_of(LOCK.read_text(errors="replace"))):
            return ""  # DVC was at work
        place, text = next(_whole_copies(), ("", ""))
        LOCK.replace(DAMAGED)
        if place:
            with replacing(LOCK) as temporary:
                temporary.write_text(text)
    now = f"{place} takes its place" if place else "there is no whole copy, so every stage runs again"
    return f"{LOCK} was damaged ({damage}): {now}; the remains are in {DAMAGED}"


def _whole_copies() -> Iterator[tuple[str, str]]:
    """Copies of ``dvc.lock`` that DVC can read: where each is, and its text."""
    if KEPT.exists() and not _damage_of(kept := KEPT.read_text(errors="replace")):
        yield f"the copy that was kept after the last stage ({KEPT})", kept
    committed = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if committed.returncode == 0 and not _damage_of(committed.stdout):
        yield "the last commit's", committed.stdout


def _damage_of(text: str) -> str:
    """Why DVC cannot read a ``dvc.lock``; empty where it can, whatever stages the file names.

    Raises:
        LevyError: the text holds the marks of a git merge.
    """
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA as SCHEMA  # late: tenths of a second
    from voluptuous import Invalid

    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("<<<<<<<"):
            raise LevyError(
                f"{LOCK} holds marks of a git merge from line {number} on (<<<<<<<): resolve the conflict, for example with "
                f"`git checkout --ours {LOCK}` or `git checkout --theirs {LOCK}`, and run the same command again"
            )
    if not text.strip():
        return "it is empty"
    try:
        stages = SCHEMA(plain_yaml.read(text)).get("stages")
    except plain_yaml.DamagedYamlError as error:
        return f"no YAML: {error}"
    except Invalid as error:
        return f"DVC refuses it: {error}"
    return "" if isinstance(stages, dict) else "it names no stages"


def repair_outputs(dvc: Dvc, stages: Collection[str], changed: Collection[str] = ()) -> list[str]:
    """Removes files of outputs that are not what ``dvc.lock`` says, mends damaged entries of DVC's cache, and names both.

    DVC believes its cache: a damaged entry is copied into outputs and called up to date. What is removed here comes back from
    the cache where that is sound; else DVC misses it and makes it again. Every byte of every output is read.

    Args:
        dvc: of the working directory. stages: whose outputs. changed: outputs that DVC itself knows to be other than
            ``dvc.lock`` says: an unfinished stage goes on from them.
    """
    with _dvc_waits():
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
    # An unfinished stage may go on from an output that is changed, but not from one that its own manifest calls damaged.
    changed = {output for output in state.changed_outputs if not _is_damaged(Path(output))}
    if repaired := repair_outputs(dvc, state.graph.needs, changed):
        names = ", ".join(repaired[:3]) + (", ..." if len(repaired) > 3 else "")
        yield (
            f"{len(repaired)} damaged files of outputs or of DVC's cache came back from a whole copy or were removed, "
            f"and `levy run` makes those again: {names}"
        )
