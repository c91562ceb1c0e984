"""Shared fixtures: deterministic torch, and copies of the working tree to run the pipeline in."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from levy_core.base.files import replacing
from levy_core.base.samples import RECORDED, Samples
from levy_core.nets.precision import bf16_supported
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.checkpoint import save_model
from tasks.params import plain_yaml
from tasks.runtime import garbage

garbage.collect_seldom()  # a third of the seconds that collecting tests, with all that they import, would take
torch.set_num_threads(1)  # the tests run in several processes
# In the workers, which have not begun, and in all commands: NumPy's linear algebra and torch would take every core in each of them,
# and most of their time is then spent on waiting for threads that another one keeps from running.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Commands would inherit an ignored SIGINT, as of `make test-long &` in a script, and not be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).resolve().parent.parent
STRACE = shutil.which("strace")
SHARED = ROOT.parent / "shared" / "data"
# All that this processor computes in itself. What a test asks may not depend on the machine, as `auto` does.
PRECISIONS = ("float32", *(["bfloat16"] if bf16_supported(torch.device("cpu")) else []))

# Small enough for seconds, with every axis of the grid in it.
TINY = {
    "designs": ["lim", "ddpm"],
    "net": {"channels": [8, 16], "layers": 1, "attention": [False, False]},
    "train": {"steps": 40, "batch": 16, "warmup": 2, "save_every": 10, "precision": "float32"},
    "tune": {"steps": [2, 4], "samples": 40, "first": 8, "last": 16},
    "sample": {
        "grid": {
            "paper": {
                "discretisations": ["euler-maruyama", "ei-score", "ei-noise"],
                "steps": [2, 3],
                "etas": [0.1, 0.5],
            }
        },
        "seeds": [0, 1],
        "n": 16,
        "batch": 16,
    },
    "observe": {"images": {"half": {"steps": [2], "cases": 4, "members": 2}}},
    "evaluate": {
        "images": {
            "kid_subsets": 3,
            "kid_subset_size": 8,
            "classifier": {"steps": 60, "batch": 64, "width": 8, "features": 8},
        }
    },
}


def merged(base: dict, changes: dict) -> dict:
    """``base`` with nested changes."""
    result = dict(base)
    for key, value in changes.items():
        result[key] = (
            merged(result[key], value) if isinstance(value, dict) and isinstance(result.get(key), dict) else value
        )
    return result


def weather_params() -> dict:
    """params.yaml with the changes of docs/params/weather.yaml."""
    files = (ROOT / "params.yaml", ROOT / "docs/params/weather.yaml")
    return plain_yaml.merge(*(plain_yaml.read(path.read_text()) for path in files))


def save_untrained(folder: Path, net: UNetConfig, classes: tuple[str, ...], preset: str = "lim") -> Path:
    """A model of images with a network as it is before training, always the same."""
    torch.manual_seed(0)
    state, design = dict(UNet(net).state_dict()), Design.from_mapping({"preset": preset})
    save_model(folder, state, design, net, Samples("images", classes, **RECORDED["images"]), {})
    return folder


@pytest.fixture(autouse=True)
def files_closed():
    """xarray keeps files open until they are garbage, and HDF5 takes a new file with the inode of an open one for that one."""
    yield
    if manager := sys.modules.get("xarray.backends.file_manager"):
        manager.FILE_CACHE.clear()


def pytest_collection_finish():
    """What was imported stays, so that nobody need look through it for garbage between the tests."""
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Files that take minutes first: begun last, they would keep one worker busy while the other waits."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)


@dataclass(frozen=True)
class Checkout:
    """A copy of the working tree as a git repository of its own, with caches of its own."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "DVC_"))}
        return {
            **kept,
            "PYTHONPATH": str(self.root),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def run(self, *command: str, check: bool = True, timeout: float = 900, **extra: str) -> subprocess.CompletedProcess:
        """A command in the checkout; its output is shown when it fails."""
        with subprocess.Popen(
            command, cwd=self.root, env={**self.environment, **extra}, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # under strace, the flow would outlive strace alone
                raise
        done = subprocess.CompletedProcess(command, process.returncode, out, err)
        if check and done.returncode:
            pytest.fail(
                f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )
        return done

    def levy(self, *arguments: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess:
        """The levy command of this checkout."""
        return self.run(sys.executable, "-m", "flows.cli", *arguments, check=check, **extra)

    def set_params(self, changes: dict) -> None:
        """Changes keys of params.yaml."""
        path = self.root / "params.yaml"
        path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), changes), sort_keys=False))

    def lock(self) -> dict:
        """dvc.lock."""
        return yaml.safe_load((self.root / "dvc.lock").read_text())

    def processes(self) -> list[str]:
        """Command lines of live processes that work in the checkout."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(self.root):
                    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
                    if state not in "ZX":
                        found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found


def make_checkout(folder: Path, changes: dict) -> Checkout:
    """The tracked and new files of the working tree in ``folder``, committed, with the starter data pulled."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source = ROOT / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (folder / "dvc.lock").unlink(missing_ok=True)
    checkout = Checkout(folder)
    checkout.set_params(changes)
    for command in (
        ["git", "init", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-q", "-m", "start"],
        [sys.executable, "-m", "dvc", "pull", "-q", "data.dvc"],
    ):
        checkout.run(*command)
    return checkout


@pytest.fixture(scope="session")
def bare_checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which nothing has run yet, for refusals."""
    return make_checkout(tmp_path_factory.mktemp("bare"), TINY)


def traceable():
    if not STRACE:
        return False
    return subprocess.run([STRACE, "-f", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


def wait_until(condition, seconds=600, every=0.2):
    """Whether ``condition`` came true; the limit is for what never happens, not for a busy machine."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(every)
    return False


def block_once(checkout, output):
    """Locks an output as another DVC process would, once the run is under way, and lets go when its first stage has met the lock."""
    lock = checkout.root / ".dvc/tmp/rwlock"
    held = {"read": {}, "write": {str(checkout.root / output): {"pid": os.getpid(), "cmd": "another"}}}

    def works_on(text):
        return any(text in line for line in checkout.processes())

    def block():
        wait_until(lambda: works_on("dvc status"))  # the last check, seconds before the first stage
        wait_until(lambda: not works_on("dvc status"))
        lock.write_text(json.dumps(held))
        wait_until(lambda: works_on("--single-item"))
        wait_until(lambda: not works_on("--single-item"))
        lock.write_text("{}")

    threading.Thread(target=block, daemon=True).start()


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    """A checkout in which `levy run` went through, watched by strace where there is one; and what it printed."""
    shared = between_workers(tmp_path_factory)
    (shared / "flow-started").touch()
    checkout = make_checkout(tmp_path_factory.mktemp("ran"), TINY)
    trace = checkout.root / ".dvc" / "tmp" / "connections"
    watch = (
        [STRACE, "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto", "-o", str(trace)] if traceable() else []
    )
    block_once(checkout, "outputs/digits/data")
    try:
        done = checkout.run(*watch, sys.executable, "-m", "flows.cli", "run", "--workers", "2")
    finally:  # an empty file, should the run have failed
        with replacing(shared / "flow.lock") as temporary:
            if (checkout.root / "dvc.lock").exists():
                shutil.copy(checkout.root / "dvc.lock", temporary)
    return checkout, done.stdout + done.stderr, trace


def between_workers(tmp_path_factory):
    """A folder that all workers of pytest-xdist see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
