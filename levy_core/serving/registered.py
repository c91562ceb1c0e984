"""The registered model: MLflow's loader module. It is code of the installed package; the artifact holds safetensors and JSON only.

mlflow.pyfunc.load_model("models:/levy-digits@champion").predict({"n": 16, "class": "9", "seed": 0})
"""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from levy_core.base.errors import LevyError
from levy_core.base.event import Given
from levy_core.base.files import ready
from levy_core.base.samples import Classes, Samples
from levy_core.observations.kept import read_covariance
from levy_core.sampling.solver import Solver
from levy_core.serving.batching import Batches
from levy_core.serving.draw import check_fitted, check_guide, cost, draw_observed, draw_samples, draw_together
from levy_core.serving.events import REST, SYSTEMS, EventSampler, check_request, solver_of_events
from levy_core.serving.exporters import Exporter, exporter_of, reader_of
from levy_core.serving.memory import Footprint, Need, rows_of_batch
from levy_core.serving.occurrence import Occurrence
from levy_core.serving.reading import SOLVER_KEYS, Reader, read_samplers, without_idle_guide
from levy_core.serving.requests import check_limit, check_steps, limit_of, typed
from levy_core.serving.workload import Workload
from levy_core.training.checkpoint import load_model

INFILL_STEPS = 10  # at least: at five a posterior is 1.2 times as wide as it should be, at ten 1.1


def _load_pyfunc(path: str) -> "RegisteredModel":
    return RegisteredModel(Path(path))


class RegisteredModel:
    """A model that draws samples on request.

    Raises:
        LevyError: as ``load_model``; the samplers cannot be read, or were fitted to another model.
    """

    def __init__(self, folder: Path):
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        default, tuned = read_samplers(folder)
        self._model = load_model(folder, self._device)
        check_fitted(tuned.values(), folder)
        self._reader = Reader(self._model.samples, self._model.shape, default, tuned)
        self.workload, self._folder = Workload(), folder
        self._footprint = Footprint(self._model, self._device)
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
                labels, solver, seed = self._reader.read(
                    {k: v for k, v in row.items() if not (pd.api.types.is_scalar(v) and pd.isna(v))}
                )
                values += len(labels) * math.prod(self.shape)
                check_limit("LEVY_MAX_VALUES", values)
                check_limit("LEVY_MAX_STEPS", solver.steps)
                evaluations += len(labels) * cost(self._model, solver)
                check_limit("LEVY_MAX_EVALUATIONS", evaluations)
                asked.append((labels, solver, seed))
            needs = [self._need(len(labels), solver) for labels, solver, _ in asked]
            dearest, n = max(needs, key=lambda need: need.rows * need.each), sum(need.n for need in needs)
            draw = lambda: np.concatenate([self._exporter.array(*self._draw(*row, drawing.check)) for row in asked])
            with self._memory(replace(dearest, n=n)):
                return self.workload.answer(values, draw)

    def write(self, request: dict[str, Any], folder: Path, origin: Mapping[str, str] | None = None) -> str:
        """Draws one request into files of a folder, and says which.

        Args:
            origin: what is known of where the model comes from, for files that keep provenance.

        Raises:
            LevyError: as ``predict``; the folder cannot be written to.
        """
        labels, solver, seed = self._reader.read(request)
        check_steps(solver.steps)
        guided = "none" if solver.guide == "none" else f"{solver.guide}, strength {solver.strength:g}"
        drawn = {"seed": str(seed), "sampler": json.dumps(asdict(solver)), "guidance": guided, **(origin or {})}
        with self._memory(need := self._need(len(labels), solver)), ready(folder):
            samples = draw_samples(self._model, solver, seed, labels, need.rows, self._device)
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
            LevyError: as ``predict``; as the exporter's ``read_observed``; a guide that lacks what it needs; the folder cannot be written to.
        """
        if chosen := [key for key in ("solver", *SOLVER_KEYS) if key in request and key != "steps"]:
            raise LevyError(f"{chosen[0]} is given, but samples that agree with observations choose nothing but steps")
        observed = reader_of(self._exporter, "observed", self.samples.kind)(observe, std, means, time)
        needed = guide == "interpolation" and not self._model.latent
        covariance = read_covariance(self._folder) if needed else None
        labels, _, seed = self._reader.read(request)
        if observed.label is not None:
            labels = np.full(len(labels), observed.label)
        solver = replace(
            self._reader.default.unfitted(), family="ode", discretisation="2m-data", eta=0.0, guide="none", denoise=True, boost=1.0,
            steps=request.get("steps", max(INFILL_STEPS, self._reader.default.steps)),
        )  # fmt: skip
        check_steps(solver.steps)
        drawn = {"seed": str(seed), "sampler": json.dumps(asdict(solver)), "guidance": guide, **(origin or {})}
        given = Given(observed.text, None if observed.time is None else np.full(len(labels), observed.time))
        with self._memory(need := self._need(len(labels), solver, guide)), ready(folder):
            samples = draw_observed(
                self._model, solver, seed, labels, need.rows, self._device, observed, guide, covariance
            )
            return f"{self._exporter.write(samples, labels, drawn, folder, given)}, given {observed.text}"

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
            LevyError: as ``predict``; as the exporter's ``read_event``; as ``check_request`` and ``EventSampler.draw``; the folder
                cannot be written to.
        """
        asked = typed(request)
        check_request(asked, particles, per_year)
        self._reader.check_memory(particles // SYSTEMS, f"{particles:,} particles are asked for")
        check_steps(asked.get("steps", 0))
        *_, seed = self._reader.read({k: v for k, v in asked.items() if k in ("n", "class", "seed")})
        event = reader_of(self._exporter, "event", self.samples.kind)(where, time)
        if time is not None and (per_year is not None or "class" in asked):
            raise LevyError(
                "the time says the season, and comes once per year: leave out the class and the samples per year"
            )
        if event.label is not None:
            labels = np.full(particles, event.label)
        elif "class" in asked:
            labels = self.samples.labels_of_counts({asked["class"]: particles})
        else:
            labels = self.samples.usual_labels(0, particles)
        solver = solver_of_events(self._reader.default, asked.get("steps"), asked.get("eta"))
        about = {"seed": str(seed), "sampler": json.dumps(asdict(solver)), "guidance": "steered particles"}
        need = self._need_of_particles(asked["n"], particles, solver)
        with self.workload.memory(need, f"{particles:,} particles are asked for", self._device), ready(folder):
            sampler = EventSampler(self._model, solver, event, labels, need.rows, self._device)
            drawn = sampler.draw(asked["n"], seed, 1.0 if time is not None else per_year)
            about |= drawn.occurrence.about | dict(origin or {})
            self._exporter.write(drawn.samples, drawn.labels, about, folder, Given(event.text, drawn.times))
            drawn.occurrence.write(folder)
        return drawn.occurrence

    def _draw(
        self, labels: np.ndarray, solver: Solver, seed: int, check: Callable[[], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples as the core draws them, and their labels; ``check`` raises where the drawing may not go on."""
        most = rows_of_batch(self._footprint.each(solver))
        joined = min(limit_of("LEVY_BATCH"), most)
        if len(labels) <= joined:
            check_guide(self._model, solver, labels)  # of a whole batch it would not tell who is wrong
            return self._batches.draw(solver, seed, labels, joined, check), labels
        watch = lambda k, x0: check()
        return draw_samples(self._model, solver, seed, labels, most, self._device, watch=watch), labels

    def _need(self, n: int, solver: Solver, guide: str | None = None) -> Need:
        each = self._footprint.each(solver, guide)
        return Need(n, self._footprint.kept, min(n, rows_of_batch(each)), each)

    def _need_of_particles(self, n: int, particles: int, solver: Solver) -> Need:
        """Of a system of particles at a time, those of all systems that are inside the event, and n members of it."""
        footprint, of_system = self._footprint, particles // SYSTEMS
        members = n * footprint.kept + (n + REST) * footprint.decoded
        inside = 4 * SYSTEMS * math.prod(self._model.net.shape)
        each = footprint.network(solver)
        kept = inside + footprint.states(solver) + members // of_system
        return Need(of_system, kept, min(of_system, rows_of_batch(each)), each)

    def _memory(self, need: Need) -> AbstractContextManager[None]:
        return self.workload.memory(need, f"n is {need.n:,}", self._device)

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
        return cost(self._model, self._reader.default)

    def draw_default(self, n: int, seed: int, classes: Classes = "training") -> tuple[np.ndarray, np.ndarray]:
        """What the default sampler draws, [n, C, H, W] as ``draw_samples`` gives it, and its labels [n]."""
        labels = self.samples.labels(classes, 0, n)
        solver = without_idle_guide(self._reader.default, self.samples, labels)
        rows = rows_of_batch(self._footprint.each(solver))
        return draw_samples(self._model, solver, seed, labels, rows, self._device), labels
