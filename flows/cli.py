"""The `levy` command."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.commands import provenance, registry
from flows.commands import solver as solver_commands
from flows.commands.event import event
from flows.commands.infill import infill
from flows.commands.restore import restore
from flows.commands.sample import sample
from flows.commands.serve import serve
from levy_core.base.errors import LevyError
from tasks.runtime import garbage

app = typer.Typer(
    help="Reproducible pipelines for generative models of what is rare. Run it from the root of the repository.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(solver_commands.app, name="solver")
app.add_typer(provenance.app, name="key")
INTERRUPTED = 130  # the exit status that typer makes of Ctrl-C, without a word
ParamsFile = Annotated[
    Path | None,
    typer.Option(
        "--params",
        help="A YAML file of changes to params.yaml, which stays as it is: they run in a workspace, .levy/run-NAME-OF-FILE.",
    ),
]


@app.command()
def run(
    datasets: Annotated[list[str] | None, typer.Argument(help="Data sets of params.yaml; without a name, all.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Stages at a time.")] = max(1, min(4, os.cpu_count() or 1)),
    params: ParamsFile = None,
    recording: Annotated[
        bool,
        typer.Option(
            "--record/--no-record", help="Record in MLflow and make the winner champion, or stop before the record."
        ),
    ] = True,
) -> None:
    """Run the stages that are stale (prepare, reference, train, tune, sample, evaluate, compare, report), record in MLflow, register the winner.

    Interrupted, the same command goes on. A second run with nothing changed computes nothing.
    """
    from flows.pipeline import command

    command.check_servers()
    if params:
        from flows.pipeline import overrides

        overrides.run(params, datasets or [], workers, recording)
    else:
        print("\n" + command.run(datasets or [], workers, recording))


@app.command()
def check(params: ParamsFile = None) -> None:
    """Check params.yaml, data/ and the servers without running or changing anything."""
    from flows.pipeline import command

    command.check_servers()
    print(command.check_overrides(params) if params else command.check())


@app.command()
def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Read the whole cache and every registered model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--mend", help="First mend damaged outputs, entries of DVC's cache, dvc.lock and locks of dead processes."
        ),
    ] = False,
) -> None:
    """Check the whole set-up, say what is wrong and how to mend it; exit status 1 if anything is wrong.

    Changes nothing without --mend.
    """
    from flows.doctor import checkup as checkup
    from flows.pipeline import recovery
    from flows.pipeline.dvc import Dvc, DvcBusyError, check_root, one_run_at_a_time

    check_root()
    if repair:
        try:
            with one_run_at_a_time():
                for line in recovery.repair_checkout(Dvc()):
                    print(f"mended   {line}", file=sys.stderr, flush=True)
        except DvcBusyError as error:
            raise LevyError(f"DVC is busy in this checkout ({error}): wait for it, and mend then") from error
    found = []
    for name, finding in checkup.examine(deep):
        found.append((name, finding))
        if not as_json:
            print(checkup.as_line(name, finding), flush=True)
    print(json.dumps(checkup.as_json(found), indent=2) if as_json else checkup.summary(found))
    raise typer.Exit(0 if checkup.is_healthy(found) else 1)


@app.command()
def lookup(
    name: Annotated[
        str, typer.Argument(help="A registered model, for example levy-digits; without it, all of them.")
    ] = "",
) -> None:
    """Show registered models: versions, aliases, winner and lineage."""
    from flows.reproduce.versions import describe
    from tasks.registry import tracking

    tracking.check_server(tracking.address())
    client, wanted = tracking.connect().MlflowClient(), re.split("[@/]", name.removeprefix("models:/"))[0]
    known = not name or (
        wanted and "'" not in wanted
    )  # no name has a quote, which MLflow's language of filters cannot write
    versions = client.search_model_versions(f"name = '{wanted}'" if name else "") if known else []
    if not versions:
        raise LevyError(
            f"no registered model {name or 'at all'} in {tracking.address()}: `levy run` registers the winner"
        )
    for v in sorted(versions, key=lambda v: (v.name, int(v.version))):
        aliases = client.get_model_version(v.name, v.version).aliases
        print(describe(v, aliases))


@app.command()
def reproduce(
    uri: Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS.")],
    workers: Annotated[int, typer.Option(min=1, help="Stages at a time.")] = 1,
) -> None:
    """Make a registered version again from its lineage alone, in a workspace of its own, and compare all outputs.

    Ends with status 0 if every hash is equal, else with 1, naming the stage that differs first and by how much.
    Interrupted, the same command goes on.
    """
    from flows.pipeline.dvc import check_root
    from flows.reproduce import rerun
    from tasks.registry import tracking

    check_root()
    tracking.check_server(tracking.address())
    if not rerun.reproduce(uri, workers):
        raise typer.Exit(1)


for command in (
    registry.retrain,
    registry.gate,
    registry.history,
    registry.promote,
    registry.rollback,
    sample,
    infill,
    event,
    restore,
    serve,
    provenance.verify,
):
    app.command()(command)


def dispatch() -> None:
    """The command that ``sys.argv`` names. What is refused before a flow starts leaves a program that calls this as it was.

    Raises:
        SystemExit: it is done, or a person can mend what is wrong: then with one message, and exit status 1.
    """
    try:
        app()
    except LevyError as error:
        raise SystemExit(f"error: {error}") from None
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("interrupted: the same command goes on from here", file=sys.stderr)
        raise
    except Exception as error:
        from tasks.registry import tracking
        from tasks.runtime import disk

        if known := tracking.explain(error) or disk.explain(error):
            raise SystemExit(f"error: {known}") from None
        raise


def main() -> None:
    """The program `levy`."""
    garbage.collect_seldom()
    try:
        dispatch()
    except (SystemExit, Exception) as end:  # Prefect passes on what its client met
        from flows.pipeline import server

        server.leave_if_lost(end)
        raise


if __name__ == "__main__":
    main()
