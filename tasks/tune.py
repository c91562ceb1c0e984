"""Stage tune: the best sampler of one model at each number of steps, found with a fixed budget of samples.

It draws with noise of its own (seeds apart from the grid's), so that the grid's seeds score what it finds on new samples.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from levy_core.base.code import hash_code
from levy_core.base.conditions import LABEL
from levy_core.base.determinism import make_reproducible
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_json
from levy_core.sampling.guidance import GUIDES
from levy_core.sampling.search import SearchResult
from levy_core.sampling.solver import Solver
from levy_core.sampling.space import Space
from levy_core.serving.draw import check_guide, cost, hash_model
from levy_core.training.checkpoint import Model, load_model
from tasks.cells.selection import SETTINGS, sampler_of
from tasks.cells.tables import write_rows
from tasks.cells.tuned import write_tuned
from tasks.kinds.kind import Metrics
from tasks.kinds.opening import open_correction, open_metrics
from tasks.params.samplers import classes_of, space_of
from tasks.params.schema import Params
from tasks.runtime import paths, stage
from tasks.runtime.progress import bar
from tasks.tuning.correcting import fit_correction
from tasks.tuning.scores import Memo
from tasks.tuning.searches import Searches

# Code that decides a score, beside that of the metrics.
CODE = ("levy_core.sampling.search", "levy_core.sampling.fitting")
# Share of real samples' distance to the training samples, below which a guide is said to copy: far beyond the scatter of a median
# of some hundred distances, which is a few per cent.
NEAR = 0.8


def tune(params: Params, dataset: str, design: str) -> None:
    """Searches each number of steps of ``tune.steps``; scores that are known from an earlier search are not drawn again."""
    make_reproducible(params.compute.threads)
    device, settings = stage.device(params.compute.device), params.tune
    folder = paths.model(dataset, design)
    model = load_model(folder, device)
    classes = classes_of(params.sample, params.kind(dataset))
    space = filter_by_cost(space_of(params.tune, params.kind(dataset)), model)
    space = filter_guides(space, model, model.samples.labels(classes, 0, settings.counts()[-1]))
    print(
        f"{design} on {dataset}: scored on samples of {classes} classes, guides {', '.join(space.guides)}", flush=True
    )
    metrics = open_metrics(params, dataset)
    correction = fit_correction(params, dataset, model, space, device)
    memo = Memo(paths.scores(dataset, design), _fingerprint(params, dataset, folder, metrics, correction))

    searches = Searches(
        model, folder, settings, metrics, params.metric(dataset), classes, params.sample.batch, device, memo,
        open_correction(params.kind(dataset), folder, correction, model.samples),
    )  # fmt: skip
    results: dict[int, SearchResult] = {}
    watched: dict[int, dict[str, float]] = {}
    spent: dict[int, int] = {}
    with bar(None, f"tune {design}", total=searches.evaluations(space), unit="eval", unit_scale=True) as progress:
        for steps, result, evaluations in searches.run(space, progress.update):
            best, seeds, results[steps], spent[steps] = result.best, result.seeds, result, evaluations
            watched[steps] = memo.watched(best.solver, best.n, searches.judge(0) if seeds else searches.seed)
            judged = f" on {seeds} fresh seeds" if seeds else ""
            line = f"{design} on {dataset}, {steps} evaluations: {best.solver.label}: {best.score:.3f}{judged}"
            print(f"{line}{warn_of_copies(best.solver, watched[steps])}", flush=True)
    write_tuned(
        paths.tuned(dataset, design),
        {
            steps: {
                "sampler": sampler_of(asdict(result.best.solver)),
                "score": float(f"{result.best.score:.6g}"),
                "samples": result.samples,
                "evaluations": spent[steps],
                "trials": len(result.trials),
                "seeds": result.seeds,
                "watched": watched[steps],
            }
            for steps, result in results.items()
        },
        correction,
    )
    rows = [
        {**asdict(t.solver), "n": t.n, "score": t.score, **memo.watched(t.solver, t.n, searches.seed)}
        for result in results.values()
        for t in result.trials
    ]
    write_rows(paths.trials(dataset, design), pd.DataFrame(rows), digits=6, exact=SETTINGS)
    memo.forget_stale()


def filter_by_cost(space: Space, model: Model) -> Space:
    """Without solvers that would spend more than their steps: those that bring Student-t noise back evaluate twice.

    Raises:
        LevyError: none is left.
    """
    kept = [
        family
        for family, form in space.pairs().values()
        if cost(model, Solver(family, form, "karras", 4, space.eta[0])) == 4
    ]
    if not kept:
        raise LevyError(
            f"of tune.solvers, {', '.join(space.solvers)}, each evaluates the network twice per step with noise of "
            f"{model.design.noise}: add ode"
        )
    return replace(space, solvers=tuple(dict.fromkeys(kept)))


def filter_guides(space: Space, model: Model, labels: np.ndarray) -> Space:
    """Without guides towards a class where samples are drawn without one.

    Raises:
        LevyError: none is left, or the model knows nothing to guide away from.
    """
    without = bool((labels == model.samples.no_class).all())
    kept = tuple(guide for guide in space.guides if not (without and GUIDES[guide].follows == LABEL)) or space.guides
    for guide in kept:
        check_guide(model, Solver("ode", "ei-noise", "karras", 4, guide=guide), labels)
    return replace(space, guides=kept)


def warn_of_copies(solver: Solver, watched: dict[str, float]) -> str:
    """What follows the line of a search's best where a guide draws it much nearer to training samples than real ones lie."""
    near, real = watched.get("near_train", 1.0), watched.get("floor/near_train", 0.0)
    if solver.guide == "none" or near >= NEAR * real:
        return ""
    return (
        f"; it may copy: its distance to training samples is {near:.2f}, that of new real ones {real:.2f} (near_train); "
        "lower tune.strength, or take the guide out of tune.guides"
    )


def _fingerprint(params: Params, dataset: str, model: Path, metrics: Metrics, correction: dict[str, Any]) -> str:
    """Hash of what decides a score, but for the solver, the number of samples and their seed."""
    kind = params.kind(dataset)
    classes, corrected = (
        classes_of(params.sample, kind),
        [correction, kind.hash_code("corrected")] if correction else {},
    )
    decided_by = [hash_model(model), metrics.hash, hash_code(*CODE), params.metric(dataset), classes, corrected]
    return hash_json(decided_by)
