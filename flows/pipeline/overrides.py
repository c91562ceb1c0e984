"""Files of settings that differ from params.yaml: checked, or run in a workspace of their own. params.yaml stays as it is."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.pipeline.dvc import Dvc, DvcBusyError, check_root, hold_lock
from flows.pipeline.graph import check_data
from flows.pipeline.preflight import check_machine, check_sources
from flows.pipeline.workspace import FOLDER, Workspace
from levy_core.base.errors import LevyError
from tasks.kinds.kind import Contents
from tasks.params import loading, plain_yaml
from tasks.params.schema import Params
from tasks.runtime.paths import DATA_VERSION, PARAMS


def workspace_of(changes: Path) -> Path:
    """Where the settings of a file run: a folder with its name."""
    return FOLDER / f"run-{re.sub(r'[^A-Za-z0-9_.-]+', '-', changes.stem)}"


def check(changes: Path, datasets: Sequence[str] = ()) -> tuple[Params, str, dict[str, Contents]]:
    """The settings of params.yaml with the changes of a file (``plain_yaml.merge``), typed and as the text of a params.yaml; what the data sets hold.

    They are validated, and so are data/ and its version. No file is changed.

    Args:
        changes: a YAML file. datasets: of which there will be runs; all of the settings' without a name.

    Raises:
        LevyError: what is wrong, in which file, at which key.
    """
    check_root()
    dvc = Dvc()
    settings, values = loading.load_merged(changes)
    settings = settings.only(list(datasets))
    found = check_sources(settings)
    check_machine(settings)
    try:
        check_data(dvc, json.loads(dvc.output("--wait-for-lock", "status", "--json", str(DATA_VERSION))))
    except DvcBusyError as error:
        raise LevyError(f"DVC is busy with data/ ({error}): wait for the other process, and run again") from error
    for kind, entries in settings.evaluate:
        for name, value in entries or ():
            if isinstance(value, Path):  # from here, which would lead elsewhere from the workspace
                values["evaluate"][kind][name] = str(value.absolute())
    return settings, plain_yaml.write(values), found


def run(changes: Path, datasets: Sequence[str], workers: int, recording: bool) -> None:
    """`levy run` with the settings of a file, in a workspace that begins as the working tree is now. Interrupted, the same call goes on.

    Args:
        changes: as for ``check``. datasets: their names, all without one. workers: stages at a time. recording: in MLflow.

    Raises:
        LevyError: as for ``check``; another run has the workspace; the run failed.
    """
    settings, text, _ = check(changes, datasets)
    folder = workspace_of(changes)
    with hold_lock(folder.with_name(f"{folder.name}.lock"), "`levy run --params`", str(folder)):
        workspace = Workspace.of_working_tree(folder.name, {str(PARAMS): text})
        print(f"{changes}, merged onto {PARAMS}, runs in {workspace.root}", file=sys.stderr)
        try:
            workspace.dvc("checkout", "--quiet", str(DATA_VERSION))
        except LevyError:  # not all of it is in the cache
            workspace.dvc("pull", "--quiet", str(DATA_VERSION))
        for dataset in settings.datasets:
            workspace.bring_outputs(dataset)
        options = ["--workers", str(workers), "--record" if recording else "--no-record"]
        workspace.watch("-m", "flows.cli", "run", *datasets, *options)
