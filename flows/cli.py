"""The `levy` command."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from levy_core.errors import LevyError

app = typer.Typer(
    help="Reproducible pipelines for heavy-tailed generative models. Run it from the root of the repository.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
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
    from flows.processes import one_run_at_a_time
    from tasks import record

    settings = _preflight(params)
    server.check_server()
    record.check_server(record.tracking_uri())
    with one_run_at_a_time(), server.prefect_api():
        from flows import pipeline  # Prefect reads the address of its server when it is imported

        outcome = pipeline.run(settings, workers)
    ran = sum(o == "ran" for o in outcome.stages.values())
    print(f"\n{ran} of {len(outcome.stages)} stages ran.")
    for dataset, recorded in outcome.recorded.items():
        print(f"\n{dataset}")
        print(f"  best cell  {pipeline.best_cell(dataset, settings.compare.metric)}")
        print(f"  report     {pipeline.report_path(dataset)}")
        print(
            f"  registry   {recorded.name} version {recorded.version}, alias {record.ALIAS}"
            + ("" if recorded.fresh else " (already there)")
        )
        print(f"  samples    python -c 'import mlflow; print({recorded.look_up}.shape)'")


@app.command()
def check(params: ParamsFile = None) -> None:
    """Check params.yaml, data/ and the servers without running anything."""
    from flows import server
    from tasks import record

    settings = _preflight(params)
    server.check_server()
    record.check_server(record.tracking_uri())
    cells = len(settings.sample.cells())
    print(
        f"{', '.join(settings.datasets)}: {len(settings.designs)} designs, {cells} cells a design, {len(settings.sample.seeds)} seeds: all in order"
    )


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
    out: Annotated[Path, typer.Argument(help="Folder for the PNG files; made if missing.")],
    model: Annotated[str, typer.Option(help="Any MLflow model URI.")] = "models:/levy-digits@champion",
    n: Annotated[int, typer.Option(min=1, help="How many images.")] = 16,
    class_name: Annotated[str | None, typer.Option("--class", help="Only this class.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    solver: Annotated[str | None, typer.Option(help="sde-a, sde-e or ode; without it, the tuned one.")] = None,
    steps: Annotated[int | None, typer.Option(min=1)] = None,
    eta: Annotated[float | None, typer.Option(min=0)] = None,
) -> None:
    """Draw images from a registered model."""
    from PIL import Image

    from tasks import record

    record.check_server(record.tracking_uri())
    mlflow = record.connect()
    request = {"n": n, "class": class_name, "seed": seed, "solver": solver, "steps": steps, "eta": eta}
    images = mlflow.pyfunc.load_model(model).predict({k: v for k, v in request.items() if v is not None})
    out.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(out / f"{number:05d}.png")
    print(f"{len(images)} images in {out}")


def _preflight(chosen: Path | None):
    """Everything that can be wrong before any long computation."""
    from flows import graph
    from flows.processes import Dvc, DvcBusyError
    from tasks import params, paths
    from tasks.preflight import check_sources

    settings = params.load(chosen or params.PARAMS)
    if not Path("dvc.yaml").exists():
        raise LevyError(f"{Path.cwd()} has no dvc.yaml: run from the root of the repository")
    try:
        graph.check_data(Dvc())
    except DvcBusyError as error:
        raise LevyError(
            f"DVC is busy in this checkout ({error}): wait for the other process, or stop it, and run again"
        ) from error
    check_sources(settings)
    if chosen and chosen.resolve() != params.PARAMS.resolve():
        params.PARAMS.write_text(chosen.read_text())
        print(f"params.yaml now holds the settings of {chosen}", file=sys.stderr)
    paths.OUTPUTS.mkdir(exist_ok=True)
    return settings


def main() -> None:
    """Entry point: mistakes that a person can mend end in one message and exit status 1."""
    import flows  # noqa: F401  (settings before Prefect)

    try:
        app()
    except LevyError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from here")


if __name__ == "__main__":
    main()
