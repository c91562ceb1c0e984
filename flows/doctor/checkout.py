"""Checks of `levy doctor` on the checkout and its environment: Python, packages, params.yaml, processors, git, secrets."""

import configparser
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flows.doctor.findings import Finding, ok, warning, wrong
from levy_core.base.errors import LevyError

KEPT_OUT = (".venv", "outputs", "data", "mlflow.db*", "mlartifacts", ".prefect", ".levy", ".dvc/config.local", "*.env")
SECRET_KEYS = re.compile(
    r"password|passphrase|secret|token|access_key|account_key|connection_string|sas", re.IGNORECASE
)
SECRET_VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_KEY",
    "PGPASSWORD",
    "AWS_SECRET_ACCESS_KEY",
)
INSTALL = f"{sys.executable} -m pip install --no-deps -r requirements.lock"


def _project() -> dict:
    return tomllib.loads(Path("pyproject.toml").read_text())["project"]


def python() -> Iterator[Finding]:
    """The interpreter is one that the project is made for."""
    from packaging.specifiers import SpecifierSet

    found, allowed = ".".join(map(str, sys.version_info[:3])), _project()["requires-python"]
    if SpecifierSet(allowed).contains(found):
        yield ok(f"{found} in {sys.prefix}")
    else:
        yield wrong(f"{found}, but {allowed} is needed", "rm -rf .venv && make install PYTHON=python3.11")


def packages() -> Iterator[Finding]:
    """Installed versions: outside the ranges of pyproject.toml is wrong, another one than requirements.lock is drift."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
    from packaging.version import Version

    needed = {canonicalize_name(r.name): r for r in map(Requirement, _project()["dependencies"])}
    locked = dict(line.split("==") for line in Path("requirements.lock").read_text().split() if "==" in line)
    bad, drift = [], []
    for name in sorted({*map(canonicalize_name, locked), *needed}):
        lock = next((v for n, v in locked.items() if canonicalize_name(n) == name), None)
        found = _installed(name)
        if name in needed and (found is None or not needed[name].specifier.contains(found, prereleases=True)):
            bad.append(f"{name} {found or 'is missing'} (needed: {needed[name].specifier})")
        elif lock and (found is None or Version(found).public != Version(lock).public):
            drift.append(f"{name} {found or 'is missing'} (locked: {lock})")
    if bad:
        yield wrong("; ".join(bad), INSTALL)
    if drift:
        yield warning("; ".join(drift), INSTALL)
    if not bad and not drift:
        yield ok(f"{len(locked)} as locked")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def params_file() -> Iterator[Finding]:
    """params.yaml can be read."""
    from tasks.params import schema

    settings = schema.load()
    yield ok(f"data sets {', '.join(settings.datasets)}; designs {', '.join(settings.designs)}")


def processors() -> Iterator[Finding]:
    """torch sees the processors and GPUs that the machine and params.yaml have."""
    import torch

    from tasks.params import schema
    from tasks.runtime import stage

    compute, cores = schema.load().compute, len(os.sched_getaffinity(0))
    device = stage.device(compute.device)
    if device.type == "cpu" and compute.device == "auto" and Path("/dev/nvidia0").exists():
        yield warning(
            f"torch {torch.__version__} does not use the GPU of this machine",
            "install torch's CUDA build in the locked version, or set compute.device: cpu",
        )
    elif compute.threads * compute.processes > cores:
        yield warning(
            f"compute.threads {compute.threads} times compute.processes {compute.processes} on {cores} cores",
            "lower them in params.yaml",
        )
    else:
        gpus = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield ok(f"torch {torch.__version__}, {compute.threads} of {cores} cores, {gpus or 'no GPU'}")


def git_repository() -> Iterator[Finding]:
    """A clone whose commits name what runs, without files in it that git must not keep."""
    from flows.checkout.workspace import git

    here = Path.cwd()
    try:
        top, commit = git("rev-parse", "--show-toplevel", at=here), git("rev-parse", "--short", "HEAD", at=here)
    except LevyError as error:
        yield wrong(f"no commit: {error}", "work in a clone: results carry the commit that made them")
        return
    if Path(top) != here:
        yield wrong(f"{here} belongs to the repository {top}", "work in a clone of its own")
    if kept := git("ls-files", "--", *KEPT_OUT, at=here).splitlines():
        yield wrong(f"git keeps {_some(kept)}", f"git rm -r --cached {' '.join(kept[:3])} && git commit")
    changed = git("status", "--porcelain", "--", ".", ":!dvc.lock", at=here).splitlines()
    if changed:
        yield warning(
            f"not committed: {_some([line[2:].strip() for line in changed])}",
            "git add and git commit them: models recorded now are marked git.dirty",
        )
    else:
        yield ok(f"commit {commit}, all committed")


def secrets() -> Iterator[Finding]:
    """No secret in a file that git keeps, nor in one that others can read."""
    faults = 0
    for name, where in ((".dvc/config", "git"), (".dvc/config.local", "others")):
        path, parser = Path(name), configparser.ConfigParser(interpolation=None)
        parser.read(path)
        held = [f"{key} of {section}" for section in parser for key in parser[section] if SECRET_KEYS.search(key)]
        held += [
            f"url of {section}" for section in parser if re.search(r"://[^/@]+:[^/@]+@", parser[section].get("url", ""))
        ]
        if held and where == "git":
            faults += 1
            yield wrong(
                f"{name}, which git keeps, holds {_some(held)}",
                "move it with `dvc remote modify --local NAME KEY VALUE` and `dvc remote modify --unset NAME KEY`, and change the secret",
            )
        elif held and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            faults += 1
            yield wrong(f"others can read {name}, which holds {_some(held)}", f"chmod 600 {name}")
    for variable in SECRET_VARIABLES:
        if value := os.environ.get(variable):
            # On standard input: the arguments of a command are for all to see.
            command = ["git", "grep", "--cached", "-l", "-F", "-f", "-"]
            done = subprocess.run(command, input=value, capture_output=True, text=True, check=False)  # noqa: S603
            if done.stdout:
                faults += 1
                yield wrong(
                    f"the value of {variable} stands in {_some(done.stdout.split())}",
                    "take it out of the file, and change the secret",
                )
    for path in Path.cwd().glob("*.env"):
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            faults += 1
            yield wrong(f"others can read {path.name}", f"chmod 600 {path.name}")
    if not faults:
        yield ok("none in git's files, none that others can read")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
