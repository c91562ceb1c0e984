"""The cases of an experiment: which held-out samples are observed, and what is seen of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
import torch

from levy_core.base.errors import LevyError
from levy_core.base.rows import thin_rows
from levy_core.base.seeds import Streams, seed_of
from levy_core.metrics.common.withheld import most_extreme
from levy_core.observations.covariance import Covariance
from levy_core.observations.kept import suffices
from levy_core.observations.nonlinear import Through
from levy_core.observations.observation import Observation, inverse_of
from levy_core.observations.operators import Operator
from levy_core.observations.views import Scene, withheld
from levy_core.training.batches import sample_shape
from tasks.kinds.held_out import HeldOut
from tasks.kinds.kind import TrainingData
from tasks.params.experiments import FEWEST, Experiment

CANDIDATES = 1000  # held-out samples of which the most extreme are looked for, at most
SHARE = 0.05  # of them, whose observations are the most extreme
VALUES = 20_000_000  # of these samples, and of the members that are drawn at a time, at most


@dataclass(frozen=True, eq=False)
class Cases:
    """T held-out samples, and what is seen of each.

    Attributes:
        rows: of the held-out samples, int64 [T], ascending. truth: in their units, float64 [T, C, H, W], NaN where missing.
        seen: observed values in their units, float64 [T, R]. error: the standard deviation of their errors, [R].
        values, std: both as networks see them, float64 [T, R].
    """

    held_out: HeldOut
    operator: Operator
    rows: np.ndarray
    truth: np.ndarray
    seen: np.ndarray
    error: np.ndarray
    values: np.ndarray
    std: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, cases: np.ndarray) -> "Cases":
        """Some of them, by number or by bool [T]."""
        by_case = ("rows", "truth", "seen", "values", "std")
        return replace(self, **{name: getattr(self, name)[cases] for name in by_case})

    def as_seen_by(self, held_out: HeldOut) -> "Cases":
        """The same, as a model sees them that has other numbers for the same values."""
        if held_out is self.held_out:
            return self
        values, std = held_out.standardise(self.operator, self.seen, self.error, self.rows)
        return replace(self, held_out=held_out, values=values, std=std)

    @cached_property
    def hidden(self) -> np.ndarray:
        """The truth of what was withheld, NaN elsewhere, [T, C, H, W]."""
        return np.where(withheld(self.operator, self.held_out.valid).numpy(), self.truth, np.nan)

    def parts(self, members: int) -> Iterator[tuple[slice, Observation]]:
        """Cases that follow each other, of equal errors and no more than memory holds; the observation has a row per case and member.

        Where what networks see is not linear, one by one.
        """
        together = max(1, VALUES // (members * self.truth[0].size))
        start = 0
        while start < len(self):
            operator = self.held_out.see(self.operator, int(self.rows[start]))
            if isinstance(operator, Through):
                together = 1
            equal = (self.std[start : start + together] == self.std[start]).all(1)
            stop = start + (int(np.argmin(equal)) if not equal.all() else len(equal))
            values = torch.from_numpy(self.values[start:stop]).repeat_interleave(members, 0)
            yield slice(start, stop), Observation(operator, values, torch.from_numpy(self.std[start]))
            start = stop


def why_none(training: TrainingData, on_eofs: bool) -> str:
    """Why nothing can be observed of a data set: too few held-out samples, or no covariance of the training samples; empty where it can."""
    held_out = 0 if training.held_out is None else len(training.held_out[0])
    if held_out < FEWEST:
        return f"{held_out} samples are held out, and at least {FEWEST} are needed"
    samples, size = len(training.data), prod(sample_shape(training.data))
    if not on_eofs and not suffices(samples, size):
        return f"{samples:,} training samples of {size:,} values give no covariance, by which experiments are judged"
    return ""


def observe_cases(held_out: HeldOut, name: str, experiment: Experiment) -> Cases:
    """What an experiment sees of up to ``CANDIDATES`` held-out samples.

    Raises:
        LevyError: the view does not suit the samples, or too few of them are whole.
    """
    seed = seed_of(experiment.seed, name)
    operator = experiment.operator(Scene(held_out.valid, held_out.area, seed))
    most = min(CANDIDATES, VALUES // held_out.valid.numel())
    rows = thin_rows(len(held_out), max(most, experiment.cases), 1)
    truth = held_out.read(rows)
    whole = np.isfinite(truth[:, held_out.valid.numpy()]).all(1)
    rows, truth = rows[whole], truth[whole]
    if len(rows) < FEWEST:
        raise LevyError(
            f"{len(rows)} of {len(held_out)} held-out samples are without missing values, and at least {FEWEST} are needed: "
            "hold out more, or take the experiment out"
        )
    error = held_out.errors(operator, experiment.std)
    exact = operator.apply(torch.from_numpy(np.nan_to_num(truth))).numpy()
    noise = Streams.of_samples(seed, "instrument", rows.tolist()).normal((operator.rows,)).double().numpy()
    seen = held_out.clip(operator, exact + error * noise)
    return Cases(held_out, operator, rows, truth, seen, error, *held_out.standardise(operator, seen, error, rows))


def choose_usual(cases: Cases, count: int) -> np.ndarray:
    """So many, spread evenly: numbers, ascending."""
    return thin_rows(len(cases), count, 1)


def choose_extreme(cases: Cases, covariance: Covariance, count: int) -> tuple[np.ndarray, float]:
    """The largest observations about the mean in units of the covariance, taken as if they were linear: ``SHARE`` of them, ``count`` at
    most, ``FEWEST`` at least.

    Where all that lie apart are fewer, those that lie near to each other count, too.

    Returns:
        Their numbers, ascending, and the share of all cases that are as extreme.
    """
    operator = cases.held_out.see(cases.operator, int(cases.rows[0]))
    operator = operator.means if isinstance(operator, Through) else operator
    offset = torch.from_numpy(cases.values) - operator.apply(covariance.mean.view(1, *operator.shape))
    variance = torch.from_numpy((cases.std**2).mean(0))
    inverse = inverse_of(covariance.observed(operator) + variance.diag())
    sizes = ((offset @ inverse) * offset).sum(1).numpy()
    apart, runs = cases.held_out.apart, cases.held_out.runs[cases.rows]
    for share, distance in ((SHARE, apart), (2 * SHARE, apart), (5 * SHARE, apart), (1.0, apart), (1.0, 1)):
        chosen = most_extreme(sizes, share, distance, runs)
        if len(chosen) >= FEWEST:
            break
    largest = np.sort(chosen[np.argsort(-sizes[chosen], kind="stable")[:count]])
    return largest, float((sizes >= sizes[largest].min()).mean())
