"""What a crash can leave of files that DVC writes in place, and of bytes that it takes on trust."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.checkout.cache import hash_of, hash_of_folder, is_sound
from flows.checkout.dvc import Dvc
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_json, replacing, write_json
from tasks.params import plain_yaml
from tasks.registry.lineage import LOCK, read_stages

TMP = Path(".dvc/tmp")
KEPT, DAMAGED = TMP / "dvc.lock.kept", TMP / "dvc.lock.damaged"
LOOKED_AT = TMP / "levy.intact"


@contextmanager
def _dvc_waits() -> Iterator[None]:
    """Holds the lock under which every DVC of this checkout writes; waits for it while another holds it."""
    with (TMP / "lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def keep_lock() -> None:
    """Keeps a copy of ``dvc.lock`` as it is after a stage: what ``mend_lock`` takes."""
    with _dvc_waits():
        if LOCK.exists():
            with replacing(KEPT) as temporary:
                temporary.write_bytes(LOCK.read_bytes())


def mend_lock() -> None:
    """Puts the last whole ``dvc.lock``, kept by a run or else by git, in place of one that is cut off.

    DVC writes the file in place: a kill or a full disk in that moment cuts it off, and DVC refuses it, or takes the stages that
    are not in it for new ones. The remains stay in ``.dvc/tmp``. At most the stage that was just written runs again.
    """
    if not LOCK.exists() or _is_whole(LOCK.read_text(errors="replace")):
        return
    with _dvc_waits():
        if _is_whole(LOCK.read_text(errors="replace")):
            return  # DVC was at work
        LOCK.replace(DAMAGED)
        committed = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True, text=True, check=False)  # noqa: S603, S607
        kept = KEPT.read_text() if KEPT.exists() else ""
        for text in filter(_is_whole, (kept, committed.stdout)):
            with replacing(LOCK) as temporary:
                temporary.write_text(text)
            break
    print(
        f"{LOCK} was cut off in mid-write: the last whole one takes its place, the remains are in {DAMAGED}",
        file=sys.stderr,
    )


def _is_whole(text: str) -> bool:
    try:
        entries = plain_yaml.read(text)["stages"].values()
        files = [file for entry in entries for kind in ("deps", "outs") for file in entry.get(kind, [])]
        # Every dvc.yaml here has outputs; a folder's hash stands with the number of its files.
        whole = bool(entries) and all(entry["cmd"] and entry["outs"] for entry in entries)
        return (
            whole
            and text.endswith("\n")
            and all(f["size"] >= 0 and (".dir" not in f["md5"] or f["nfiles"]) for f in files)
        )
    except (plain_yaml.DamagedYamlError, AttributeError, KeyError, TypeError):
        return False


def mend_outputs(dvc: Dvc, stages: Collection[str], changed: Collection[str] = ()) -> list[str]:
    """Removes files of outputs that are not what ``dvc.lock`` says, with damaged copies in DVC's cache, and names them.

    DVC believes its cache: a damaged entry is copied into outputs and called up to date. What is removed here comes back from
    the cache where that is sound; else DVC misses it and makes it again. Bytes are read once: what has kept its size, time and
    place since then is not read again.

    Args:
        dvc: of the working directory. stages: whose outputs. changed: outputs that DVC itself knows to be other than ``dvc.lock`` says: an unfinished stage goes
            on from them.
    """
    with _dvc_waits():
        entries = read_stages(LOCK)
    outputs = [out for stage in stages if stage in entries for out in entries[stage].get("outs", [])]
    known = _read(LOOKED_AT)
    damaged: list[str] = []
    for out in outputs:
        path = Path(out["path"])
        if str(path) in changed or not path.exists() or known.get(str(path)) == [out["md5"], _marks(path)]:
            continue
        found = _damaged(path, out["md5"], dvc)
        for file in found:
            file.unlink()
        if found:
            with suppress(LevyError):  # not in the cache any more: its stage runs
                dvc.output("checkout", str(path))
        else:
            known[str(path)] = [out["md5"], _marks(path)]
        damaged += map(str, found)
    write_json(LOOKED_AT, known)
    return damaged


def _damaged(path: Path, expected: str, dvc: Dvc) -> list[Path]:
    """The files of an output that differ from its hash in ``dvc.lock``; damaged copies leave DVC's cache."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    hashes = {file: hash_of(file) for file in files}
    folder = expected.endswith(".dir")
    if (hash_of_folder(path, hashes) if folder else hashes[path]) == expected.removesuffix(".dir"):
        return []
    store = Path(dvc.output("cache", "dir").strip()) / "files" / "md5"
    wanted = {path: expected}
    if folder:
        listing = store / expected[:2] / expected[2:]
        if not is_sound(listing) or not listing.exists():
            listing.unlink(missing_ok=True)
            return files  # which of them are right, nobody knows
        wanted = {path / entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_text())}
    for content in wanted.values():
        if not is_sound(entry := store / content[:2] / content[2:]):
            entry.unlink()
    return [file for file in files if wanted.get(file) != hashes[file]]


def _marks(path: Path) -> str:
    """What changes when a file is written anew, of one file or of all in a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    marks = [(str(file), stat.st_size, stat.st_mtime_ns, stat.st_ino) for file in files for stat in [file.stat()]]
    return hash_json(marks)


def _read(path: Path) -> dict[str, list[str]]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
