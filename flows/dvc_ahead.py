"""A DVC process that has imported DVC before it is known what for: as a program, it takes its arguments as JSON from standard input.

Imports are a third of what `dvc repro` of one stage takes, and can be done while the stage before is at work.
"""

import json
import sys

import dvc.cli
import dvc.cli.parser  # every command
import dvc.repo.plots  # what a Repo imports when it is made
import dvc.repo.reproduce
import dvc.rwlock
import dvc.scm
import dvc.utils.serialize
import dvc.utils.strictyaml

if __name__ == "__main__":
    line = sys.stdin.readline()
    sys.exit(dvc.cli.main(json.loads(line)) if line else 0)
