"""Checks of `levy doctor` on what DVC keeps: disk, locks, data, cache, remotes."""

import json
import os
import random
import shlex
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from flows.doctor.findings import Finding, ok, run_check, warning, wrong
from flows.pipeline.cache import is_sound
from flows.pipeline.dvc import find_rwlock_damage
from flows.pipeline.lockfile import describe_gaps, find_lock_damage, find_lock_gaps
from tasks.registry.lineage import data_md5
from tasks.runtime.checksums import hash_of_output, hashes_of
from tasks.runtime.paths import DATA, DATA_VERSION

ROOMY = 5 * 2**30  # bytes free below which a year of runs is at risk
# What is read without --deep: how many entries of the cache, up to how many bytes each; and bytes of data/ in all.
SAMPLED, SMALL, LARGE = 200, 16 * 2**20, 256 * 2**20
REMOTE_SECONDS = 20.0


def disk() -> Iterator[Finding]:
    """Room and inodes for outputs and cache, and links between them that work."""
    from dvc.repo import Repo

    from flows.pipeline.preflight import FREE_BYTES

    with Repo() as repo:
        folder, kinds = Path(repo.cache.local.path), repo.config["cache"].get("type")
    while not folder.exists():
        folder = folder.parent
    for place in dict.fromkeys((Path.cwd(), folder)):
        free, inodes = shutil.disk_usage(place).free, os.statvfs(place)
        room = f"{free / 2**30:.1f} GiB free at {place}"
        advice = "free some space; `dvc gc --workspace --all-commits` drops cached outputs that no commit names"
        if free < FREE_BYTES or (inodes.f_files and inodes.f_favail < 1000):
            yield wrong(f"the disk is nearly full: {room}, {inodes.f_favail} inodes", advice)
        elif free < ROOMY:
            yield warning(f"the disk is filling up: {room}", advice)
        elif place == Path.cwd():
            yield ok(f"{room}; cache links: {', '.join(kinds) if kinds else 'reflink or copy'}")
    if kinds and set(kinds) <= {"hardlink"} and os.stat(folder).st_dev != Path.cwd().stat().st_dev:
        yield wrong(
            f"DVC cannot link files from its cache: cache.type is hardlink, but {folder} is on another disk",
            "dvc config --local cache.type reflink,copy",
        )


def locks() -> Iterator[Finding]:
    """DVC can read dvc.lock and its file of locks; the former is whole, and the processes that the latter names are alive."""
    repair = "levy doctor --mend"
    if held := find_rwlock_damage():
        yield wrong(held, repair)
    if damage := find_lock_damage() or describe_gaps(find_lock_gaps()):
        yield wrong(damage, repair)
    if not held and not damage:
        yield ok("dvc.lock is whole, and no lock was left behind")


def data(deep: bool) -> Iterator[Finding]:
    """data/ is the version that data.dvc names, in every byte if it is not large or ``deep``, and dvc.yaml can be read."""
    from flows.pipeline.dvc import Dvc, DvcBusyError
    from flows.pipeline.graph import check_data, plan, read_state
    from tasks.params import loading

    dvc = Dvc()
    try:
        status = json.loads(dvc.output("status", "--json", str(DATA_VERSION)))  # also where DVC cannot read dvc.lock
        check_data(dvc, status)
        small = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) <= LARGE
        if (deep or small) and hash_of_output(DATA, hashes_of(DATA)) != data_md5(DATA_VERSION):
            again = "mkdir -p .levy && mv data .levy/data.damaged && dvc pull --force data.dvc"
            yield wrong("data/ is damaged, and neither size nor time of a file tells DVC", again)
            return
        stages = plan(dvc, read_state(dvc), loading.load().datasets)
    except DvcBusyError as error:
        yield warning(f"DVC is busy: {error}", "look again when it is done, or see locks")
        return
    yield ok(f"data/ is what data.dvc names; {len(stages.todo)} of {len(stages.graph.needs)} stages to run")


def cache(deep: bool) -> Iterator[Finding]:
    """Entries of the cache hold what their names say: all of them, or without ``deep`` some that are not large."""
    from dvc.repo import Repo

    with Repo() as repo:
        folder = Path(repo.cache.local.path)  # of entries by md5
    entries = [entry for entry in folder.glob("[0-9a-f][0-9a-f]/*") if len(entry.name.removesuffix(".dir")) == 30]
    selected = entries if deep else [entry for entry in entries if entry.stat().st_size <= SMALL]
    if not deep and len(selected) > SAMPLED:
        selected = random.sample(selected, SAMPLED)  # others the next time
    damaged = [str(entry) for entry in selected if not is_sound(entry)]
    if damaged:
        yield wrong(
            f"the cache {folder} is damaged: {len(damaged)} of {len(selected)} entries, {', '.join(damaged[:3])}",
            f"rm -f {shlex.join(damaged)} && dvc pull --allow-missing; levy run  # which makes again what no remote has",
        )
    else:
        more = "" if len(selected) == len(entries) else f" ({len(entries)} in all: --deep reads them)"
        yield ok(f"{len(selected)} entries hold what their names say{more}")


def remotes() -> Iterator[Finding]:
    """Every remote answers, and holds something."""
    from dvc.repo import Repo

    with Repo() as repo:
        names, default = list(repo.config["remote"]), repo.config["core"].get("remote")
    for name in names:
        yield from run_check(partial(_remote, name), REMOTE_SECONDS)
    if not names:
        yield wrong(
            "data/ and outputs are kept on this machine alone: 0 remotes",
            "dvc remote add --default storage ssh://HOST/PATH (docs/servers.md)",
        )
    elif not default:
        # DVC calls this out at every `dvc pull`, though it pulls what names its remote, as data.dvc does.
        yield ok("no default: `dvc pull` says so and pulls data.dvc from its own; `dvc push` of outputs needs one")


def _remote(name: str) -> Iterator[Finding]:
    from dvc.repo import Repo

    with Repo() as repo:
        store = repo.cloud.get_remote_odb(name)
        place = f"{name} ({store.fs.unstrip_protocol(store.path)})"
        try:
            there = store.fs.exists(store.path)
        except Exception as error:  # of many libraries: a network, a key, a missing package
            yield wrong(
                f"{place} does not answer: {type(error).__name__}: {error}",
                "see its address, key and network; docs/servers.md says what it needs",
            )
            return
    if there:
        yield ok(place)
    else:
        yield warning(f"nothing is kept in the remote {place}: it is empty", f"levy run && dvc push --remote {name}")
