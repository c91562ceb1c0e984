"""`levy sample`: samples from a registered model."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.opening import given, open_model


def sample(
    out: Annotated[
        Path,
        typer.Argument(help="Folder for the files (PNG, NetCDF or what the kind of data writes); made if missing."),
    ],
    model: Annotated[str, typer.Option(help="Any MLflow model URI.")] = "models:/levy-digits@champion",
    n: Annotated[
        int | None, typer.Option(min=1, help="How many samples: 16, or as many as the counts of --classes sum to.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Only this class; of fields with seasons, only this season.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Which classes: training (their proportions in the training data, drawn without this option), balanced, none, or "
            "counts such as 8=10,9=5."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same samples, for any --n.")] = 0,
    solver: Annotated[
        str | None,
        typer.Option(help="A family of docs/solvers.md, such as ode; without it, the one that the search found."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Network evaluations per sample; without it, those of the model's default sampler."),
    ] = None,
    eta: Annotated[float | None, typer.Option(min=0, help="Noise that comes back, for sde-e and split.")] = None,
    guide: Annotated[
        str | None,
        typer.Option(help="A guide of docs/solvers.md, such as classifier-free (with --strength), or none."),
    ] = None,
    strength: Annotated[
        float | None, typer.Option(min=0, help="Of the guide: 1 is the class, more exaggerates it.")
    ] = None,
    guide_rho_max: Annotated[
        float | None, typer.Option(help="The guide acts at noise levels rho up to this one.")
    ] = None,
    guide_rho_min: Annotated[
        float | None, typer.Option(help="The guide acts at noise levels rho above this one.")
    ] = None,
    boost: Annotated[
        float | None, typer.Option(help="Factor of the starting noise; above 1 outlying things come more often.")
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Refuse a version that `levy verify` would refuse.")
    ] = False,
) -> None:
    """Draw samples from a registered model."""
    if n is None and "=" not in (classes or ""):
        n = 16
    request = given({
        "n": n, "class": class_name, "classes": classes, "seed": seed, "solver": solver, "steps": steps, "eta": eta,
        "guide": guide, "strength": strength, "guide_rho_max": guide_rho_max, "guide_rho_min": guide_rho_min,
        "boost": boost,
    })  # fmt: skip
    with open_model(model, verified) as (found, origin):
        print(found.write(request, out, origin))
