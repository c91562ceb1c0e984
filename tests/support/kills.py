"""kill -9 of any process of a run, and what must never be seen after it."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tests.conftest import Checkout, wait_until

KINDS = {"stage": "-m tasks ", "dvc": "dvc", "server": "prefect.server", "flow": "-m flows.cli"}


def alias_is_whole(checkout: Checkout) -> bool:
    """Whether every alias points at a version whose model is all there: asked of the database itself, as a kill left it."""
    if not (checkout.root / "mlflow.db").exists():
        return True
    with sqlite3.connect(checkout.root / "mlflow.db") as database:
        if not database.execute("select 1 from sqlite_master where name = 'registered_model_aliases'").fetchone():
            return True
        found = database.execute(
            "select v.storage_location, v.status from registered_model_aliases a join model_versions v "
            "on v.name = a.name and v.version = a.version"
        ).fetchall()
        aliases = database.execute("select count(*) from registered_model_aliases").fetchone()[0]
    names = ("MLmodel", "data/model/model.safetensors", "data/model/design.json", "data/model/sampler.json")
    return len(found) == aliases and all(
        status == "READY" and all(_is_filled(Path(url2pathname(urlsplit(place).path)) / name) for name in names)
        for place, status in found
    )


def _is_filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def live(checkout: Checkout) -> dict[int, str]:
    """The processes of runs in a checkout and its workspaces by number: what each is."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(checkout.root):
                line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
                found |= {int(pid): kind for kind, mark in KINDS.items() if mark in line}
        except OSError:
            continue
    return found


def start(checkout: Checkout, *command: str) -> subprocess.Popen:
    """A module as a program in the checkout, in silence."""
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=checkout.root, env=checkout.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def kill_any(checkout: Checkout, process: subprocess.Popen, after: float, moments: random.Random) -> str | None:
    """Kills one of a run's processes, chosen at random, and waits for the end of all; what it was, None if none lived."""
    deadline = time.monotonic() + after
    while process.poll() is None and (time.monotonic() < deadline or not live(checkout)):
        time.sleep(0.02)
    among = live(checkout)
    # The kind first: dvc and the stage are there only now and then, the flow always.
    kind = moments.choice(sorted(set(among.values()))) if among else None
    if kind:
        os.kill(moments.choice(sorted(pid for pid, of in among.items() if of == kind)), signal.SIGKILL)
    process.wait(300)
    assert wait_until(lambda: not live(checkout), 30), checkout.processes()
    return kind
