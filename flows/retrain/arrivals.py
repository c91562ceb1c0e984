"""New data: taken over whole and unchanging into a workspace, compared with what was there before, and versioned."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.pipeline.workspace import Workspace
from levy_core.base.errors import LevyError
from levy_core.base.files import replacing, write_json
from tasks.params import plain_yaml
from tasks.registry.lineage import data_md5
from tasks.runtime import paths
from tasks.runtime.paths import DATA_VERSION

# In data/NAME beside sources.txt: what the listed sources held, so that their growth is a new version.
SEEN = "seen.json"
PATIENCE = 30 * 60.0  # seconds to wait for data that are still being written
SHIPPED = "starter"  # the remote inside the repository


@dataclass(frozen=True)
class Arrival:
    """What came: counts before and after (tasks/runtime/census.py), and the hashes of the data's versions."""

    before: dict[str, Any]
    after: dict[str, Any]
    old: str
    new: str

    @property
    def text(self) -> str:
        """What came, in one line."""
        if self.old == self.new:
            return "no new data"
        count_before, count_after = (sum(c["counts"].values()) for c in (self.before, self.after))
        last = f" up to {self.after['last']}" if "last" in self.after else ""
        return f"{count_before} -> {count_after} samples{last}, data {self.old[:7]} -> {self.new[:7]}"


def take(workspace: Workspace, dataset: str, source: Path, mirror: bool, quiet: float, most_lost: float) -> Arrival:
    """Brings ``source`` into the workspace's ``data/DATASET`` and makes it the new version in its data.dvc.

    Args:
        source: a folder in any form of docs/data.md. mirror: what is not there is removed; otherwise files are only added
            or replaced. quiet: seconds in which nothing may have been written there; later ones are waited for.
        most_lost: share of a class's images, or of the fields, that may be fewer than before.

    Raises:
        LevyError: the data are being written all the time, cannot be read, or are fewer than before.
    """
    if not source.is_dir():
        raise LevyError(f"{source} is not a folder: new data of {dataset} are expected there")
    target, old, snapshot = (
        workspace.root / paths.raw(dataset),
        data_md5(workspace.root / DATA_VERSION),
        _Snapshot(workspace.root, dataset),
    )
    before = snapshot.census(old, target)
    if before is None:
        workspace.dvc("pull", "--quiet", "--force", str(DATA_VERSION))
        before = _census(workspace, dataset) if target.is_dir() else {"counts": {}}
    snapshot.forget()
    copied, after = _copy(source, target, mirror, quiet), before
    if copied or (target / "sources.txt").exists():
        try:
            after = _census(workspace, dataset)
        except LevyError as error:
            if mirror:
                raise
            raise LevyError(
                f"{error}. The files of {source} were added to the last version of {dataset}: give them in its layout, or bring "
                f"{paths.raw(dataset)} of this checkout into the new one, and retrain without --from"
            ) from error
        if (target / "sources.txt").exists():
            write_json(target / SEEN, after)
        _add(workspace)
        _refuse_losses(dataset, before, after, most_lost)
    snapshot.keep(data_md5(workspace.root / DATA_VERSION), after, target)
    return Arrival(before, after, old, data_md5(workspace.root / DATA_VERSION))


def find_drift(workspace: Workspace, dataset: str, arrival: Arrival) -> list[dict[str, Any]]:
    """How the new data are unlike those before: ``text`` for people and ``numbers`` of each difference; [] where nothing is new."""
    if arrival.old == arrival.new:
        return []
    census = json.dumps({"before": arrival.before, "after": arrival.after})
    return json.loads(workspace.run("-m", "tasks", "drift", "--dataset", dataset, given=census).splitlines()[-1])


class _Snapshot:
    """What a workspace held when the last run left it, so that a run without new data need not ask DVC."""

    def __init__(self, root: Path, dataset: str):
        self._path = root.with_name(f"{root.name}-{dataset}.json")

    def census(self, data: str, target: Path) -> dict[str, Any] | None:
        """The counts, if the workspace is still as it was with this version of the data."""
        try:
            content = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return None
        return content["census"] if content["data"] == data and content["files"] == _list(target) else None

    def keep(self, data: str, census: dict[str, Any], target: Path) -> None:
        write_json(self._path, {"data": data, "census": census, "files": _list(target)})

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def _census(workspace: Workspace, dataset: str) -> dict[str, Any]:
    return json.loads(workspace.run("-m", "tasks", "census", "--dataset", dataset).splitlines()[-1])


def _copy(source: Path, target: Path, mirror: bool, quiet: float) -> bool:
    """Copies what differs, as it was at one moment; returns whether anything did."""
    copied = False
    deadline = time.monotonic() + PATIENCE
    while True:
        listed = _list(source)
        age = time.time() - max((modified for _, modified in listed.values()), default=0) / 1e9
        if age >= quiet or not listed:
            copied |= _make_same(source, target, listed, mirror)
            if _list(source) == listed:
                return copied
        if time.monotonic() > deadline:
            raise LevyError(f"{source} has been written to for {PATIENCE / 60:.0f} minutes: try again when it is whole")
        time.sleep(min(max(quiet - age, 0.1), 10))


def _list(folder: Path) -> dict[str, list[int]]:
    """[size, time] of every file but hidden ones, which half-sent files are by custom."""
    files = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts) and name.as_posix() != SEEN:
            status = path.stat()
            files[name.as_posix()] = [status.st_size, status.st_mtime_ns]
    return files


def _make_same(source: Path, target: Path, listed: dict[str, list[int]], mirror: bool) -> bool:
    have = _list(target)
    new = [name for name, what in listed.items() if have.get(name) != what]
    for name in new:
        with replacing(target / name) as temporary:  # never through a link into the cache
            shutil.copy2(source / name, temporary)
        shutil.copystat(source / name, target / name)
    removed = sorted(set(have) - set(listed)) if mirror else []
    for name in removed:
        (target / name).unlink()
        for folder in (target / name).parents:
            if folder == target or any(folder.iterdir()):
                break
            folder.rmdir()  # an empty one would be a class without images
    return bool(new or removed)


def _add(workspace: Workspace) -> None:
    """`dvc add data`; a version that is not the shipped one goes to the default remote, not into the repository."""
    path = workspace.root / DATA_VERSION
    before, old = path.read_text(), data_md5(path)
    workspace.dvc("add", "--quiet", str(paths.DATA))
    (out,) = plain_yaml.read(path.read_text())["outs"]
    if out["md5"] == old:
        path.write_text(before)
    elif out.get("remote") == SHIPPED:
        path.write_text(plain_yaml.write({"outs": [{k: v for k, v in out.items() if k != "remote"}]}))


def _refuse_losses(dataset: str, before: dict[str, Any], after: dict[str, Any], most_lost: float) -> None:
    losses = [
        f"{name!r} had {had}, has {after['counts'].get(name, 0)}"
        for name, had in before["counts"].items()
        if after["counts"].get(name, 0) < had * (1 - most_lost)
    ]
    if before.get("shape", after.get("shape")) != after.get("shape"):
        losses.append(f"a sample had the shape {before['shape']}, has {after['shape']}")
    if before.get("last", "") > after.get("last", ""):
        losses.append(f"the last sample was {before['last']}, is {after['last']}")
    if losses:
        raise LevyError(
            f"the new data of {dataset} are less than the last version: {'; '.join(losses)}. Put back what is missing; if it "
            f"was taken away on purpose, run `levy retrain {dataset} --accept-losses` once"
        )
