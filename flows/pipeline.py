"""The pipeline as a Prefect flow: one task a stage of dvc.yaml, in its order, then the record and the registry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff

from flows import graph
from flows.processes import Dvc, DvcBusyError, StageFailedError
from levy_core.errors import LevyError
from tasks import lineage, paths, record
from tasks.compare import cell_label
from tasks.params import Params


@dataclass(frozen=True)
class Outcome:
    """What became of each stage, and what each data set left in MLflow."""

    stages: dict[str, str]
    recorded: dict[str, record.Recorded]


def _only_when_busy(_task: Any, _run: Any, state: Any) -> bool:
    """A lock may be free a little later; a failed stage fails again."""
    try:
        state.result()
    except DvcBusyError:
        return True
    except BaseException:
        return False
    return False


@task(
    task_run_name="{stage}",
    retries=6,
    retry_delay_seconds=exponential_backoff(backoff_factor=1),
    retry_jitter_factor=0.5,
    retry_condition_fn=_only_when_busy,
    cache_policy=None,
    persist_result=False,
)
def run_stage(stage: str, dvc: Dvc) -> str:
    """One stage; its lines go to Prefect's log."""
    logger = get_run_logger()
    outcome = dvc.reproduce(stage, logger.info)
    logger.info("%s: %s", stage, outcome)
    return outcome


@task(task_run_name="record-{dataset}", cache_policy=None, persist_result=False)
def record_dataset(params: Params, dataset: str) -> record.Recorded:
    """MLflow record and registry of one data set."""
    return record.record(params, dataset)


@flow(name="levy-pipeline", validate_parameters=False)
def pipeline(params: Params, workers: int) -> Outcome:
    """Runs what is stale and what depends on it, then records. Nothing stays running if it fails or is cancelled."""
    dvc = Dvc()
    try:
        return _run(params, dvc)
    except BaseException:
        dvc.stop_all()
        raise


def _run(params: Params, dvc: Dvc) -> Outcome:
    logger = get_run_logger()
    stages = graph.load(dvc)
    todo = stages.affected_by(graph.stale_stages(dvc))
    logger.info("%d of %d stages to run", len(todo), len(stages.needs))
    outcomes = dict.fromkeys(stages.order, "up to date")
    futures: dict[str, PrefectFuture[str]] = {}
    for stage in stages.order:
        if stage in todo:
            futures[stage] = run_stage.submit(
                stage, dvc, wait_for=[futures[s] for s in stages.needs[stage] if s in futures]
            )
    failures = []
    for stage, future in futures.items():
        try:
            outcomes[stage] = future.result()
        except (LevyError, DvcBusyError) as error:
            failures.append(str(error))
        except Exception as error:  # Prefect's own: a stage before this one failed
            outcomes[stage] = "not run"
            logger.debug("%s: %s", stage, error)
    lineage.sort_lock()
    if failures:
        raise StageFailedError("\n".join(failures))
    recorded = {dataset: record_dataset(params, dataset) for dataset in params.datasets}
    outcome = Outcome(outcomes, recorded)
    create_markdown_artifact(key="levy-summary", markdown=summary(params, outcome), description="What ran and what won")
    return outcome


def summary(params: Params, outcome: Outcome) -> str:
    """The run in markdown: best cells, registry look-ups, stages."""
    lines = ["# Levy pipeline", ""]
    for dataset, recorded in outcome.recorded.items():
        best = best_cell(dataset, params.compare.metric)
        lines += [
            f"**{dataset}**: {best}",
            "",
            f"Registered as `models:/{recorded.name}@{record.ALIAS}` (version {recorded.version}); report: `{report_path(dataset)}`",
            "",
        ]
    return "\n".join(
        [*lines, "| stage | outcome |", "|---|---|", *(f"| {s} | {o} |" for s, o in outcome.stages.items())]
    )


def best_cell(dataset: str, metric: str) -> str:
    """The winner of a data set in a line of text."""
    best = pd.read_json(paths.winner(dataset), typ="series").to_dict()
    return f"{cell_label(best)}: {metric} {best[metric]:.2f} ± {best.get(f'{metric}_std', float('nan')):.2f} over {best['seeds']} seeds"


def report_path(dataset: str) -> Path:
    """The report's page."""
    return (paths.report(dataset) / "index.html").resolve()


def run(params: Params, workers: int) -> Outcome:
    """The flow with ``workers`` stages at a time."""
    return pipeline.with_options(task_runner=ThreadPoolTaskRunner(max_workers=workers))(params, workers)  # type: ignore[call-overload]
