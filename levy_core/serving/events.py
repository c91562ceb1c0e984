"""Members of a rare event and its probability, from a model and what its exporter knows of the event."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.event import Event
from levy_core.base.seeds import Streams, seed_of
from levy_core.sampling.events import Ensemble, Excess, Measure, check_effective, find_strength
from levy_core.sampling.solver import Solver, StepTable, tabulate
from levy_core.sampling.steering import Potential, Steered, steer
from levy_core.serving.draw import convert_samples
from levy_core.serving.memory import Footprint, Need, rows_of_batch
from levy_core.serving.occurrence import Occurrence, describe

if TYPE_CHECKING:
    from levy_core.training.checkpoint import Model

# of what the network makes, and the particles at the start: the event's cells [n, k] on the CPU
Read = Callable[[Tensor, Tensor], Tensor]
KEYS = ("n", "class", "seed", "steps", "eta")  # of a request
SYSTEMS = 10  # of particles, whose spread is the error
FEWEST_PARTICLES = 20  # of a system
REST = 16  # fields whose rest is drawn at a time, of which the event's cells are kept
STEPS, ETA = 40, 0.5  # with 3m-data on levels even in log rho: Gaussian data come out 1.002 times as wide as they are


def check_request(request: Mapping[str, Any], particles: int, per_year: float | None) -> None:
    """Refuses what an event cannot be asked with, before anything is drawn.

    Raises:
        LevyError: no n, several classes, another sampler than that of particles, too few particles or another number than systems
            share evenly, samples per year that are no positive number.
    """
    if "n" not in request:
        raise LevyError("n is missing: say how many members of the event")
    if "classes" in request:
        raise LevyError(
            f"classes is {request['classes']!r}, but an event is asked of one class, or of all in the proportions of the training data: give "
            "class, or neither"
        )
    if other := [key for key in request if key not in KEYS]:
        raise LevyError(
            f"{other[0]} is given, but events choose nothing of a sampler but steps and eta: particles are sde-e's, whose noise parts copies"
        )
    if particles < SYSTEMS * FEWEST_PARTICLES:
        raise LevyError(
            f"{particles} particles are asked for, but the error is told from {SYSTEMS} systems of at least {FEWEST_PARTICLES}: give at least "
            f"{SYSTEMS * FEWEST_PARTICLES}"
        )
    if left := particles % SYSTEMS:
        raise LevyError(
            f"{particles} particles are asked for, but {SYSTEMS} systems have as many each: give {particles - left} or {particles - left + SYSTEMS}"
        )
    if (n := request["n"]) > particles:
        raise LevyError(
            f"{n} members are asked for from {particles} particles: give more particles, or ask for fewer members"
        )
    if per_year is not None and not 0 < per_year < float("inf"):
        raise LevyError(f"samples per year are {per_year:g}, but must be a positive number")


def solver_of_events(default: Solver, steps: int | None, eta: float | None) -> Solver:
    """A solver that a tail can be trusted to, on the noise levels of a model's default one.

    Raises:
        LevyError: an eta of 0.
    """
    if eta == 0:
        raise LevyError(
            "eta is 0, so that no noise comes back and copies of a particle would stay copies: particles need an eta above 0 to part"
        )
    default = default.unfitted()
    return Solver(
        "sde-e", "3m-data", "uniform-log-rho", STEPS if steps is None else steps, ETA if eta is None else eta,
        rho_max=default.rho_max, rho_min=default.rho_min, denoise=True,
    )  # fmt: skip


def need_of_particles(footprint: Footprint, model: "Model", n: int, particles: int, solver: Solver) -> Need:
    """Memory of a system of particles at a time, those of all systems that are inside the event, and n members of it."""
    of_system = particles // SYSTEMS
    members = n * footprint.kept + (n + REST) * footprint.decoded
    inside = 4 * SYSTEMS * math.prod(model.net.shape)
    each = footprint.network(solver)
    kept = inside + footprint.states(solver) + members // of_system
    return Need(of_system, kept, min(of_system, rows_of_batch(each)), each)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Members of an event: samples [n, C, H, W] as the core draws them, labels [n], times [n] or None; and how probable it is."""

    samples: np.ndarray
    labels: np.ndarray
    times: np.ndarray | None
    occurrence: Occurrence


@dataclass(frozen=True, eq=False)
class EventSampler:
    """Particles of a model that are steered towards an event.

    Attributes:
        solver: of the particles. default: the model's own, to be named beside it.
        labels: int64 [particles], of all systems: system s has those from s on in steps of ``SYSTEMS``, and so days of its own.
        batch: particles in one network evaluation.
    """

    model: "Model"
    solver: Solver
    default: Solver
    event: Event
    labels: np.ndarray
    batch: int
    device: torch.device

    @cached_property
    def _table(self) -> StepTable:
        return tabulate(self.solver, self.model.design.schedule)

    @cached_property
    def _times(self) -> np.ndarray | None:
        return self.event.times(self.labels)

    @property
    def _sign(self) -> float:
        return 1.0 if self.event.above else -1.0

    @property
    def _level(self) -> float:
        return self._sign * self.event.threshold

    def draw(self, n: int, seed: int, per_year: float | None) -> Drawn:
        """Estimates the event's probability, and draws n different members.

        Args:
            per_year: independent samples in a year; None: unknown.

        Raises:
            LevyError: an event that cannot be reached, or rests on too small an effective sample size.
        """
        level = float(self._sign * self.event.scale(np.array(self.event.threshold)))
        pilot = lambda potential, number: self._steer(potential, seed_of(seed, "pilot", number), 0)
        of_pilots = self._measure(self._reader(seed_of(seed, "pilot"), 0), 0, scaled=True)
        strength, pilots = find_strength(pilot, of_pilots, level)
        inside, values, weights, start = [], [], [], []
        for number in range(SYSTEMS):
            read = self._reader(seed, number)
            system = self._steer(Excess(self._measure(read, number, scaled=True), level, strength), seed, number)
            values.append(self._measure(read, number)(system.samples, system.start))
            inside.append(system.samples[values[-1] > self._level])  # no other is kept: they may be large
            weights.append(system.log_weights)
            start.append(system.start)
        ensemble = Ensemble(torch.stack(values), torch.stack(weights), torch.stack(start))
        check_effective(ensemble.exceedance(self._level), len(self.labels))
        system_of, row = ensemble.choose(self._level, n, seed)
        place = (ensemble.values > self._level).cumsum(1)[system_of, row] - 1
        samples = torch.stack([inside[s][i] for s, i in zip(system_of.tolist(), place.tolist(), strict=True)])
        came = (ensemble.start[system_of, row] * SYSTEMS + system_of).numpy()  # samples, as of ``_indices``
        if latent := self.model.latent:
            samples = latent.decode(samples) + latent.draw_rest(Streams.of_samples(seed, "rest", came.tolist()))
        occurrence = describe(
            self.event,
            ensemble,
            self._level,
            per_year,
            strength,
            pilots,
            (self.solver, self.default),
            n,
            len(np.unique(came)),
        )
        times = None if self._times is None else self._times[came]
        return Drawn(convert_samples(self.model, samples.numpy()), self.labels[came], times, occurrence)

    def _indices(self, system: int) -> range:
        """Of the samples that start where the particles of a system do."""
        return range(system, len(self.labels), SYSTEMS)

    def _steer(self, potential: Potential, seed: int, system: int) -> Steered:
        return steer(
            self.model.predictor, self._table, self.model.design.noise, potential, seed, self._indices(system),
            self.model.net.shape, self.model.samples.condition(self.labels[system::SYSTEMS]), batch=self.batch, device=self.device,
        )  # fmt: skip

    def _reader(self, seed: int, system: int) -> Read:
        """The event's cells of samples, from what the network makes of a system's particles, which keep the rest of where they start."""
        latent, cells = self.model.latent, torch.from_numpy(self.event.cells)
        if latent is None:
            return lambda x0, start: x0.flatten(1)[:, cells].cpu()
        here, indices = latent.at(cells), self._indices(system)
        parts = [Streams.of_samples(seed, "rest", indices[k : k + REST]) for k in range(0, len(indices), REST)]
        rest = torch.cat([latent.draw_rest(part).flatten(1)[:, cells] for part in parts])
        return lambda x0, start: here.decode(x0.cpu()) + rest[start]

    def _measure(self, read: Read, system: int, scaled: bool = False) -> Measure:
        """In physical units, or on the scale on which particles are steered; with the other sign of an event below."""
        number_of = self.event.measure(None if self._times is None else self._times[system::SYSTEMS])

        def measure(x0: Tensor, start: Tensor) -> Tensor:
            parts = zip(x0.split(self.batch), start.split(self.batch), strict=True)
            numbers = np.concatenate([number_of(read(x, which).numpy(), which.numpy()) for x, which in parts])
            return torch.from_numpy(self._sign * (self.event.scale(numbers) if scaled else numbers))

        return measure
