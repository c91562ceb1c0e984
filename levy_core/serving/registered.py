"""The registered model: MLflow's loader module. It is code of the installed package; the artifact holds safetensors and JSON only.

mlflow.pyfunc.load_model("models:/levy-digits@champion").predict({"n": 16, "class": "9", "seed": 0})
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from levy_core.base.errors import LevyError
from levy_core.base.event import Given
from levy_core.base.manifest import MANIFEST, REMEDY
from levy_core.base.samples import Classes, Samples, read_classes
from levy_core.observations.kept import read_covariance
from levy_core.sampling.solver import Solver
from levy_core.sampling.steps import FAMILIES, fits
from levy_core.serving.batching import Batches
from levy_core.serving.draw import check_guide, cost, draw_observed, draw_samples, draw_together
from levy_core.serving.events import SYSTEMS, EventSampler, check_request, solver_of_events
from levy_core.serving.exporters import Exporter, exporter_of, reader_of
from levy_core.serving.occurrence import Occurrence
from levy_core.serving.requests import SAMPLER, check_limit, limit_of, typed
from levy_core.serving.workload import Workload
from levy_core.training.checkpoint import load_model

BATCH = 250
INFILL_STEPS = 10  # at least: at five a posterior is 1.2 times as wide as it should be, at ten 1.1
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


def _load_pyfunc(path: str) -> "RegisteredModel":
    return RegisteredModel(Path(path))


def _read_samplers(folder: Path) -> tuple[Solver, dict[int, Solver]]:
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


class RegisteredModel:
    """A model that draws samples on request.

    Raises:
        LevyError: as ``load_model``; the samplers cannot be read.
    """

    def __init__(self, folder: Path):
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._default, self._tuned = _read_samplers(folder)
        self._model = load_model(folder, self._device)
        self.workload, self._folder = Workload(), folder
        self._batches = Batches(
            lambda solver, asked, watch: draw_together(self._model, solver, asked, self._device, watch)
        )
        self._exporter: Exporter = exporter_of(self._model.samples)(folder, self._model.samples)

    def get_raw_model(self) -> "RegisteredModel":
        """This object, for MLflow's method of this name."""
        return self

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Images, uint8 [N, H, W, C], or fields in physical units, float32 [N, C, H, W]; one block per request row.

        Args:
            model_input: rows with ``n``, and optionally ``class`` (the name of one) or ``classes`` (``training``, the proportions of
                the training data and what is drawn without either; ``balanced``; ``none``; or counts such as ``8=10,9=5``, which
                say ``n``, too), ``seed`` (0), ``solver``, ``discretisation``, ``grid``, ``steps``, ``eta``, ``guide``, ``strength``,
                ``guide_rho_max``, ``guide_rho_min``, ``boost``. Without a sampler the default one draws; with ``steps`` alone the best one found
                for so many evaluations.

        Raises:
            LevyError: classes that the model does not know or that do not go with ``n``, an unknown solver, a value of another type,
                a number out of range, or more work than the limits of ``levy_core.serving.requests`` allow: before any of it is drawn.
                Or what ``levy_core.serving.workload`` finds out while it is drawn, after the network evaluation that is under way.
        """
        import pandas as pd  # half a second, which `write` does without

        rows = pd.DataFrame(model_input).to_dict("records")
        if not rows:
            raise LevyError("the request has no row: give at least one, such as {'n': 16}")
        asked, evaluations, values = [], 0, 0
        with self.workload.drawing() as drawing:
            for row in rows:
                drawing.check()
                labels, solver, seed = self._read(
                    {k: v for k, v in row.items() if not (pd.api.types.is_scalar(v) and pd.isna(v))}
                )
                values += len(labels) * math.prod(self.shape)
                check_limit("LEVY_MAX_VALUES", values)
                check_limit("LEVY_MAX_STEPS", solver.steps)
                evaluations += len(labels) * cost(self._model, solver)
                check_limit("LEVY_MAX_EVALUATIONS", evaluations)
                asked.append((labels, solver, seed))
            draw = lambda: np.concatenate([self._exporter.array(*self._draw(*row, drawing.check)) for row in asked])
            return self.workload.answer(values, draw)

    def write(self, request: dict[str, Any], folder: Path, origin: Mapping[str, str] | None = None) -> str:
        """Draws one request into files of a folder, and says which.

        Args:
            origin: what is known of where the model comes from, for files that keep provenance.

        Raises:
            LevyError: as ``predict``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        labels, solver, seed = self._read(request)
        samples = draw_samples(self._model, solver, seed, labels, BATCH, self._device)
        guided = "none" if solver.guide == "none" else f"{solver.guide}, strength {solver.strength:g}"
        drawn = {"seed": str(seed), "sampler": json.dumps(asdict(solver)), "guidance": guided, **(origin or {})}
        written = self._exporter.write(samples, labels, drawn, folder)
        return f"{written}: {self.samples.describe(labels)}" if len(self.samples.classes) > 1 else written

    def infill(
        self,
        request: dict[str, Any],
        observe: Path,
        folder: Path,
        std: Mapping[str, float],
        means: bool = False,
        time: str | None = None,
        guide: str = "interpolation",
        origin: Mapping[str, str] | None = None,
    ) -> str:
        """Draws samples that agree with observed values into files of a folder, and says which.

        They are drawn by the second-order ODE 2m-data on the levels of the default sampler, ended at rho = 0 so that exact values are
        met: first-order tables give ensembles that are too narrow, even with the exact predictor (docs/observations.md).

        Args:
            request: as of ``predict``, with ``steps`` and no more of a sampler; a class is not needed where the observation says the season.
            observe, std, means, time: what was observed, as the kind of the samples reads it. guide: towards it.

        Raises:
            LevyError: as ``predict``; as the exporter's ``read_observed``; a guide that lacks what it needs.
        """
        if chosen := [key for key in ("solver", *SOLVER_KEYS) if key in request and key != "steps"]:
            raise LevyError(f"{chosen[0]} is given, but samples that agree with observations choose nothing but steps")
        observed = reader_of(self._exporter, "observed", self.samples.kind)(observe, std, means, time)
        needed = guide == "interpolation" and not self._model.latent
        covariance = read_covariance(self._folder) if needed else None
        labels, _, seed = self._read(request)
        if observed.label is not None:
            labels = np.full(len(labels), observed.label)
        solver = replace(
            self._default, family="ode", discretisation="2m-data", eta=0.0, guide="none", denoise=True, boost=1.0,
            steps=request.get("steps", max(INFILL_STEPS, self._default.steps)),
        )  # fmt: skip
        samples = draw_observed(self._model, solver, seed, labels, BATCH, self._device, observed, guide, covariance)
        drawn = {"seed": str(seed), "sampler": json.dumps(asdict(solver)), "guidance": guide, **(origin or {})}
        folder.mkdir(parents=True, exist_ok=True)
        times = None if observed.time is None else np.full(len(samples), observed.time)
        return f"{self._exporter.write(samples, labels, drawn, folder, Given(observed.text, times))}, given {observed.text}"

    def event(
        self,
        request: dict[str, Any],
        where: str,
        folder: Path,
        particles: int = 2000,
        time: str | None = None,
        per_year: float | None = None,
        origin: Mapping[str, str] | None = None,
    ) -> Occurrence:
        """Draws members of a rare event into files of a folder, beside ``event.json`` and ``thresholds.csv``, and says how probable it is.

        Args:
            request: ``n``, and optionally ``class``, ``seed``, ``steps`` and ``eta``, as of ``predict``.
            where: the event in words, as the kind of the samples reads it. particles: of all systems together.
            time: the moment of the year that is asked about; a year then has one independent sample.
            per_year: how many independent samples a year has; None: return periods are in samples only.

        Raises:
            LevyError: as ``predict``; as the exporter's ``read_event``; as ``check_request`` and ``EventSampler.draw``.
        """
        asked = typed(request)
        self._labels(asked)  # refuses a missing n
        check_request(asked, particles, per_year)
        event = reader_of(self._exporter, "event", self.samples.kind)(where, time)
        if time is not None and (per_year is not None or "class" in asked):
            raise LevyError(
                "the time says the season, and comes once per year: leave out the class and the samples per year"
            )
        labels, _, seed = self._read(
            {"n": particles // SYSTEMS} | {k: v for k, v in asked.items() if k in ("class", "seed")}
        )
        if event.label is not None:
            labels = np.full(len(labels), event.label)
        solver = solver_of_events(self._default, asked.get("steps"), asked.get("eta"))
        sampler = EventSampler(self._model, solver, event, labels, BATCH, self._device)
        drawn = sampler.draw(asked["n"], particles, seed, 1.0 if time is not None else per_year)
        about = {"seed": str(seed), "sampler": json.dumps(asdict(solver)), "guidance": "steered particles"}
        folder.mkdir(parents=True, exist_ok=True)
        given = Given(event.text, drawn.times)
        self._exporter.write(
            drawn.samples, drawn.labels, about | drawn.occurrence.about | dict(origin or {}), folder, given
        )
        drawn.occurrence.write(folder)
        return drawn.occurrence

    def _read(self, request: dict[Any, Any]) -> tuple[np.ndarray, Solver, int]:
        """Labels, solver and seed of a request."""
        request = typed(request)
        labels, solver = self._labels(request), self._solver(request)
        if "guide" not in request:
            solver = self._drop_idle_guide(solver, labels)
        seed = request.get("seed", 0)
        if not 0 <= seed < 2**63:
            raise LevyError(f"seed is {seed!r:.40}, but a whole number from 0 to 2**63 - 1 is expected")
        return labels, solver, seed

    def _draw(
        self, labels: np.ndarray, solver: Solver, seed: int, check: Callable[[], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples as the core draws them, and their labels; ``check`` raises where the drawing may not go on."""
        rows = min(limit_of("LEVY_BATCH"), BATCH)
        if len(labels) <= rows:
            check_guide(self._model, solver, labels)  # of a whole batch it would not tell who is wrong
            return self._batches.draw(solver, seed, labels, rows, check), labels
        watch = lambda k, x0: check()
        return draw_samples(self._model, solver, seed, labels, BATCH, self._device, watch=watch), labels

    def _drop_idle_guide(self, solver: Solver, labels: np.ndarray) -> Solver:
        """Samples that all ask for no class are those without the guide that was found for classes, at half the evaluations."""
        return replace(solver, guide="none") if (labels == self.samples.no_class).all() else solver

    def _labels(self, request: dict[Any, Any]) -> np.ndarray:
        """The label of each sample that a request asks for.

        Raises:
            LevyError: both ``class`` and ``classes``, classes that the model does not know, or a number of samples that is missing,
                differs from the sum of the counts, or does not fit into memory.
        """
        name, text, n = request.get("class"), request.get("classes"), request.get("n", 0)
        if name is not None and text is not None:
            raise LevyError(f"class is {name!r} and classes {text!r}: give one of them")
        asked = {name: n} if name is not None else read_classes("training" if text is None else text)
        self.samples.check_asked(asked)
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
        bytes_each = (
            2 * np.dtype(self.samples.dtype).itemsize * math.prod(self.shape)
        )  # twice while batches become one array
        most = psutil.virtual_memory().available // bytes_each
        if n > most:
            raise LevyError(f"n is {n:,}, but the memory that is free holds {most:,} samples: ask for fewer at a time")
        return self.samples.labels_of_counts(asked) if isinstance(asked, dict) else self.samples.labels(asked, 0, n)

    def _solver(self, request: dict[Any, Any]) -> Solver:
        """The best solver for the evaluations that are asked for as steps, else the default, with what the request changes.

        A family without the discretisation of that solver takes ei-noise.
        """
        changes = {key: request[key] for key in SOLVER_KEYS if key in request}
        if "solver" in request:
            changes["family"] = request["solver"]
        start = self._tuned.get(changes.get("steps", 0), self._default)
        if changes.get("steps") in self._tuned and "guide" not in changes:
            changes["steps"] = start.steps  # fewer than the evaluations that it was found for, where it is guided
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

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of a sample."""
        return self._model.shape

    @property
    def samples(self) -> Samples:
        return self._model.samples

    @property
    def evaluations(self) -> int:
        """Network evaluations per sample of the default sampler."""
        return cost(self._model, self._default)

    def draw_default(self, n: int, seed: int, classes: Classes = "training") -> tuple[np.ndarray, np.ndarray]:
        """What the default sampler draws, [n, C, H, W] as ``draw_samples`` gives it, and its labels [n]."""
        labels = self.samples.labels(classes, 0, n)
        solver = self._drop_idle_guide(self._default, labels)
        return draw_samples(self._model, solver, seed, labels, BATCH, self._device), labels
