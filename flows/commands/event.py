"""`levy event`: members of a rare event, with its probability and return period."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.opening import given, open_model


def event(
    out: Annotated[Path, typer.Argument(help="Folder for the files; made if missing.")],
    where: Annotated[
        str,
        typer.Option(
            help="What happens: VARIABLE, where (at LAT,LON; at STATION; mean, max or min, perhaps of LAT1..LAT2,LON1..LON2), then > or < "
            "VALUE UNIT. For example 't2m at 51.5,-0.1 > 38 degC'; of images 'brightness mean > 120 levels' (docs/events.md)."
        ),
    ],
    model: Annotated[
        str, typer.Option(help="Any MLflow model URI, of fields or images.")
    ] = "models:/levy-weather@champion",
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="How many members of the event.")] = 50,
    particles: Annotated[int, typer.Option(min=1, help="How many particles: more make the interval narrower.")] = 2000,
    class_name: Annotated[str | None, typer.Option("--class", help="Only this season, or class of images.")] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="The day of the year and hour that is asked about, 2019-07-25T12; a year then has one sample."
        ),
    ] = None,
    per_year: Annotated[
        float | None, typer.Option(help="How many independent samples a year has, for a return period in years.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same members.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Network evaluations per particle, 40 without it.")] = None,
    eta: Annotated[float | None, typer.Option(min=0, help="Noise that comes back, 0.5 without it.")] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Refuse a version that `levy verify` would refuse.")
    ] = False,
) -> None:
    """Draw members of a rare event, and say how probable it is and how often it returns.

    An example: levy event out --where "t2m at 51.5,0.1 > 22 degC" --model models:/levy-weather@champion
    """
    request = given({"n": n, "class": class_name, "seed": seed, "steps": steps, "eta": eta})
    with open_model(model, verified) as (found, origin):
        print(found.event(request, where, out, particles, time, per_year, origin))
