"""What corrects samples of a model in the units of people, fitted to samples that it draws."""

from typing import Any

import torch

from levy_core.base.memory import free_memory
from levy_core.base.rows import Joined
from levy_core.base.seeds import seed_of
from levy_core.sampling.solver import Solver
from levy_core.sampling.space import Space
from levy_core.serving.memory import Footprint, check_batch
from levy_core.training.checkpoint import Model
from tasks.params.samplers import classes_of
from tasks.params.schema import Params
from tasks.runtime import paths
from tasks.tuning.kept import draw_kept

STEPS = 20  # of the sampler whose samples it is fitted to


def fit_correction(params: Params, dataset: str, model: Model, space: Space, device: torch.device) -> dict[str, Any]:
    """What corrects samples of the model, fitted to samples that it draws with many evaluations; {} where nobody asked for it.

    Raises:
        LevyError: ``sample.batch`` does not fit into memory; as the kind's ``fit``.
    """
    correction = params.kind(dataset).correction
    if correction is None or not correction.is_asked_for(params.data[dataset]):
        return {}
    ends = space.ends(model.design.schedule)
    solver = Solver(
        "ode", "2m-data", "karras", STEPS, rho_max=ends["rho_max"][1], rho_min=ends["rho_min"][0], denoise=True
    )  # fmt: skip
    n, seed = correction.count(model.shape), seed_of("tune", params.tune.seed, "correction") % 2**31
    labels, batch = model.samples.labels(classes_of(params.sample, params.kind(dataset)), 0, n), params.sample.batch
    check_batch("sample.batch", batch, Footprint(model, device), solver, n, free_memory(device))
    folder = paths.reference(dataset).parent
    samples = Joined(list(draw_kept(model, solver, seed, labels, batch, device, folder)))
    print(f"{dataset}: samples are corrected, as fitted to {n:,} of {STEPS} evaluations", flush=True)
    return correction.fit(paths.reference(dataset), samples, labels)
