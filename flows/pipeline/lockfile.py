"""``dvc.lock`` after a crash: DVC writes it in place, so that it may be empty or cut off; copies of it, and what is repaired from them."""

import fcntl
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from levy_core.base.errors import LevyError
from levy_core.base.files import replacing
from tasks.params import plain_yaml
from tasks.runtime.paths import LOCK

TMP = Path(".dvc/tmp")
KEPT, DAMAGED = TMP / "dvc.lock.kept", TMP / "dvc.lock.damaged"


@contextmanager
def dvc_waits() -> Iterator[None]:
    """Holds the lock under which every DVC of this checkout writes; waits for it while another holds it."""
    TMP.mkdir(exist_ok=True)
    with (TMP / "lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def keep_lock() -> None:
    """Keeps a copy of ``dvc.lock`` as it is after a stage: what ``repair_lock`` takes."""
    with dvc_waits():
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
    with dvc_waits():
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


def find_lock_gaps() -> dict[str, Any]:
    """Stages that a ``dvc.lock`` which DVC can read names in part, or not at all though a whole copy does: so it is after a cut.

    Returns:
        By the name of the stage, its entry in a whole copy; None where no copy has one.
    """
    from dvc.repo import Repo  # late: half a second
    from dvc.stage import PipelineStage

    text = LOCK.read_text() if LOCK.exists() else ""
    entries = _stages_in(text)
    known = {name: entry for _, copy in reversed([*_whole_copies()]) for name, entry in _stages_in(copy).items()}
    in_mid_line = list(entries)[-1:] if not text.endswith("\n") else []  # DVC ends every line
    gaps: dict[str, Any] = {}
    with Repo() as repo:
        for stage in (stage for stage in repo.index.stages if isinstance(stage, PipelineStage)):
            name, outs = stage.addressing, {out.def_path for out in stage.outs}
            copy = known.get(name) if _is_whole(known.get(name), outs) else None
            cut_off = name in in_mid_line or (name in entries and not _is_whole(entries[name], outs))
            if cut_off or (name not in entries and copy):
                gaps[name] = copy
    return gaps


def _stages_in(text: str) -> dict[str, Any]:
    return (plain_yaml.read(text) or {}).get("stages") or {}


def _is_whole(entry: Any, outs: Collection[str]) -> bool:
    """Whether an entry of ``dvc.lock`` has a hash for each of these outputs; they are its last part."""
    return entry is not None and set(outs) <= {out["path"] for out in entry.get("outs", []) if "md5" in out}


def describe_gaps(gaps: Collection[str]) -> str:
    """What is wrong with a ``dvc.lock`` that has gaps, for people; empty where it has none."""
    if not gaps:
        return ""
    names = ", ".join([*gaps][:3]) + (", ..." if len(gaps) > 3 else "")
    return f"{LOCK} lacks all or a part of what {len(gaps)} stages made ({names}), as if it had been cut off"


def repair_gaps() -> str:
    """Fills the gaps of ``dvc.lock`` from whole copies; what no copy has is taken out, so that its stage runs again.

    An older entry does no harm: DVC runs a stage whose files are others than its entry says.

    Returns:
        What was done, for people; empty where nothing was.
    """
    with dvc_waits():
        gaps = find_lock_gaps()
        if not gaps:
            return ""
        with plain_yaml.changing(LOCK) as lock:
            kept = {name: entry for name, entry in (lock.get("stages") or {}).items() if name not in gaps}
            lock.setdefault("schema", "2.0")
            filled = kept | {name: entry for name, entry in gaps.items() if entry}
            lock["stages"] = dict(sorted(filled.items()))  # as a run leaves it
    return f"{describe_gaps(gaps)}: filled from a copy, as far as there is one"
