"""Where a result comes from: git commit, data version, parameters and dvc.lock, as tags."""

import hashlib
import json
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

LOCK = Path("dvc.lock")


def stages_of(dataset: str) -> dict[str, Any]:
    """The entries of dvc.lock that belong to a data set."""
    stages = yaml.safe_load(LOCK.read_text()).get("stages", {}) if LOCK.exists() else {}
    # By the command, `exec python -m tasks.STAGE DATASET ...`: in the names, one data set's may begin with another's.
    return {name: entry for name, entry in stages.items() if entry["cmd"].split()[4] == dataset}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def tags(dataset: str) -> dict[str, str]:
    """Lineage tags, all strings. ``levy.lock`` names the result: equal tags, equal outputs."""
    stages = stages_of(dataset)
    params = {name: entry.get("params", {}) for name, entry in stages.items()}
    return {
        "levy.version": version("levy"),
        "levy.dataset": dataset,
        "levy.lock": _digest(stages),
        "levy.params": _digest(params),
        "levy.data_md5": next(iter(yaml.safe_load(Path("data.dvc").read_text())["outs"]))["md5"],
        "git.commit": _git("rev-parse", "HEAD") or "none",
        "git.dirty": str(bool(_git("status", "--porcelain", "--", ".", ":!dvc.lock"))).lower(),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return done.stdout.strip() if done.returncode == 0 else ""


def sort_lock() -> None:
    """Writes dvc.lock with its stages in alphabetical order, so that runs which finish in another order commit the same file."""
    if not LOCK.exists():
        return
    lock = yaml.safe_load(LOCK.read_text())
    lock["stages"] = dict(sorted(lock.get("stages", {}).items()))
    text = yaml.safe_dump(lock, sort_keys=False, allow_unicode=True, width=1000)
    if text != LOCK.read_text():
        temporary = LOCK.with_suffix(".lock.tmp")
        temporary.write_text(text)
        temporary.replace(LOCK)
