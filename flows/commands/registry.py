"""Commands that keep a registry up to date: retrain, gate, history, promote, rollback."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from levy_core.base.errors import LevyError

if TYPE_CHECKING:
    from tasks.registry.promotions import Move

Name = Annotated[str, typer.Argument(help="A registered model, for example levy-digits.")]
Alias = Annotated[str, typer.Option(help="The alias to move.")]
Why = Annotated[str, typer.Option(help="Kept in the history.")]


def retrain(
    dataset: Annotated[str, typer.Argument(help="A data set of the committed params.yaml.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A folder with new files to add; without it, data/DATASET as it is now is taken."),
    ] = None,
    quiet: Annotated[
        float, typer.Option(min=0, help="Wait until nothing was written there for this many seconds.")
    ] = 60.0,
    accept_losses: Annotated[
        bool, typer.Option("--accept-losses", help="Also accept fewer images or fields than the last version has.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Stages at a time.")] = 2,
) -> None:
    """Train on new data in a workspace of its own, judge the new model against the champion, and promote it if it is better.

    Your working tree is read and never changed. The result is a commit on the branch retrain/DATASET and a version in the
    registry: champion if it passed the gate, else challenger with the reason. On a schedule: docs/retraining.md.
    """
    from flows.pipeline import server
    from flows.pipeline.dvc import check_root

    check_root()
    server.check_server()
    private = server.start_unless_configured()
    from flows.retrain.flow import retrain as flow  # Prefect reads the address of its server when it is imported

    if private:
        private.wait()
    asked = {"source": source and str(source), "quiet": quiet, "workers": workers}
    state = flow(dataset, **asked, **({"most_lost": 1.0} if accept_losses else {}), return_state=True)
    if state.is_failed() or state.is_crashed():
        raise LevyError(str(state.result(raise_on_failure=False)))
    print(f"\n{state.name}: {state.message}")


def gate(
    dataset: Annotated[str, typer.Argument(help="A data set of params.yaml.")],
    as_json: Annotated[bool, typer.Option("--json", help="The decision as JSON, for programs.")] = False,
) -> None:
    """Register the winner of `levy run --no-record` or `dvc repro`, judge it against the champion, promote it or keep it as challenger."""
    from tasks.params import loading
    from tasks.registry import tracking
    from tasks.registry.gate import gate as decide

    tracking.check_server(tracking.address(), writing=True)
    decision = decide(loading.load().only([dataset]), dataset)
    print(json.dumps(decision.to_mapping()) if as_json else decision.text)


def history(name: Name) -> None:
    """Show which version had which alias since when, and why."""
    from tasks.registry import promotions

    for move in promotions.history(_client(), name):
        before = f"version {move.before} -> " if move.before else ""
        state = " (interrupted: the next move or levy run completes it)" if move.pending else ""
        state = " (superseded before it was done)" if move.superseded else state
        print(f"{move.when[:19]}Z  @{move.alias:10s} {before}version {move.after}  {move.why}{state}")


def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="The version that is to have the alias.")],
    alias: Alias = "champion",
    why: Why = "promoted by hand",
) -> None:
    """Make a version champion by hand, whatever the gate said."""
    from tasks.registry import promotions

    _say(name, promotions.move(_client(writing=True), name, alias, version, why))


def rollback(name: Name, alias: Alias = "champion", why: Why = "rolled back") -> None:
    """Give an alias back to the version that had it before; again, to the one before that."""
    from tasks.registry import promotions

    _say(name, promotions.roll_back(_client(writing=True), name, alias, why))


def _say(name: str, move: "Move") -> None:
    overtaken = "" if move.done else " (overtaken by a later move: `levy history` has it)"
    print(f"{name}@{move.alias}: version {move.before or 'none'} -> version {move.after}{overtaken}")


def _client(writing: bool = False) -> Any:
    from tasks.registry import tracking

    tracking.check_server(tracking.address(), writing)
    return tracking.connect().MlflowClient()
