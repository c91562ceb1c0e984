"""Time and memory of `make run` on a fresh clone: python docs/benchmarks/pipeline.py [FOLDER]

Clones this repository into FOLDER (a temporary one by default), installs, runs twice, and prints wall-clock seconds and
the peak of the proportional set sizes (PSS) of all processes that work in the clone, sampled every second. Linux only.
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


def main() -> None:
    """Prints a row a command."""
    with contextlib.ExitStack() as stack:
        parent = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(tempfile.TemporaryDirectory())
        folder = Path(parent).resolve() / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        for label, target in (("make install", "install"), ("make run", "run"), ("make run, again", "run")):
            seconds, peak = measured(folder, "make", target)
            print(f"{label:20s} {seconds:7.1f} s {peak:7.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
