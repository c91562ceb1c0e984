"""Processes to be killed: stages, the record and commands of `levy`, as children of a process that has imported everything already.

A stage spends seconds on imports and, in tests, tenths of a second on its work. Here every kill meets the work.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from flows.pipeline import workspace
from levy_core.serving.registered import RegisteredModel  # noqa: F401  with which the record tries its model
from tasks.params import loading
from tasks.registry import record
from tasks.runtime import stage

torch.set_num_threads(1)
DATASET, DESIGN, WORKSPACE = "digits", "lim", "mine"
OF_DATASET, OF_DESIGN = ("--dataset", DATASET), ("--dataset", DATASET, "--design", DESIGN)
# In the order of dvc.yaml, with the options that each is given there.
STAGES = {
    "prepare": OF_DATASET,
    "reference": OF_DATASET,
    "train": OF_DESIGN,
    "tune": OF_DESIGN,
    "sample": OF_DESIGN,
    "observe": OF_DESIGN,
    "evaluate": OF_DESIGN,
    "compare": OF_DATASET,
    "report": OF_DATASET,
}
# What they import when they are called, and what that imports late.
PRELOADED = [
    *(f"tasks.{stage}" for stage in STAGES),
    *(f"tasks.kinds.images.{module}" for module in ("answer", "data", "held_out", "metrics", "page", "training")),
    *(
        "levy_core.metrics.images.measures",
        "optuna",
        "matplotlib.backends.backend_svg",
        "PIL.PngImagePlugin",
        "scipy.optimize",
        "alembic.command",
        "mlflow.pyfunc",
        "mlflow.store.model_registry.sqlalchemy_store",
        "mlflow.store.tracking.sqlalchemy_store",
    ),
]


def start(root: Path, what: str) -> BaseProcess:
    """A process that does the work of a stage, or of ``record``, in a checkout."""
    return fork(_work, root, what)


def fork(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """A process that calls ``target``."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *PRELOADED])
    process = context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def finish(root: Path, what: str) -> None:
    """Lets it go through."""
    process = start(root, what)
    process.join()
    assert process.exitcode == 0, f"{what} ended with {process.exitcode}"


def _work(root: Path, what: str) -> None:
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.chdir(root)
    work(what)


def work(what: str) -> None:
    """The work of a stage, of ``record``, of ``workspace`` or of a command line of ``levy``, in the working folder."""
    if what == "record":
        record.record(loading.load(), DATASET)
    elif what == "workspace":
        workspace.Workspace.of_working_tree(WORKSPACE, {})
    elif what.startswith("levy "):
        from flows import cli  # late: it takes Prefect's home from the working folder

        sys.argv = what.split()
        cli.dispatch()
    else:
        names = {name[2:]: value for name, value in zip(STAGES[what][::2], STAGES[what][1::2], strict=True)}
        stage.run(getattr(import_module(f"tasks.{what}"), what), loading.load, **names)
