"""What a request asks a registered model for: labels, a solver, a seed."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.manifest import MANIFEST, REMEDY
from levy_core.base.memory import free_memory
from levy_core.base.samples import Samples, read_classes
from levy_core.sampling.solver import Solver
from levy_core.sampling.steps import FAMILIES, fits
from levy_core.serving.memory import bytes_kept
from levy_core.serving.requests import SAMPLER, typed

SOLVER_KEYS = (
    "discretisation",
    "grid",
    "steps",
    "eta",
    "guide",
    "strength",
    "guide_rho_max",
    "guide_rho_min",
    "boost",
)  # of a request; its `solver` is the family
GIVEN_STEPS = 10  # towards observations, at least: at five a posterior is 1.2 times as wide as it should be, at ten 1.1


def read_samplers(folder: Path) -> tuple[Solver, dict[int, Solver]]:
    """The default solver of a registered model, and the best one at each number of evaluations.

    Raises:
        LevyError: they are damaged, or the model should have a manifest and has none.
    """
    path = folder / SAMPLER
    try:
        described = json.loads(path.read_text())
        tuned = {int(nfe): Solver(**fields) for nfe, fields in described["samplers"].items()}
        default, named = tuned[described["default"]], described.get("manifest")
    except Exception as error:  # whatever else stands where a mapping of solvers is expected
        raise LevyError(f"{path} is damaged ({type(error).__name__}: {error}): {REMEDY}") from error
    if named and not (folder / MANIFEST).exists():
        raise LevyError(f"{folder / MANIFEST} is missing, so the model's files cannot be compared: {REMEDY}")
    return default, tuned


def without_idle_guide(solver: Solver, samples: Samples, labels: np.ndarray) -> Solver:
    """Samples that all ask for no class are those without the guide that was found for classes, at half the evaluations."""
    idle = solver.guide != "none" and bool((labels == samples.no_class).all())
    return replace(solver.unfitted(), guide="none") if idle else solver


class Reader:
    """Reads the requests of one model.

    Args:
        samples: that the model draws. shape: of one, (C, H, W). default: solver. tuned: the best solver by number of evaluations.
    """

    def __init__(self, samples: Samples, shape: tuple[int, ...], default: Solver, tuned: Mapping[int, Solver]):
        self._samples, self._shape, self.default, self._tuned = samples, shape, default, tuned

    def read(self, request: dict[Any, Any]) -> tuple[np.ndarray, Solver, int]:
        """Labels, solver and seed of a request."""
        request = typed(request)
        if "observed" in request:
            raise LevyError("observed is given, but these samples are drawn without observations: leave it out")
        labels, solver = self.labels(request), self._solver(request)
        if "guide" not in request:
            solver = without_idle_guide(solver, self._samples, labels)
        seed = request.get("seed", 0)
        if not 0 <= seed < 2**63:
            raise LevyError(f"seed is {seed!r:.40}, but a whole number from 0 to 2**63 - 1 is expected")
        return labels, solver, seed

    def read_given(self, request: dict[Any, Any], label: int | None) -> tuple[np.ndarray, Solver, int]:
        """As ``read``, of samples that agree with observations, which choose nothing of a sampler but ``steps``.

        They are drawn by ``solver_of_observations`` on the levels of the default sampler.

        Args:
            label: the class that the observation belongs to; None where it says nothing of it.

        Raises:
            LevyError: as ``read``; more of a sampler than steps, or another class than the observation's.
        """
        request = typed(request)
        if chosen := [key for key in ("solver", *SOLVER_KEYS) if key in request and key != "steps"]:
            raise LevyError(f"{chosen[0]} is given, but samples that agree with observations choose nothing but steps")
        labels, _, seed = self.read(request)
        if label is not None:
            if (request.keys() & {"class", "classes"}) and (labels != label).any():
                raise LevyError(
                    f"the observed moment lies in {self._samples.classes[label]}, but another class is asked for: leave it out"
                )
            labels = np.full(len(labels), label)
        steps = request.get("steps", max(GIVEN_STEPS, self.default.steps))
        return labels, solver_of_observations(self.default, steps), seed

    def labels(self, request: dict[Any, Any]) -> np.ndarray:
        """The label of each sample that a request asks for.

        Raises:
            LevyError: both ``class`` and ``classes``, classes that the model does not know, or a number of samples that is missing,
                differs from the sum of the counts, or does not fit into memory.
        """
        name, text, n = request.get("class"), request.get("classes"), request.get("n", 0)
        if name is not None and text is not None:
            raise LevyError(f"class is {name!r} and classes {text!r}: give one of them")
        asked = {name: n} if name is not None else read_classes("training" if text is None else text)
        self._samples.check_asked(asked)
        if isinstance(asked, dict):
            total = sum(asked.values())
            if "n" in request and n != total:
                raise LevyError(
                    f"n is {n}, but the counts of classes, {text}, sum to {total}: leave n out, or make them equal"
                )
            n = total
        elif "n" not in request:
            raise LevyError(
                "n is missing: say how many samples, or in classes how many of each class, such as 8=10,9=5"
            )
        if n < 1:
            raise LevyError(f"n is {n}, but a request asks for at least 1 sample")
        self.check_memory(n, f"n is {n:,}")
        return self._samples.labels_of_counts(asked) if isinstance(asked, dict) else self._samples.labels(asked, 0, n)

    def check_memory(self, n: int, asked: str) -> None:
        """Refuses so many samples at a time as do not fit into memory, before anything is made for each; ``asked`` begins the message.

        Raises:
            LevyError: says how many do, if nothing else were needed.
        """
        most = free_memory() // bytes_kept(self._samples, self._shape)
        if n > most:
            raise LevyError(f"{asked}, but the memory that is free holds {most:,} samples: ask for fewer at a time")

    def _solver(self, request: dict[Any, Any]) -> Solver:
        """The best solver for the evaluations that are asked for as steps, else the default, with what the request changes.

        A family without the discretisation of that solver takes ei-noise; a fitted table that is changed is no longer one.
        """
        changes = {key: request[key] for key in SOLVER_KEYS if key in request}
        if "solver" in request:
            changes["family"] = request["solver"]
        start = self._tuned.get(changes.get("steps", 0), self.default)
        if changes.get("steps") in self._tuned and "guide" not in changes:
            changes["steps"] = start.steps  # fewer than the evaluations that it was found for, where it is guided
        if any(value != getattr(start, name) for name, value in changes.items()):
            start = start.unfitted()
        family = changes.get("family", start.family)
        if family in FAMILIES:  # Solver refuses an unknown one
            if not fits(family, start.discretisation):
                changes.setdefault("discretisation", "ei-noise")
            changes.setdefault("eta", min(start.eta, FAMILIES[family].most_eta or 0.0))
        solver = replace(start, **changes)
        if solver.guide != "none" and start.guide == "none" and "strength" not in changes:
            raise LevyError(
                f"the guide {solver.guide} came without a strength: 1 is the class itself, more exaggerates it"
            )
        return solver


def solver_of_observations(levels: Solver, steps: int) -> Solver:
    """The second-order ODE on the levels of a sampler, ended at rho = 0 so that exact values are met.

    First-order tables give ensembles that are too narrow, even with the exact predictor (docs/observations.md).
    """
    return replace(
        levels.unfitted(), family="ode", discretisation="2m-data", eta=0.0, guide="none", denoise=True, boost=1.0, steps=steps
    )  # fmt: skip
