"""Members of a rare event, its probability and its return period, from a model and what its exporter knows of the event."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.event import Event
from levy_core.base.files import replacing, write_json
from levy_core.base.seeds import Streams, seed_of
from levy_core.sampling.events import SHARE, Ensemble, Excess, Measure, check_effective, find_strength
from levy_core.sampling.solver import Solver, tabulate
from levy_core.sampling.steering import Potential, Steered, check_table, steer

if TYPE_CHECKING:
    from levy_core.training.checkpoint import Model

Read = Callable[
    [Tensor, Tensor], Tensor
]  # of what the network makes, and the particles at the start: samples on the CPU
SYSTEMS = 10  # of particles, whose spread is the error
FEWEST_PARTICLES = 20  # of a system
STEPS, ETA = 40, 0.5  # with 3m-data on levels even in log rho: Gaussian data come out 1.002 times as wide as they are


@dataclass(frozen=True)
class Occurrence:
    """How probable an event is.

    Attributes:
        event: in words. probability: that it happens in one sample, without bias. low, high: its interval.
        return_period: in independent samples, 1 / probability. return_low, return_high: its interval.
        samples_per_year: how many independent samples a year is taken to have; None: unknown.
        return_years: the return period in years, low and high; None where samples per year are unknown.
        effective: effective sample size, by the particles at the start. particles: drawn beside the pilots'. pilots: how many there were.
        strength: of the potential, in 1 / units. members: in the file. starts: of how many particles at the start they come.
        thresholds: of other levels the same: threshold, probability, low, high, return_period, effective.
    """

    event: str
    units: str
    probability: float
    low: float
    high: float
    return_period: float
    return_low: float
    return_high: float
    samples_per_year: float | None
    return_years: tuple[float, float, float] | None
    effective: float
    particles: int
    pilots: int
    strength: float
    members: int
    starts: int
    thresholds: list[dict[str, float]]

    def __str__(self) -> str:
        lines = [
            f"P({self.event}) = {self.probability:.3g} per sample ({SHARE:.0%} interval {self.low:.3g} to {self.high:.3g})",
            f"return period: {self.return_period:,.4g} independent samples ({self.return_low:,.4g} to {self.return_high:,.4g})",
        ]
        if self.return_years is not None:
            years, low, high = self.return_years
            lines.append(
                f"             = {years:,.4g} years ({low:,.4g} to {high:,.4g}), if a year has {self.samples_per_year:g} independent samples"
            )
        lines.append(
            f"effective sample size: {self.effective:.0f} of {self.particles} particles; {self.members} members come from {self.starts} of them"
        )
        table = pd.DataFrame(self.thresholds).to_string(index=False, float_format=lambda value: f"{value:.4g}")
        return "\n".join([*lines, f"other thresholds, in {self.units}:", table])

    def write(self, folder: Path) -> None:
        """``event.json`` and ``thresholds.csv``."""
        write_json(folder / "event.json", asdict(self))
        with replacing(folder / "thresholds.csv") as temporary:
            pd.DataFrame(self.thresholds).to_csv(temporary, index=False)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Members of an event: samples [n, C, H, W] as the network has them, labels [n], times [n] or None; and how probable it is."""

    samples: np.ndarray
    labels: np.ndarray
    times: np.ndarray | None
    occurrence: Occurrence


def solver_of_events(default: Solver, steps: int | None, eta: float | None) -> Solver:
    """A solver that a tail can be trusted to, on the noise levels of a model's default one.

    Raises:
        LevyError: an eta of 0.
    """
    if eta == 0:
        raise LevyError(
            "eta is 0, so that no noise comes back and copies of a particle would stay copies: particles need an eta above 0 to part"
        )
    return Solver(
        "sde-e", "3m-data", "uniform-log-rho", steps or STEPS, ETA if eta is None else eta,
        rho_max=default.rho_max, rho_min=default.rho_min, denoise=True,
    )  # fmt: skip


def draw_event(
    model: "Model",
    solver: Solver,
    event: Event,
    labels: Callable[[int], np.ndarray],
    n: int,
    particles: int,
    seed: int,
    per_year: float | None,
    batch: int,
    device: torch.device,
) -> Drawn:
    """Estimates an event's probability and draws n different members of it.

    Args:
        labels: of so many samples. particles: of all systems together. per_year: independent samples in a year.

    Raises:
        LevyError: too few particles; an event that cannot be reached, or rests on too small an effective sample size.
    """
    size = particles // SYSTEMS
    if size < FEWEST_PARTICLES:
        raise LevyError(
            f"{particles} particles are asked for, but the error is told from {SYSTEMS} systems of at least {FEWEST_PARTICLES}: give at least "
            f"{SYSTEMS * FEWEST_PARTICLES}"
        )
    if per_year is not None and not 0 < per_year < float("inf"):
        raise LevyError(f"samples per year are {per_year:g}, but must be a positive number")
    own = labels(size)
    times = event.times(own)
    number_of = event.measure(times)
    sign = 1.0 if event.above else -1.0
    level = sign * event.threshold
    table = tabulate(solver, model.design.schedule)
    check_table(table)

    def measure_by(read: Read) -> Measure:
        def measure(x0: Tensor, start: Tensor) -> Tensor:
            parts = zip(x0.split(batch), start.split(batch), strict=True)
            return sign * torch.from_numpy(np.concatenate([number_of(read(x, s).numpy(), s.numpy()) for x, s in parts]))

        return measure

    def draw(potential: Potential, seed: int, first: int) -> Steered:
        return steer(
            model.predictor, table, model.design.noise, potential, seed, range(first, first + size), model.net.shape,
            model.samples.condition(own), batch=batch, device=device,
        )  # fmt: skip

    pilot = lambda potential, number: draw(potential, seed_of(seed, "pilot", number), 0)
    strength, pilots = find_strength(pilot, measure_by(_reader(model, seed_of(seed, "pilot"), range(size))), level)
    members, values, log_weights, start = [], [], [], []
    for number in range(SYSTEMS):
        read = _reader(model, seed, range(number * size, (number + 1) * size))
        measure = measure_by(read)
        system = draw(Excess(measure, level, strength), seed, number * size)
        values.append(measure(system.samples, system.start))
        happens = values[-1] > level
        members.append(
            read(system.samples[happens], system.start[happens])
        )  # what is not in the event need not be kept
        log_weights.append(system.log_weights)
        start.append(system.start)
    ensemble = Ensemble(torch.stack(values), torch.stack(log_weights), torch.stack(start))
    found = ensemble.exceedance(level)
    check_effective(found, SYSTEMS * size)
    which, row = ensemble.choose(level, n, seed)
    place = (ensemble.values > level).cumsum(1)[which, row] - 1
    samples = torch.stack([members[system][at] for system, at in zip(which.tolist(), place.tolist(), strict=True)])
    came = ensemble.start[which, row]
    rows = []
    for threshold in ensemble.thresholds(level):
        at = ensemble.exceedance(threshold)
        rows.append({"threshold": sign * threshold, **asdict(at), "return_period": 1 / at.probability})
    p, low, high = found.probability, found.low, found.high
    occurrence = Occurrence(
        event.text, event.units, p, low, high, 1 / p, 1 / high, 1 / low, per_year,
        None if per_year is None else (1 / p / per_year, 1 / high / per_year, 1 / low / per_year),
        found.effective, SYSTEMS * size, pilots, strength, n, len(set(zip(which.tolist(), came.tolist(), strict=True))), rows,
    )  # fmt: skip
    chosen = came.numpy()
    return Drawn(samples.numpy(), own[chosen], None if times is None else times[chosen], occurrence)


def _reader(model: "Model", seed: int, indices: range) -> Read:
    """Samples from what the network makes of particles that start where samples ``indices`` do, and keep the rest of these."""
    latent = model.latent
    if latent is None:
        return lambda x0, start: x0.cpu()
    rest = latent.draw_rest(Streams.of_samples(seed, "rest", indices))
    return lambda x0, start: latent.decode(x0.cpu()) + rest[start]


def provenance_of(occurrence: Occurrence) -> dict[str, str]:
    """What files of members say of their event."""
    interval = json.dumps([occurrence.low, occurrence.high])
    return {"event": occurrence.event, "probability": f"{occurrence.probability:.6g}", "probability_interval": interval}
