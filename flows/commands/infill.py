"""`levy infill`: samples of a registered model that agree with what was observed."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.opening import given, open_model
from levy_core.base.errors import LevyError


def infill(
    out: Annotated[Path, typer.Argument(help="Folder for the files (PNG or NetCDF); made if missing.")],
    observe: Annotated[
        Path,
        typer.Option(
            help="What was observed. Fields: a file on the model's grid (NetCDF, GRIB, zarr), NaN where nothing was, or a CSV table of "
            "stations with the columns variable, latitude, longitude, value. Images: a picture, transparent where nothing was seen."
        ),
    ],
    std: Annotated[
        list[str] | None,
        typer.Option(
            help="How far observed values may be from the truth, in their units: 0.5, or t2m=0.5 for one variable (repeat it). "
            "0: samples have them exactly. A table may have a column std."
        ),
    ] = None,
    means: Annotated[
        bool,
        typer.Option(
            "--mean", help="The file has a coarser grid: each value is the mean over whole cells (downscaling)."
        ),
    ] = False,
    time: Annotated[
        str | None, typer.Option(help="The moment that was observed, where the file does not say it: 2019-07-25T12.")
    ] = None,
    model: Annotated[str, typer.Option(help="Any MLflow model URI.")] = "models:/levy-digits@champion",
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="How many samples.")] = 50,
    class_name: Annotated[str | None, typer.Option("--class", help="Only this class.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same samples.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Network evaluations per sample, of a second-order ODE.")
    ] = None,
    guide: Annotated[
        str,
        typer.Option(
            help="Towards what was observed: interpolation, jacobian, pigdm or projection (docs/observations.md)."
        ),
    ] = "interpolation",
    judge: Annotated[
        Path | None,
        typer.Option(
            help="A file of the same kind with the true values: those that were not observed are judged, also in OUT/judged.json."
        ),
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Refuse a version that `levy verify` would refuse.")
    ] = False,
) -> None:
    """Draw samples that agree with what was observed: gaps filled, stations spread, coarse fields made fine.

    An example: levy infill out --observe stations.csv --std 0.5 --model models:/levy-weather@champion
    """
    errors = _read_std(std or [])
    request = given({"n": n, "class": class_name, "seed": seed, "steps": steps})
    with open_model(model, verified) as (found, origin):
        print(found.infill(request, observe, out, errors, means, time, guide, origin, judge))


def _read_std(texts: list[str]) -> dict[str, float]:
    errors = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            errors[name] = float(number)
        except ValueError:
            raise LevyError(f"--std {text}: a number is expected, or VARIABLE=NUMBER such as t2m=0.5") from None
        if not 0 <= errors[name] < float("inf"):
            raise LevyError(f"--std {text}: it must be 0 or more")
    return errors
