"""Time and memory of `make run` on a fresh clone: python docs/benchmarks/pipeline.py [FOLDER]

Clones this repository into FOLDER (a temporary one by default), installs, runs twice, and prints wall-clock seconds and
the peak of the proportional set sizes (PSS) of all processes that work in the clone, sampled every second; then the time from
a look-up in the registry to the first sample, and what the flow adds to DVC where stages cost nothing. Linux only.
"""

import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOOK_UP = 'import mlflow; mlflow.pyfunc.load_model("models:/levy-digits@champion").predict({"n": 1})'


def resident(folder: Path) -> int:
    """Summed PSS, in KiB, of the processes whose working directory lies in ``folder``."""
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(folder):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def measured(folder: Path, *command: str) -> tuple[float, float]:
    """(seconds, peak MiB) of a command."""
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(1):
            peak = max(peak, resident(folder))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    finally:
        seconds = time.monotonic() - start
        done.set()
        watcher.join()
    return seconds, peak / 1024


def seconds_of(folder: Path, name: str, *arguments: str) -> float:
    """Wall clock of a command of the clone's environment."""
    start = time.monotonic()
    subprocess.run([folder / ".venv/bin" / name, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def idle(folder: Path, program: str, *command: str) -> float:
    """Wall clock of a command for which every stage is stale and does nothing: the outputs are there, DVC keeps its books."""
    stages = folder / "dvc.yaml"
    written = stages.read_text()
    stages.write_text(written.replace("exec python", f"exec {program}"))
    try:
        return seconds_of(folder, *command)
    finally:
        stages.write_text(written)


def main() -> None:
    """Prints one row per command."""
    with contextlib.ExitStack() as stack:
        parent = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(tempfile.TemporaryDirectory())
        folder = Path(parent).resolve() / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        for label, target in (("make install", "install"), ("make run", "run"), ("make run, again", "run")):
            seconds, peak = measured(folder, "make", target)
            print(f"{label:20s} {seconds:7.1f} s {peak:7.0f} MiB", flush=True)
        for label, command in (
            ("python, first sample", ("python", "-c", LOOK_UP)),
            ("levy sample", ("levy", "sample", "pictures", "--n", "1")),
            ("levy --help", ("levy", "--help")),
        ):
            print(f"{label:20s} {seconds_of(folder, *command):7.1f} s", flush=True)
        plain = idle(folder, "true", "dvc", "repro", "--quiet")
        flow = idle(folder, "echo", "levy", "run", "--no-record", "--workers", "1")
        print(f"12 stages that do nothing: dvc repro {plain:.1f} s, levy run --no-record {flow:.1f} s")


if __name__ == "__main__":
    main()
