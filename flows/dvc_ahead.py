"""A DVC process that has imported DVC before it is known what for: as a program, it takes its arguments as JSON from standard input.

Imports are a third of what `dvc repro` of one stage takes, and can be done while the stage before is at work. The same text of
dvc.lock is written by the C emitter, and in one piece: DVC rewrites the whole file in place after every stage, for the sake of
comments, with a parser and an emitter in Python.
"""

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dvc.cli
import dvc.cli.parser  # every command
import dvc.dvcfile
import dvc.repo.plots  # what a Repo imports when it is made
import dvc.repo.reproduce
import dvc.rwlock
import dvc.scm
import dvc.utils.serialize
import dvc.utils.strictyaml

from tasks.params import plain_yaml


def modified(path: str, fs: Any = None) -> AbstractContextManager[dict[str, Any]]:
    """``plain_yaml.changing`` with DVC's signature; dvc.lock is a local file."""
    return plain_yaml.changing(Path(path))


def main() -> None:
    """Runs the command of one line; without one, nothing."""
    line = sys.stdin.readline()
    if line:
        # `dvc repro` changes no other YAML file than dvc.lock; dvc.yaml and files of `dvc add` are changed by other commands.
        dvc.dvcfile.modify_yaml = modified
        sys.exit(dvc.cli.main(json.loads(line)))


if __name__ == "__main__":
    main()
