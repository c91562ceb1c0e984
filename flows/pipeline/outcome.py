"""What a run did and what won, for people."""

from dataclasses import dataclass
from pathlib import Path

from tasks.cells.comparison import read_winner
from tasks.cells.selection import cell_label
from tasks.params.schema import Params
from tasks.registry import pages, record
from tasks.runtime import paths


@dataclass(frozen=True)
class Outcome:
    """What became of each stage, and what each data set left in MLflow."""

    stages: dict[str, str]
    recorded: dict[str, record.RecordedRun]


def best_cell(dataset: str, metric: str) -> str:
    """The winner of a data set in a line of text.

    Raises:
        LevyError: what the compare stage left is damaged.
    """
    best = read_winner(paths.winner(dataset), metric)
    spread = best[f"{metric}_std"]  # None with one seed
    return f"{cell_label(best)}: {metric} {best[metric]:.2f}" + (
        f" ± {spread:.2f} over {best['seeds']} seeds" if spread is not None else " (one seed)"
    )


def report_path(dataset: str) -> Path:
    """The report's page."""
    return (paths.report(dataset) / "index.html").resolve()


def as_markdown(params: Params, outcome: Outcome) -> str:
    """The Prefect artifact: best cells, registry look-ups, stages."""
    lines = ["# Levy pipeline", ""]
    for dataset, recorded in outcome.recorded.items():
        name = f"`{recorded.uri}` (version {recorded.version})"
        lines += [f"**{dataset}**: {best_cell(dataset, params.metric(dataset))}", ""]
        lines += [f"Registered as {name}; report: `{report_path(dataset)}`", ""]
    lines += ["| stage | outcome |", "|---|---|", *(f"| {stage} | {what} |" for stage, what in outcome.stages.items())]
    return "\n".join(lines)


def as_text(params: Params, outcome: Outcome) -> str:
    """What `levy run` ends with."""
    ran = sum(what == "ran" for what in outcome.stages.values())
    lines = [f"{ran} of {len(outcome.stages)} stages ran."]
    for dataset, recorded in outcome.recorded.items():
        aliases = "".join(f", alias {alias}" for alias in recorded.aliases) or ", no alias"
        known = "" if recorded.fresh else " (already there)"
        lines += [
            "",
            dataset,
            f"  best cell  {best_cell(dataset, params.metric(dataset))}",
            f"  report     {report_path(dataset)}",
            f"  registry   {recorded.name} version {recorded.version}{aliases}{known}",
            f"  record     {pages.run_page(recorded.run_id)}",
            f"  samples    python -c 'import mlflow; print({recorded.look_up}.shape)'",
        ]
    return "\n".join(lines)
