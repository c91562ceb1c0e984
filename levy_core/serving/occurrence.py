"""How probable an event is: for people, for programs, and for the files of its members."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from levy_core.base.event import Event
from levy_core.base.files import replacing, write_json
from levy_core.sampling.events import SHARE, Ensemble, Estimate
from levy_core.sampling.solver import Solver


@dataclass(frozen=True)
class Occurrence:
    """An event's probability and what it rests on.

    Attributes:
        event: in words. units: of thresholds. recurs: whether samples are moments, so that it returns.
        probability: that it happens in one sample, without bias. low, high: its interval.
        return_period: in independent samples, 1 / probability, and its interval.
        samples_per_year: how many independent samples a year is taken to have; None: unknown, and so are years.
        return_years: the return period in years, low and high.
        effective: sample size in the event, counted by particles at the start. particles: drawn beside those of the pilots.
        strength: of the potential, in 1 / units. pilots: how many found it.
        sampler: of the model as it draws, in words, the probability is. default_sampler: of the model's samples, whose extremes may differ.
        members: in the file. starts: of how many particles at the start they come.
        thresholds: threshold, probability, low, high, effective and return_period, of one set of weights, from the least extreme.
        classifier: where it says what the event is, how far it is right about the class; else "".
        undecidable: why that is not known; "" where it is.
    """

    event: str
    units: str
    recurs: bool
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
    strength: float
    pilots: int
    sampler: str
    default_sampler: str
    members: int
    starts: int
    thresholds: list[dict[str, float]]
    classifier: str = ""
    undecidable: str = ""

    def __str__(self) -> str:
        doubt = f"Not decidable how many samples are of the class: {self.undecidable}. Below is how many the classifier calls so"
        lines = [doubt] if self.undecidable else []
        lines += [
            f"P({self.event}) = {self.probability:.3g} per sample ({SHARE:.0%} interval {self.low:.3g} to {self.high:.3g})",
            f"{'return period:' if self.recurs else 'one in'} {self.return_period:,.4g} {'independent ' if self.recurs else ''}samples "
            f"({self.return_low:,.4g} to {self.return_high:,.4g})",
        ]
        if self.return_years is not None:
            years, low, high = self.return_years
            lines.append(
                f"in years: {years:,.4g} ({low:,.4g} to {high:,.4g}), with {self.samples_per_year:g} independent "
                f"sample{'' if self.samples_per_year == 1 else 's'} per year"
            )
        rows = pd.DataFrame(self.thresholds).rename(columns={} if self.recurs else {"return_period": "one_in"})
        table = rows.to_string(index=False, float_format=lambda value: f"{value:.4g}")
        lines += [
            f"effective sample size: {self.effective:.0f} of {self.particles} particles; {self.members} members come from {self.starts} of them",
            f"of the model as drawn by {self.sampler}; `levy sample` draws by {self.default_sampler}, whose extremes may differ: docs/events.md",
            *filter(None, [self.classifier]),
            f"thresholds in {self.units}:",
            table,
        ]
        return "\n".join(lines)

    @property
    def about(self) -> dict[str, str]:
        """What files of members say of it."""
        return {
            "event": self.event,
            "probability": f"{self.probability:.6g}",
            "probability_interval": json.dumps([self.low, self.high]),
            **({"undecidable": self.undecidable} if self.undecidable else {}),
        }

    def write(self, folder: Path) -> None:
        """``event.json`` and ``thresholds.csv``."""
        write_json(folder / "event.json", asdict(self))
        with replacing(folder / "thresholds.csv") as temporary:
            pd.DataFrame(self.thresholds).to_csv(temporary, index=False)


def describe(
    event: Event,
    ensemble: Ensemble,
    level: float,
    per_year: float | None,
    strength: float,
    pilots: int,
    samplers: tuple[Solver, Solver],
    members: int,
    starts: int,
) -> Occurrence:
    """What an ensemble says of an event; its values are those of the measure, with the other sign where it happens below.

    Args:
        samplers: that of the particles, and the model's default one.
    """
    sign = 1.0 if event.above else -1.0
    found = ensemble.exceedance(level)
    rows = [_row(sign * threshold, ensemble.exceedance(threshold)) for threshold in ensemble.thresholds(level)]
    periods = (1 / found.probability, 1 / found.high, 1 / found.low)
    sampler, default = map(_say, samplers)
    years = None if per_year is None else (periods[0] / per_year, periods[1] / per_year, periods[2] / per_year)
    return Occurrence(
        event.text, event.units, event.recurs, found.probability, found.low, found.high, *periods, per_year, years, found.effective,
        ensemble.values.numel(), strength, pilots, sampler, default, members, starts, rows,
    )  # fmt: skip


def _say(solver: Solver) -> str:
    """Without its levels."""
    guide = "" if solver.guide == "none" else f", {solver.guide} {solver.strength:.4g}"
    return f"{solver.form}{guide}, {solver.steps} evaluations"


def _row(threshold: float, at: Estimate) -> dict[str, float]:
    return {"threshold": threshold, **asdict(at), "return_period": 1 / at.probability}
