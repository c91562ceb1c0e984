"""Where a result comes from: git commit, data version, parameters, dvc.lock and environment, as tags and as files of a model."""

import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from levy_core.base.errors import LevyError
from levy_core.base.files import hash_json, write_json
from tasks.cells.comparison import parse_winner, read_winner
from tasks.params import plain_yaml
from tasks.registry.environment import Environment
from tasks.runtime import paths
from tasks.runtime.checksums import hash_of_output, hashes_of
from tasks.runtime.paths import DATA_VERSION, GRAPH, LOCK, PARAMS

WINNER = "winner.json"
FOLDER = "lineage"  # in the artifact of a model
RECORDED, DESIGN = "levy.lock", "levy.design"  # tags of runs
COMPARE = "compare"  # the stage whose entry in dvc.lock says which designs a result is of
KEY = re.compile(r"\$\{(?P<name>[^{}\s]+)\}")


def stages_of(dataset: str) -> dict[str, Any]:
    """The entries of dvc.lock that made a data set's result: of every stage of dvc.yaml, for the designs that were compared.

    DVC keeps others: of stages that dvc.yaml no longer has, and of designs that are no longer compared.

    Raises:
        LevyError: dvc.yaml has a stage that ran, and does not say for which data set.
    """
    entries = read_stages(LOCK)
    params = plain_yaml.read(PARAMS.read_text()) if PARAMS.exists() else {}
    params |= entries.get(f"{COMPARE}@{dataset}", {}).get("params", {}).get(str(PARAMS), {})
    names: set[str] = set()
    for stage, declared in read_stages(GRAPH).items():
        repeated = "matrix" in declared or "foreach" in declared
        if any(name.startswith(f"{stage}@") if repeated else name == stage for name in entries):
            names |= _names(stage, declared.get("matrix", {}), dataset, params)
    return {name: entry for name, entry in entries.items() if name in names}


def _names(stage: str, matrix: dict[str, Any], dataset: str, params: dict[str, Any]) -> set[str]:
    """What DVC calls the stages that a matrix makes for one data set: STAGE@ and the values, joined by dashes."""
    if "dataset" not in matrix:
        raise LevyError(
            f"{LOCK} has results of the stage {stage}, but {GRAPH} gives it no `matrix` with `dataset: ${{datasets}}`, so "
            "nobody can say which registered model they belong to: give it one, as the other stages have"
        )
    values = [[dataset] if axis == "dataset" else _values(stage, axis, matrix[axis], params) for axis in matrix]
    return {f"{stage}@{'-'.join(combination)}" for combination in product(*values)}


def _values(stage: str, axis: str, declared: Any, params: dict[str, Any]) -> list[str]:
    """One axis of a matrix: a list, or `${KEY}` of params.yaml."""
    key = KEY.fullmatch(declared) if isinstance(declared, str) else None
    values = declared
    if key:
        values = params
        for part in key["name"].split("."):
            values = values.get(part) if isinstance(values, dict) else None
    if not isinstance(values, list) or not all(isinstance(v, str | int | float) and "${" not in str(v) for v in values):
        raise LevyError(
            f"{GRAPH}: `{axis}: {declared}` in the matrix of the stage {stage} is neither a list of names or numbers nor "
            f"`${{KEY}}` of one in {PARAMS}: write it so, that its results can be told apart by data set"
        )
    return [str(v).lower() if isinstance(v, bool) else str(v) for v in values]  # as DVC writes them


def check_model(dataset: str, design: str) -> None:
    """Refuses model files that are not those that dvc.lock names: what is registered has to be what was measured.

    Raises:
        LevyError: says what differs.
    """
    path = paths.model(dataset, design)
    outputs = [output for entry in stages_of(dataset).values() for output in entry.get("outs", [])]
    expected = next((output.get("md5") for output in outputs if output["path"] == str(path)), None)
    content = hash_of_output(path, hashes_of(path)) if path.exists() else None
    if content is None or content != expected:
        raise LevyError(
            f"the model in {path} is not the one that {LOCK} names (its hash is {content}, expected was {expected}), so no "
            "alias was moved: `levy doctor --mend` brings it back from DVC's cache, or else lets `levy run` make it again"
        )


def read_stages(path: Path) -> dict[str, Any]:
    """The stages of a dvc.lock or dvc.yaml; none where there is no such file."""
    return (plain_yaml.read(path.read_text()) or {}).get("stages", {}) if path.exists() else {}


def origin_of(version: str, model: Path) -> dict[str, str]:
    """What files of samples say of where they come from: the version, and the data that it was trained with where the model says so.

    Args:
        model: the folder that ``download.fetch`` gave.
    """
    data = model / FOLDER / DATA_VERSION
    return {"model": version} | ({"data_md5": data_md5(data)} if data.exists() else {})


def data_md5(path: Path) -> str:
    """The version of data/ that a data.dvc names."""
    return str(plain_yaml.read(path.read_text())["outs"][0]["md5"])


def digest(value: Any) -> str:
    """What the tags ``levy.lock`` and ``levy.params`` hold."""
    return hash_json(value)[:16]


def tags(dataset: str) -> dict[str, str]:
    """Lineage tags, all strings. ``levy.lock`` names the result: equal tags, equal outputs."""
    stages = stages_of(dataset)
    params = {name: entry.get("params", {}) for name, entry in stages.items()}
    remote = without_credentials(_git("ls-remote", "--get-url"))
    return {
        "levy.version": version("levy"),
        "levy.dataset": dataset,
        RECORDED: digest(stages),
        "levy.params": digest(params),
        "levy.data_md5": data_md5(DATA_VERSION),
        "git.commit": _git("rev-parse", "HEAD") or "none",
        "git.dirty": str(bool(_git("status", "--porcelain", "--", ".", ":!dvc.lock"))).lower(),
        **({"git.remote": remote} if remote else {}),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return done.stdout.strip() if done.returncode == 0 else ""


def without_credentials(url: str) -> str:
    """A URL without user, password and query; what is no URL (``git@host:path``, a folder) can hold no password."""
    parts = urlsplit(url)
    if not (parts.scheme and parts.netloc):
        return url
    return urlunsplit((parts.scheme, parts.netloc.rsplit("@", 1)[-1], parts.path, "", ""))


@dataclass(frozen=True)
class Lineage:
    """What a registered model carries of its origin, so that it can be made again when all runs are deleted."""

    stages: dict[str, Any]
    params: str
    data: str
    winner: dict[str, Any]
    environment: Environment

    @classmethod
    def here(cls, dataset: str, environment: Environment) -> "Lineage":
        """The lineage of the outputs in the working directory."""
        winner = read_winner(paths.winner(dataset))
        return cls(stages_of(dataset), PARAMS.read_text(), DATA_VERSION.read_text(), winner, environment)

    @classmethod
    def read(cls, folder: Path) -> "Lineage":
        """What ``write`` left in a folder.

        Raises:
            LevyError: a file is missing or damaged.
        """
        try:
            stages = read_stages(folder / LOCK)
            if not stages:
                raise ValueError(f"{LOCK} is missing or names no stages")
            params, data = (folder / PARAMS).read_text(), (folder / DATA_VERSION).read_text()
            winner = parse_winner((folder / WINNER).read_bytes())
            return cls(stages, params, data, winner, Environment.read(folder))
        except (OSError, ValueError, AttributeError) as error:
            raise LevyError(
                f"the lineage in {folder} is damaged ({error}): only a model with all of it can be reproduced"
            ) from error

    def write(self, folder: Path) -> None:
        """dvc.lock with this data set's stages alone, params.yaml, data.dvc, winner.json, environment.json, requirements.txt."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).write_text(plain_yaml.write({"schema": "2.0", "stages": self.stages}))
        (folder / PARAMS).write_text(self.params)
        (folder / DATA_VERSION).write_text(self.data)
        write_json(folder / WINNER, self.winner)
        self.environment.write(folder)


def sort_lock() -> None:
    """Writes dvc.lock with its stages in alphabetical order, so that runs which finish in another order commit the same file."""
    if not LOCK.exists():
        return
    with plain_yaml.changing(LOCK) as lock:
        lock["stages"] = dict(sorted(lock.get("stages", {}).items()))
