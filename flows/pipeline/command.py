"""What `levy run` and `levy check` do: all checks before any long computation, then the stale stages, the record and its summary.

Imports are late: DVC starts while this process imports torch, the private server while it imports Prefect, which reads the
address of its server then.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from flows.pipeline import server
from flows.pipeline.dvc import Dvc, DvcBusyError, check_root, find_rwlock_damage, one_run_at_a_time, repair_rwlock
from levy_core.base.errors import LevyError

if TYPE_CHECKING:
    from flows.pipeline.graph import DvcState, Plan
    from tasks.kinds.kind import Contents
    from tasks.params.schema import Params


def check_servers() -> None:
    """Refuses servers of Prefect and MLflow that are configured and do not answer, a file of MLflow that cannot be written, and a
    signing key that cannot be used.

    Raises:
        LevyError: names the address or the file.
    """
    from tasks.registry import keys, tracking

    server.check_server()
    tracking.check_server(tracking.address(), writing=True)
    keys.find_signer()


def run(datasets: Sequence[str], workers: int, recording: bool) -> str:
    """Runs the stale stages of these data sets, all of params.yaml without a name, and records the result.

    Args:
        workers: stages at a time. recording: in MLflow, with the winner as champion.

    Returns:
        What ran and what won, for people.

    Raises:
        LevyError: another run is in this checkout; the settings, the data or a lock are damaged; a stage failed.
    """
    dvc = Dvc()
    with one_run_at_a_time():
        settings, plan, _ = _preflight(dvc, datasets, repairing=True)
        # It starts while this process imports Prefect and MLflow, and only for work: three seconds of a processor.
        private = server.start_unless_configured() if plan.todo else None
        from flows.pipeline.outcome import Outcome, as_text
        from tasks.registry import record

        if plan.todo or server.is_named():
            from flows.pipeline import flow  # Prefect reads the address of its server when it is imported

            if private:
                private.wait()
            outcome = flow.run(settings, dvc, plan, workers, recording)
        else:  # nothing to schedule; the record is completed if an earlier run could not
            recorded = {dataset: record.record(settings, dataset) for dataset in settings.datasets if recording}
            outcome = Outcome(dict.fromkeys(plan.graph.order, "up to date"), recorded)
    return as_text(settings, outcome)


def check() -> str:
    """Checks params.yaml, data/ and what DVC knows, and changes nothing; returns a line for people.

    Raises:
        LevyError: what is wrong, and what to do.
    """
    settings, plan, found = _preflight(Dvc())
    return _summarise(settings, found, f"{len(plan.todo)} of {len(plan.graph.needs)} stages to run")


def check_overrides(changes: Path) -> str:
    """As ``check``, of params.yaml with the changes of a file."""
    from flows.pipeline import overrides

    settings, _, found = overrides.check(changes)
    return _summarise(settings, found, f"`levy run --params {changes}` runs in {overrides.workspace_of(changes)}")


def _summarise(settings: "Params", found: "Mapping[str, Contents]", stages: str) -> str:
    from flows.pipeline.sizes import describe_sizes
    from levy_core.process import parametrisation
    from levy_core.process.loss import explain_minimiser
    from levy_core.process.twins import describe_missing_twin
    from tasks.params.resolution import design_of

    cells, seeds = len(settings.sample.cells()), len(settings.sample.seeds)
    grid = f"{len(settings.designs)} designs, {cells} cells per design, {seeds} seeds"
    made = {name: design_of(settings.models[name]) for name in settings.designs}
    losses = [
        f"{name}: its loss is minimised by {explain_minimiser(design.loss.minimiser)}" for name, design in made.items()
    ]
    twins = [line for name in made if (line := describe_missing_twin(name, settings.models[name], made))]
    advice = [
        f"{name} on {dataset}: {line}"
        for dataset in settings.datasets
        for name, design in made.items()
        if (line := settings.kind(dataset).advise(settings.data[dataset], design))
    ]
    predicted = [f"{name}: {line}" for name, d in made.items() if (line := parametrisation.advise(d.param, d.noise))]
    lines = [*describe_sizes(settings, found), *losses, *predicted, *twins, *advice]
    return "\n".join([f"all in order: {', '.join(settings.datasets)}; {grid}; {stages}", *lines])


def _preflight(
    dvc: Dvc, datasets: Sequence[str] = (), repairing: bool = False
) -> "tuple[Params, Plan, dict[str, Contents]]":
    """Everything that can be wrong before any long computation; the settings, what is to run, and what the data sets hold.

    Args:
        repairing: repairs what killed processes left of DVC's own files, moves outputs of designs that are not named any
            more out of the way, and says so; without it, says what a run would repair, and changes nothing.
    """
    from flows.pipeline.graph import plan, read_state
    from flows.pipeline.lockfile import find_lock_damage, repair_lock

    check_root()
    lines = [repair_rwlock(), repair_lock()] if repairing else [find_rwlock_damage(), find_lock_damage()]
    damage = [line for line in lines if line]
    for line in damage:
        print(line, file=sys.stderr)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(read_state, dvc)  # DVC's processes start while this one imports torch
        try:
            from flows.pipeline.preflight import check_machine, check_sources, find_prunable, prune_outputs
            from tasks.params import loading

            settings = loading.load().only(list(datasets))
            found = check_sources(settings)
        except BaseException:
            dvc.stop_all()  # its answer would be waited for
            if not damage:  # what an interrupted DVC leaves is not to be found by the next check
                repair_rwlock()
            raise
    moving = find_prunable(settings) if repairing else set()
    try:
        state = _read_unless_damaged([] if repairing else damage, future.result)
        planned = plan(dvc, state, settings.datasets)
        if moving:
            if planned.todo & state.stale_beyond(moving):  # refused before anything is moved
                check_machine(settings)
            for line in prune_outputs(settings):
                print(line, file=sys.stderr)
            planned = plan(dvc, read_state(dvc), settings.datasets)
    except DvcBusyError as error:
        raise LevyError(
            f"DVC is busy in this checkout ({error}): wait for the other process, or stop it, and run again"
        ) from error
    if planned.todo:  # what is finished can be looked at on another machine
        check_machine(settings)
    return settings, planned, found


def _read_unless_damaged(damage: Sequence[str], read: Callable[[], "DvcState"]) -> "DvcState":
    """What DVC answers; where it cannot, the damage that keeps it from it."""
    try:
        return read()
    except Exception as error:
        if not damage:
            raise
        raise LevyError(f"{'; '.join(damage)}. Before that, DVC cannot say which stages have to run") from error
