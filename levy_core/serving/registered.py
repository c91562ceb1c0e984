"""The registered model: MLflow's loader module. It is code of the installed package; the artifact holds safetensors and JSON only.

mlflow.pyfunc.load_model("models:/levy-digits@champion").predict({"n": 16, "class": "9", "seed": 0})
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from levy_core.base.errors import LevyError
from levy_core.base.observed import Observed
from levy_core.base.samples import Classes, Samples
from levy_core.base.typed import mapping, text
from levy_core.observations.covariance import Covariance
from levy_core.observations.kept import keeps_covariance, read_covariance
from levy_core.serving.asked import GUIDE, Asked, Towards, cost_of, need_of
from levy_core.serving.batching import Batches
from levy_core.serving.draw import (
    check_fitted,
    check_guide,
    cost,
    draw_samples,
    draw_slices,
    draw_together,
)  # fmt: skip
from levy_core.serving.event_requests import PARTICLES, EventRequests, Question
from levy_core.serving.exporters import Exporter, exporter_of, reader_of
from levy_core.serving.given import draw_given
from levy_core.serving.memory import Footprint, Need, rows_of_batch
from levy_core.serving.occurrence import Occurrence
from levy_core.serving.outputs import output_folder
from levy_core.serving.reading import Reader, read_samplers, without_idle_guide
from levy_core.serving.requests import check_limit, check_steps, limit_of
from levy_core.serving.workload import Drawing, Workload
from levy_core.training.checkpoint import load_model


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
        self._events = EventRequests(
            self._model, folder, self._reader, self._exporter, self._footprint, self.workload, self._device
        )

    def get_raw_model(self) -> "RegisteredModel":
        """This object, for MLflow's method of this name."""
        return self

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray | dict[str, Any]:
        """Images, uint8 [N, H, W, C], or fields in physical units, float32 [N, C, H, W]; one block per request row.

        Of an event the numbers of ``Occurrence`` beside ``samples``, its members.

        Args:
            model_input: rows with ``n``, and optionally ``class`` (the name of one) or ``classes`` (``training``, the proportions of
                the training data and what is drawn without either; ``balanced``; ``none``; or counts such as ``8=10,9=5``, which
                say ``n``, too), ``seed`` (0), ``solver``, ``discretisation``, ``grid``, ``steps``, ``eta``, ``guide``, ``strength``,
                ``guide_rho_max``, ``guide_rho_min``, ``boost``. Without a sampler the default one draws; with ``steps`` alone the best one found
                for so many evaluations. With ``observed`` samples agree with what it says: an object as the exporter's
                ``parse_observed`` reads it, and ``guide`` towards it; of a sampler they choose nothing but ``steps``. With ``event``, an object
                with ``where`` and perhaps what else ``Question`` has, members of a rare event are drawn; such a row comes alone.

        Raises:
            LevyError: classes that the model does not know or that do not go with ``n``, an unknown solver, a value of another type,
                a number out of range, or more work than the limits of ``levy_core.serving.requests`` allow: before any of it is drawn.
                Or what ``levy_core.serving.workload`` finds out while it is drawn, after the network evaluation that is under way.
        """
        import pandas as pd  # half a second, which `write` does without

        if isinstance(model_input, Mapping) and all(
            isinstance(value, str | Mapping) or pd.api.types.is_scalar(value) for value in model_input.values()
        ):
            model_input = [model_input]  # a row, of whose inner keys pandas would make columns
        if isinstance(model_input, list) and all(isinstance(row, Mapping) for row in model_input):
            rows = [dict(row) for row in model_input]
        else:
            rows = pd.DataFrame(model_input).to_dict("records")
        if not rows:
            raise LevyError("the request has no row: give at least one, such as {'n': 16}")
        known = lambda value: not (pd.api.types.is_scalar(value) and pd.isna(value))
        requests: list[dict[str, Any]] = [{str(k): v for k, v in row.items() if known(v)} for row in rows]
        asked, evaluations, values = [], 0, 0
        with self.workload.drawing() as drawing:
            if any("event" in row for row in requests):
                return self._answer_event(requests, drawing)
            for row in requests:
                drawing.check()
                one = self._read(row)
                values += len(one) * math.prod(self.shape)
                check_limit("LEVY_MAX_VALUES", values)
                check_limit("LEVY_MAX_STEPS", one.solver.steps)
                evaluations += len(one) * cost_of(self._model, one)
                check_limit("LEVY_MAX_EVALUATIONS", evaluations)
                asked.append(one)
            needs = [need_of(self._footprint, one) for one in asked]
            dearest, n = max(needs, key=lambda need: need.rows * need.each + need.once), sum(need.n for need in needs)
            draw = lambda: np.concatenate([self._array(one, drawing.check) for one in asked])
            with self._memory(replace(dearest, n=n)):
                for one in asked:
                    one.prepare()
                return self.workload.answer(values, draw)

    def write(self, request: dict[str, Any], folder: Path, origin: Mapping[str, str] | None = None) -> str:
        """Draws one request into files of a folder, and says which.

        Args:
            origin: what is known of where the model comes from, for files that keep provenance.

        Raises:
            LevyError: as ``predict``; the folder cannot be written to.
        """
        asked = Asked(*self._reader.read(request))
        labels, solver, seed = asked.labels, asked.solver, asked.seed
        check_steps(solver.steps)
        guided = "none" if solver.guide == "none" else f"{solver.guide}, strength {solver.strength:g}"
        drawn = {"seed": str(seed), "sampler": json.dumps(asdict(solver)), "guidance": guided, **(origin or {})}
        with self._memory(need := need_of(self._footprint, asked)), output_folder(folder, drawn) as part:
            samples = draw_samples(self._model, solver, seed, labels, need.rows, self._device)
            written = f"{self._exporter.write(samples, labels, drawn, part)} in {folder}"
        return f"{written}: {self.samples.describe(labels)}" if len(self.samples.classes) > 1 else written

    def infill(
        self,
        request: dict[str, Any],
        observe: Path,
        folder: Path,
        std: Mapping[str, float],
        means: bool = False,
        time: str | None = None,
        guide: str = GUIDE,
        origin: Mapping[str, str] | None = None,
        truth: Path | None = None,
    ) -> str:
        """Draws samples that agree with observed values into files of a folder, and says which.

        Args:
            request: as of ``predict``, with ``steps`` and no more of a sampler; a class is not needed where the observation says the season.
            observe, std, means, time: what was observed, as the kind of the samples reads it. guide: towards it.
            truth: a file of true values, by which those that were not observed are judged, in ``judged.json``.

        Raises:
            LevyError: as ``Reader.read_given``; as the exporter's ``read_observed`` and ``read_truth``; a guide that lacks what it needs;
                the folder cannot be written to.
        """
        observed = reader_of(self._exporter, "read_observed", self.samples.kind)(observe, std, means, time)
        true = None if truth is None else self._read_truth(truth, observed)
        asked = self._asked_given(request, observed, guide)
        check_steps(asked.solver.steps)
        drawn = {
            "seed": str(asked.seed),
            "sampler": json.dumps(asdict(asked.solver)),
            "guidance": guide,
            **(origin or {}),
        }
        with self._memory(need_of(self._footprint, asked)), output_folder(folder, drawn) as part:
            samples = self._draw(asked, lambda: None)
            written = self._exporter.write(samples, asked.labels, drawn, part, asked.given)
            said = f"{written} in {folder}, given {observed.text}"
            return said if true is None else f"{said}\n{self._judge(samples, asked, true, truth, part)}"

    def event(
        self,
        request: dict[str, Any],
        where: str,
        folder: Path,
        particles: int = PARTICLES,
        time: str | None = None,
        per_year: float | None = None,
        origin: Mapping[str, str] | None = None,
    ) -> Occurrence:
        """Draws members of a rare event into files of a folder, beside ``event.json`` and ``thresholds.csv``, and says how probable it is.

        Args:
            request: ``n``, and optionally ``class``, ``seed``, ``steps`` and ``eta``, as of ``predict``.
            where, particles, time, per_year: see ``Question``.

        Raises:
            LevyError: as ``EventRequests.read`` and ``EventRequests.write``.
        """
        return self._events.write(
            self._events.read(request, Question(where, particles, time, per_year)), folder, origin
        )

    def _read(self, request: dict[str, Any]) -> Asked:
        if "observed" not in request:
            return Asked(*self._reader.read(request))
        described = mapping("observed", request["observed"])
        guide = text("observed.guide", described.pop("guide", GUIDE))
        observed = reader_of(self._exporter, "parse_observed", self.samples.kind)(described)
        check_limit("LEVY_MAX_OBSERVED", len(observed.values))
        return self._asked_given({k: v for k, v in request.items() if k != "observed"}, observed, guide)

    def _answer_event(self, rows: list[dict[str, Any]], drawing: Drawing) -> dict[str, Any]:
        if len(rows) > 1:
            raise LevyError(f"an event is asked for in one of {len(rows)} rows: ask for it in a request of its own")
        request = {key: value for key, value in rows[0].items() if key != "event"}
        asked = self._events.read(request, Question.parse(rows[0]["event"]))
        check_limit("LEVY_MAX_VALUES", values := asked.n * math.prod(self.shape))
        check_limit("LEVY_MAX_STEPS", asked.solver.steps)
        check_limit("LEVY_MAX_EVALUATIONS", self._events.evaluations(asked))
        return self._events.answer(asked, values, drawing.check)

    def _asked_given(self, request: dict[str, Any], observed: Observed, guide: str) -> Asked:
        labels, solver, seed = self._reader.read_given(request, observed.label)
        needed = guide == "interpolation" and not self._model.latent
        covariance = self._covariance if needed else None
        return Asked(labels, solver, seed, Towards(self._model, observed, guide, covariance))

    def _read_truth(self, path: Path, observed: Observed) -> Observed:
        from levy_core.serving.judging import check_truth

        truth: Observed = reader_of(self._exporter, "read_truth", self.samples.kind)(path, observed.time)
        check_truth(observed, truth, str(path))
        return truth

    def _judge(self, samples: np.ndarray, asked: Asked, true: Observed, truth: Path | None, folder: Path) -> str:
        from levy_core.serving.judging import judge_asked  # xarray, scipy and scores, for whoever judges

        known = self._covariance if keeps_covariance(self._folder) else None
        judgement = judge_asked(self._model, asked, samples, known, true, str(truth))
        judgement.write(folder)
        return str(judgement)

    @cached_property
    def _covariance(self) -> Covariance:
        return read_covariance(self._folder)

    def _array(self, asked: Asked, check: Callable[[], None]) -> np.ndarray:
        samples, given = self._draw(asked, check), () if asked.given is None else (asked.given,)
        return self._exporter.array(samples, asked.labels, *given)

    def _draw(self, asked: Asked, check: Callable[[], None]) -> np.ndarray:
        """Samples as the core draws them; ``check`` raises where the drawing may not go on."""
        labels, solver, seed, towards = asked.labels, asked.solver, asked.seed, asked.towards
        most, watch = need_of(self._footprint, asked).rows, lambda k, x0: check()
        if towards is not None:
            return draw_given(
                self._model, solver, seed, labels, most, self._device, towards.observation, towards.guide, towards.covariance, watch
            )  # fmt: skip
        joined = min(limit_of("LEVY_BATCH"), rows_of_batch(self._footprint.each(solver)))
        if len(labels) <= joined:
            check_guide(self._model, solver, labels)  # of a whole batch it would not tell who is wrong
            return self._batches.draw(solver, seed, labels, joined, check)
        return draw_samples(self._model, solver, seed, labels, most, self._device, watch=watch)

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

    def draw_default(self, n: int, seed: int, classes: Classes = "training") -> tuple[Iterator[np.ndarray], np.ndarray]:
        """What the default sampler draws, [n, C, H, W] in slices as ``draw_slices`` gives it, and its labels [n]."""
        labels = self.samples.labels(classes, 0, n)
        solver = without_idle_guide(self._reader.default, self.samples, labels)
        rows = rows_of_batch(self._footprint.each(solver))
        return draw_slices(self._model, solver, seed, labels, rows, self._device), labels
