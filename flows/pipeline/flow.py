"""The pipeline as a Prefect flow: one task per stage of dvc.yaml, in its order, then the record and the registry."""

from contextlib import nullcontext
from itertools import product
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff

from flows.pipeline import graph
from flows.pipeline.dvc import Dvc, DvcBusyError, StageFailedError, last_lines
from flows.pipeline.gpus import Gpus, gpus_for
from flows.pipeline.lockfile import keep_lock
from flows.pipeline.outcome import Outcome, as_markdown
from tasks.params.schema import Params
from tasks.registry import lineage, record
from tasks.registry.live import Forwarder
from tasks.runtime import paths


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
    cache_policy=NO_CACHE,
    persist_result=False,
)
def run_stage(stage: str, dvc: Dvc, gpus: Gpus, watched: tuple[str, str] | None = None) -> str:
    """One stage; its lines go to Prefect's log, and those of a training that is ``watched``, (data set, design), to MLflow while it goes on."""
    logger = get_run_logger()
    forwarder = Forwarder(*watched, paths.live(*watched), logger.warning) if watched else nullcontext()
    with forwarder, gpus.lend(stage) as environment:
        outcome = dvc.reproduce(stage, logger.info, environment=environment)
    keep_lock()
    logger.info("%s: %s", stage, outcome)
    return outcome


@task(task_run_name="record-{dataset}", cache_policy=NO_CACHE, persist_result=False)
def record_dataset(params: Params, dataset: str) -> record.RecordedRun:
    """MLflow record and registry of one data set."""
    return record.record(params, dataset)


@flow(name="levy-pipeline", validate_parameters=False)
def pipeline(params: Params, dvc: Dvc, plan: graph.Plan, recording: bool) -> Outcome:
    """Runs what is stale and what depends on it, then records. Nothing stays running after it, also if it fails or is cancelled."""
    try:
        return _run(params, dvc, plan, recording)
    finally:
        dvc.stop_all()


def _run(params: Params, dvc: Dvc, plan: graph.Plan, recording: bool) -> Outcome:
    logger = get_run_logger()
    stages, gpus = plan.graph, gpus_for(params)
    logger.info("%d of %d stages to run", len(plan.todo), len(stages.needs))
    outcomes = dict.fromkeys(stages.order, "up to date")
    futures: dict[str, PrefectFuture[str]] = {}
    not_run: set[str] = set()
    pairs = product(params.datasets, params.designs) if recording else ()
    trainings = {f"train@{dataset}-{design}": (dataset, design) for dataset, design in pairs}
    for stage in stages.order:
        if stage in plan.todo:
            before = [futures[needed] for needed in stages.needs[stage] if needed in futures]
            futures[stage] = run_stage.submit(
                stage, dvc, gpus, trainings.get(stage), wait_for=before, return_state=False
            )
    failures: dict[str, str] = {}
    for stage, future in futures.items():  # in topological order
        try:
            outcomes[stage] = future.result()
        except Exception as error:
            if stages.needs[stage] & (failures.keys() | not_run):
                not_run.add(stage)
                logger.warning("%s: not run, because a stage that it needs failed", stage)
            else:
                failures[stage] = _explain_failure(stage, error)
    if failures:
        raise StageFailedError("\n".join(failures.values()))
    lineage.sort_lock()
    keep_lock()
    recorded = {dataset: record_dataset(params, dataset) for dataset in params.datasets if recording}
    outcome = Outcome(outcomes, recorded)
    create_markdown_artifact(
        key="levy-summary", markdown=as_markdown(params, outcome), description="What ran and what won"
    )
    return outcome


def _explain_failure(stage: str, error: Exception) -> str:
    """What a person is told of a stage that ended with an error, also one of the flow's own work around the stage."""
    if isinstance(error, StageFailedError | DvcBusyError):  # they name the stage
        return str(error)
    return f"stage {stage} failed: {last_lines([f'{type(error).__name__}: {error}'])}"


def run(params: Params, dvc: Dvc, plan: graph.Plan, workers: int, recording: bool) -> Outcome:
    """The flow with ``workers`` stages at a time; ``recording`` in MLflow or not."""
    runner: Any = ThreadPoolTaskRunner(max_workers=workers)
    configured = pipeline.with_options(task_runner=runner)
    return configured(params, dvc, plan, recording)
