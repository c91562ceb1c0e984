"""What is asked of a rare event, and what answers it: files for a person, or an object for a request."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from levy_core.base.errors import LevyError
from levy_core.base.event import Classify, Event, Given
from levy_core.base.typed import mapping, real, text, whole
from levy_core.sampling.events import PILOTS
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import cost
from levy_core.serving.events import SYSTEMS, Drawn, EventSampler, check_request, need_of_particles, solver_of_events
from levy_core.serving.exporters import Exporter, reader_of
from levy_core.serving.memory import Footprint
from levy_core.serving.occurrence import Occurrence
from levy_core.serving.outputs import output_folder
from levy_core.serving.reading import Reader
from levy_core.serving.requests import MEASURED_BY, check_steps, typed
from levy_core.serving.workload import Workload

if TYPE_CHECKING:
    from levy_core.metrics.images.classifier import Classifier
    from levy_core.training.checkpoint import Model

PARTICLES = 2000
CLASSIFIER = Path(MEASURED_BY) / "classifier"  # in the folder of a registered model


@dataclass(frozen=True)
class Question:
    """An event in words, and how it is looked for.

    Attributes:
        where: the words, as the kind of the samples reads them. particles: of all systems together.
        time: the moment of the year that is asked about; a year then has one independent sample.
        per_year: how many independent samples a year has; None: return periods are in samples only.
    """

    where: str
    particles: int = PARTICLES
    time: str | None = None
    per_year: float | None = None

    @classmethod
    def parse(cls, described: Any) -> "Question":
        """The object ``event`` of a request.

        Raises:
            LevyError: no words, another key, or a value of another type.
        """
        said = mapping("event", described, tuple(READERS))
        if said.get("where") is None:
            raise LevyError("event has no where: say in words what happens, such as 't2m at 51.5,-0.1 > 38 degC'")
        read: dict[str, Any] = {key: READERS[key](f"event.{key}", said[key]) for key in said if said[key] is not None}
        return cls(**read)


READERS = {"where": text, "particles": whole, "time": text, "per_year": real}


@dataclass(frozen=True, eq=False)
class AskedEvent:
    """Members of an event that particles with labels [particles] find, with a seed; ``classifier`` and ``undecidable`` as of ``Occurrence``."""

    event: Event
    labels: np.ndarray
    solver: Solver
    seed: int
    n: int
    per_year: float | None
    classifier: str = ""
    undecidable: str = ""


@dataclass(frozen=True, eq=False)
class EventRequests:
    """Answers what is asked of a model's events; ``folder`` is the model's."""

    model: "Model"
    folder: Path
    reader: Reader
    exporter: Exporter
    footprint: Footprint
    workload: Workload
    device: torch.device

    def read(self, request: Mapping[str, Any], question: Question) -> AskedEvent:
        """What is asked for, before anything is drawn.

        Args:
            request: ``n``, and optionally ``class``, ``seed``, ``steps`` and ``eta``, as of ``RegisteredModel.predict``.

        Raises:
            LevyError: as ``check_request`` and ``Reader.read``; as the exporter's ``read_event``; samples per year of what has no time, or
                beside a time.
        """
        asked, samples, particles = typed(request), self.model.samples, question.particles
        check_request(asked, particles, question.per_year)
        self.reader.check_memory(particles // SYSTEMS, f"{particles:,} particles are asked for")
        check_steps(asked.get("steps", 0))
        *_, seed = self.reader.read({k: v for k, v in asked.items() if k in ("n", "class", "seed")})
        event = reader_of(self.exporter, "read_event", samples.kind)(question.where, question.time, self._classify)
        if question.per_year is not None and not event.recurs:
            raise LevyError(
                "samples per year are given, but these samples have no time, and nothing returns: leave them out"
            )
        if question.time is not None and (question.per_year is not None or "class" in asked):
            raise LevyError(
                "the time says the season, and comes once per year: leave out the class and the samples per year"
            )
        if event.label is not None:
            labels = np.full(particles, event.label)
        elif "class" in asked:
            labels = samples.labels_of_counts({asked["class"]: particles})
        else:
            labels = samples.usual_labels(0, particles)
        solver = solver_of_events(self.reader.default, asked.get("steps"), asked.get("eta"))
        per_year = 1.0 if question.time is not None else question.per_year
        checked = ("", "") if event.told is None else self._check(event.told)
        return AskedEvent(event, labels, solver, seed, asked["n"], per_year, *checked)

    def evaluations(self, asked: AskedEvent) -> int:
        """Network evaluations, at most: of all systems, and of as many pilots as there may be."""
        return (SYSTEMS + PILOTS) * len(asked.labels) // SYSTEMS * cost(self.model, asked.solver)

    def write(self, asked: AskedEvent, folder: Path, origin: Mapping[str, str] | None) -> Occurrence:
        """Files of the members, ``event.json`` and ``thresholds.csv``.

        Raises:
            LevyError: too little memory; as ``EventSampler.draw``; the folder cannot be written to.
        """
        about = {
            "seed": str(asked.seed),
            "sampler": json.dumps(asdict(asked.solver)),
            "guidance": "steered particles",
        }
        with output_folder(folder, about) as part:
            drawn = self._draw(asked, lambda: None)
            about |= drawn.occurrence.about | dict(origin or {})
            self.exporter.write(drawn.samples, drawn.labels, about, part, Given(asked.event.text, drawn.times))
            drawn.occurrence.write(part)
        return drawn.occurrence

    def answer(self, asked: AskedEvent, values: int, check: Callable[[], None]) -> dict[str, Any]:
        """What ``event.json`` has, and ``samples``, the members as the exporter gives arrays.

        Args:
            values: of all members. check: raises where the drawing may not go on.

        Raises:
            LevyError: as ``write``, and as ``Workload.answer``.
        """
        found = list[Occurrence]()

        def draw() -> np.ndarray:
            drawn = self._draw(asked, check)
            found.append(drawn.occurrence)
            return self.exporter.array(drawn.samples, drawn.labels, Given(asked.event.text, drawn.times))

        samples = self.workload.answer(values, draw)
        return {"samples": samples, **asdict(found[0])}

    def _draw(self, asked: AskedEvent, check: Callable[[], None]) -> Drawn:
        particles = len(asked.labels)
        need = need_of_particles(self.footprint, self.model, asked.n, particles, asked.solver)
        watched = replace(asked.event, measure=lambda times: _watched(asked.event.measure(times), check))
        with self.workload.memory(need, f"{particles:,} particles are asked for", self.device):
            sampler = EventSampler(
                self.model, asked.solver, self.reader.default, watched, asked.labels, need.rows, self.device
            )
            drawn = sampler.draw(asked.n, asked.seed, asked.per_year)
        occurrence = replace(drawn.occurrence, classifier=asked.classifier, undecidable=asked.undecidable)
        return replace(drawn, occurrence=occurrence)

    def _classify(self) -> Classify:
        """What tells the model's classes apart.

        Raises:
            LevyError: the model keeps nothing that does, or it is damaged.
        """
        from levy_core.metrics.images.classifier import load_classifier, log_probabilities

        folder, classes = self.folder / CLASSIFIER, self.model.samples.classes
        if not folder.exists():
            raise LevyError(
                "the model keeps no classifier, which events of a class need (it was registered by an earlier levy): run `levy run` again, ask "
                "for samples of a class by its name, or for a measure of pixels"
            )
        net: Classifier = load_classifier(folder).to(self.device)
        if net.config["classes"] != len(classes):
            raise LevyError(f"{folder} tells {net.config['classes']} classes apart, but the model has {len(classes)}")
        return lambda image: log_probabilities(net, image)

    def _check(self, number: int) -> tuple[str, str]:
        """How far the classifier is right about a class, or why nobody knows."""
        from levy_core.metrics.images.classifier import describe_classifier
        from levy_core.metrics.images.decidable import describe_check, explain_class

        checks = describe_classifier(self.folder / CLASSIFIER).checks
        check = checks[number] if checks and number < len(checks) else None
        why = explain_class(check)
        return describe_check(check) if check and not why else "", why


def _watched(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray], check: Callable[[], None]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def of(values: np.ndarray, which: np.ndarray) -> np.ndarray:
        check()
        return measure(values, which)

    return of
