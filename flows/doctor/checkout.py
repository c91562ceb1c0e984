"""Checks of `levy doctor` on the checkout and its environment: packages, params.yaml, processors, git, secrets."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.findings import Finding, ok, warning, wrong
from levy_core.base.errors import LevyError

KEPT_OUT = (".venv", "outputs", "data", "mlflow.db*", "mlartifacts", ".prefect", ".levy", ".dvc/config.local", "*.env")
SECRET = re.compile(r"(password|passphrase|secret|token|access_key|account_key|connection_string|sas)\w* *= *\S", re.I)
LOCKED = Path("requirements.lock")


def environment() -> Iterator[Finding]:
    """The installed packages go together, as pip sees it."""
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line]
    if not done.returncode:
        yield ok(f"Python {'.'.join(map(str, sys.version_info[:3]))} in {sys.prefix}: {' '.join(lines)}")
    locked = re.findall(r"^[\w.-]+", LOCKED.read_text().lower(), re.M) if LOCKED.exists() else []
    for line in lines if done.returncode else ():
        name = line.split()[0]
        mend = "install --no-deps -r requirements.lock" if name.lower() in locked else f"uninstall -y {name}"
        yield wrong(line, f"{shlex.quote(sys.executable)} -m pip {mend}")


def params_file() -> Iterator[Finding]:
    """params.yaml can be read."""
    from tasks.params import loading

    settings = loading.load()
    yield ok(f"data sets {', '.join(settings.datasets)}; designs {', '.join(settings.designs)}")


def processors() -> Iterator[Finding]:
    """torch sees the processors and GPUs that the machine and params.yaml have."""
    import torch

    from tasks.params import loading
    from tasks.runtime import stage

    compute, cores = loading.load().compute, len(os.sched_getaffinity(0))
    device = stage.device(compute.device)
    if device.type == "cpu" and compute.device == "auto" and Path("/dev/nvidia0").exists():
        yield warning(
            f"torch {torch.__version__} does not use the GPU of this machine",
            "install torch's CUDA build in the locked version, or set compute.device: cpu",
        )
    elif compute.threads * compute.processes > cores:
        yield warning(
            f"stages want more cores than there are: {compute.threads * compute.processes} "
            f"(compute.threads {compute.threads} times compute.processes {compute.processes}), but there are {cores}",
            "lower compute.threads or compute.processes in params.yaml",
        )
    else:
        gpus = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield ok(f"torch {torch.__version__}, {compute.threads} of {cores} cores, {gpus or 'no GPU'}")


def git_repository() -> Iterator[Finding]:
    """A clone whose commits name what runs, without files in it that git must not keep."""
    from flows.pipeline.workspace import git

    here = Path.cwd()
    try:
        top, commit = git("rev-parse", "--show-toplevel", at=here), git("rev-parse", "--short", "HEAD", at=here)
    except LevyError as error:
        yield wrong(f"results cannot name the commit that made them: {error}", "work in a clone of the repository")
        return
    if Path(top) != here:
        yield wrong(
            f"results would name the commits of another repository: {here} lies inside {top}",
            "work in a clone of its own",
        )
    if kept := git("ls-files", "--", *KEPT_OUT, at=here).splitlines():
        yield wrong(
            f"git keeps {_join_first(kept)}, which it must not ({len(kept)} files)",
            f"git rm -r -q --cached -- {shlex.join(kept)} && git commit -m 'Files that git must not keep'",
        )
    changed = git("status", "--porcelain", "--", ".", ":!dvc.lock", at=here).splitlines()
    if changed:
        yield warning(
            f"no commit holds what runs: {len(changed)} files are not committed, "
            f"{_join_first([line[2:].strip() for line in changed])}",
            "git add and git commit them; until then models are marked git.dirty",
        )
    else:
        yield ok(f"commit {commit}, all committed")


def secrets() -> Iterator[Finding]:
    """Nobody else reads the files that passwords belong into."""
    files = [path for path in (Path(".dvc/config.local"), *Path().glob("*.env")) if path.exists()]
    readable = [str(path) for path in files if path.stat().st_mode & 0o077 and SECRET.search(path.read_text())]
    if readable:
        yield wrong(
            f"others can read {_join_first(readable)}, with passwords or keys in it",
            f"chmod 600 {shlex.join(readable)}",
        )
    else:
        yield ok("none in a file that others can read")


def signing_keys() -> Iterator[Finding]:
    """The key that signs versions and those that are trusted can be used, where they are set."""
    from tasks.registry import keys

    signs = "versions are signed when they are registered" if keys.find_signer() else "versions are registered unsigned"
    trusted = len(keys.read_trusted()) if os.environ.get(keys.TRUSTED) else "no"
    yield ok(f"{signs}; {trusted} trusted keys")


def _join_first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
