"""The `levy` command."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import solver as solver_commands
from levy_core.errors import LevyError

if TYPE_CHECKING:
    from flows.graph import Plan
    from flows.processes import Dvc
    from tasks.params import Params

app = typer.Typer(
    help="Reproducible pipelines for heavy-tailed generative models. Run it from the root of the repository.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(solver_commands.app, name="solver")
ParamsFile = Annotated[
    Path | None,
    typer.Option("--params", help="Use this file's settings: it is checked and takes the place of params.yaml."),
]


@app.command()
def run(
    workers: Annotated[int, typer.Option(min=1, help="Stages at a time.")] = max(1, min(4, os.cpu_count() or 1)),
    params: ParamsFile = None,
) -> None:
    """Run what is stale: prepare, train, sample, evaluate, compare, report; then record in MLflow and register the winner.

    Interrupted, the same command goes on. A second run with nothing changed computes nothing.
    """
    from flows import server
    from flows.outcome import Outcome, as_text
    from flows.processes import Dvc, one_run_at_a_time
    from tasks import record

    _check_servers()
    dvc = Dvc()
    with one_run_at_a_time():
        settings, plan = _preflight(params, dvc, prune=True)
        if plan.todo or server.configured():
            private = server.start_unless_configured()
            from flows import pipeline  # Prefect reads the address of its server when it is imported

            if private:
                private.wait()
            outcome = pipeline.run(settings, dvc, plan, workers)
        else:  # nothing to schedule; the record is completed if an earlier run could not
            recorded = {dataset: record.record(settings, dataset) for dataset in settings.datasets}
            outcome = Outcome(dict.fromkeys(plan.graph.order, "up to date"), recorded)
    print("\n" + as_text(settings, outcome))


@app.command()
def check(params: ParamsFile = None) -> None:
    """Check params.yaml, data/ and the servers without running anything."""
    from flows.processes import Dvc

    _check_servers()
    settings, plan = _preflight(params, Dvc())
    grid = f"{len(settings.designs)} designs, {len(settings.sample.cells())} cells a design, {len(settings.sample.seeds)} seeds"
    stages = f"{len(plan.todo)} of {len(plan.graph.needs)} stages to run"
    print(f"all in order: {', '.join(settings.datasets)}; {grid}; {stages}")


@app.command()
def lookup(
    name: Annotated[
        str, typer.Argument(help="A registered model, for example levy-digits; without it, all of them.")
    ] = "",
) -> None:
    """Show registered models: versions, aliases, winner and lineage."""
    from tasks import record

    record.check_server(record.tracking_uri())
    client = record.connect().MlflowClient()
    versions = client.search_model_versions(f"name = '{name}'" if name else "")
    if not versions:
        raise LevyError(
            f"no registered model {name or 'at all'} in {record.tracking_uri()}: `levy run` registers the winner"
        )
    for v in sorted(versions, key=lambda v: (v.name, int(v.version))):
        aliases = client.get_model_version(v.name, v.version).aliases
        print(f"{v.name} version {v.version}{' @' + ' @'.join(aliases) if aliases else ''}")
        for tag, value in sorted(v.tags.items()):
            print(f"    {tag:16s} {value}")


@app.command()
def sample(
    out: Annotated[Path, typer.Argument(help="Folder for the PNG or NetCDF files; made if missing.")],
    model: Annotated[str, typer.Option(help="Any MLflow model URI.")] = "models:/levy-digits@champion",
    n: Annotated[int, typer.Option(min=1, help="How many samples.")] = 16,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Only this class, of fields with seasons only this season.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    solver: Annotated[
        str | None, typer.Option(help="A family of docs/solvers.md, such as ode; without it, the tuned one.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1)] = None,
    eta: Annotated[float | None, typer.Option(min=0)] = None,
) -> None:
    """Draw images or fields from a registered model."""
    from tasks import record

    record.check_server(record.tracking_uri())
    mlflow = record.connect()
    request = {"n": n, "class": class_name, "seed": seed, "solver": solver, "steps": steps, "eta": eta}
    sampler = mlflow.pyfunc.load_model(model).get_raw_model()
    print(sampler.write({k: v for k, v in request.items() if v is not None}, out))


def _check_servers() -> None:
    from flows import server
    from tasks import record

    server.check_server()
    record.check_server(record.tracking_uri())


def _preflight(chosen: Path | None, dvc: "Dvc", prune: bool = False) -> "tuple[Params, Plan]":
    """Everything that can be wrong before any long computation. Imports are late so that --help is quick."""
    from flows.graph import plan
    from flows.processes import DvcBusyError, mend_rwlock
    from tasks import params
    from tasks.preflight import check_sources, prune_outputs

    if not Path("dvc.yaml").exists():
        raise LevyError(f"{Path.cwd()} has no dvc.yaml: run from the root of the repository")
    settings = params.load(chosen or params.PARAMS)
    check_sources(settings)
    if chosen and chosen.resolve() != params.PARAMS.resolve():
        params.PARAMS.write_text(chosen.read_text())
        print(f"params.yaml now holds the settings of {chosen}", file=sys.stderr)
    if prune:
        prune_outputs(settings)
    mend_rwlock()
    try:
        return settings, plan(dvc)
    except DvcBusyError as error:
        raise LevyError(
            f"DVC is busy in this checkout ({error}): wait for the other process, or stop it, and run again"
        ) from error


def main() -> None:
    """Entry point: mistakes that a person can mend end in one message and exit status 1."""
    try:
        app()
    except LevyError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from here")


if __name__ == "__main__":
    main()
