"""Averages of the weights whose length is chosen after the training: power-function averages, kept a few times, and combined.

Source: Karras et al. (2024), "Analyzing and Improving the Training Dynamics of Diffusion Models" (EDM2), arXiv 2312.02696, section 3
and appendix C. An average after t steps weighs step tau by a profile proportional to ``tau ** gamma``; its length is the profile's
standard deviation per t. What was kept at several steps spans, by least squares, the profiles of other lengths.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from levy_core.base.errors import LevyError

LONGEST = 12**-0.5  # length of the mean of all steps, gamma 0
KEPT = 16  # times in a training, at equal intervals, at which the averages are kept
TOLERANCE = 0.05  # of a combined profile: its distance from the one that was asked for, per norm of that one
AMPLIFIED = (
    10.0  # at most, the rounding of what is kept, in a combination: the root of the sum of squares of its weights
)
BEST_OF = 12  # lengths among which one is chosen
SHORTEST = 0.01  # of these

Kept = dict[str, Tensor]
Keep = Callable[[int, Kept], None]
Read = Callable[[int], Kept]


def exponent(length: float) -> float:
    """gamma of a length in (0, ``LONGEST``): the positive root of ``length**2 = (gamma + 1) / ((gamma + 2)**2 (gamma + 3))`` (eq. 123, algorithm 2).

    Raises:
        LevyError: the length is not in this range.
    """
    if not 0 < length < LONGEST:
        raise LevyError(
            f"an average of length {length:g}: a standard deviation per length of the training is expected, above 0 and below {LONGEST:.4f}"
        )
    t = length**-2
    return float(np.roots([1.0, 7.0, 16.0 - t, 12.0 - t]).real.max())


def keeping_steps(steps: int) -> list[int]:
    """The steps of a training after which its averages are kept; the last is its end."""
    return sorted({max(1, round(steps * k / KEPT)) for k in range(1, KEPT + 1)})


def combine(lengths: Sequence[float], times: Sequence[float], length: float) -> tuple[np.ndarray, float]:
    """What averages of some lengths, kept at some steps, weigh in the average of another length at the last of the steps.

    The least squares of algorithm 3, under the condition that the weights sum to 1 (the authors divide by the sum afterwards): what
    did not move in training stays as it was. A length that was tracked is found exactly.

    Args:
        times: steps, in order.

    Returns:
        float64 [len(times), len(lengths)]; and the distance of the combined profile from the one that is asked for, per norm of it (L2).

    Raises:
        LevyError: a length is out of range.
    """
    gamma, target = np.tile([exponent(each) for each in lengths], len(times)), exponent(length)
    t = np.repeat(np.asarray(times, float) / times[-1], len(lengths))
    gram = _inner_product(t[:, None], gamma[:, None], t, gamma)
    wanted = _inner_product(t, gamma, np.ones(1), np.array(target))
    n = len(t)
    conditioned = np.block([[gram, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    x = np.linalg.solve(conditioned, np.append(wanted, 1.0))[:n]
    norm = float(_inner_product(np.ones(1), np.array(target), np.ones(1), np.array(target))[0])
    squared = 1 - (2 * x @ wanted - x @ gram @ x) / norm
    return x.reshape(len(times), len(lengths)), float(max(squared, 0.0) ** 0.5)


def _inner_product(t_a: np.ndarray, gamma_a: np.ndarray, t_b: np.ndarray, gamma_b: np.ndarray) -> np.ndarray:
    """Of profiles ``(gamma + 1) tau**gamma / t**(gamma + 1)`` on [0, t] (eq. 151)."""
    exponents = np.where(t_a < t_b, gamma_b, -gamma_a)
    shared = (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1)
    return shared * (t_a / t_b) ** exponents / np.maximum(t_a, t_b)


def _can_be_made(lengths: Sequence[float], steps: int, length: float) -> bool:
    x, distance = combine(lengths, keeping_steps(steps), length)
    return distance <= TOLERANCE and bool(np.linalg.norm(x) <= AMPLIFIED)


@cache
def reachable_lengths(lengths: tuple[float, ...], steps: int) -> tuple[float, ...]:
    """Lengths to choose from, shortest first: those that are tracked, and ``BEST_OF`` at most of those that they make well."""
    candidates = (float(f"{x:.3g}") for x in np.geomspace(SHORTEST, 0.99 * LONGEST, 200))
    made = [x for x in candidates if _can_be_made(lengths, steps, x)]
    spread = np.unique(np.linspace(0, len(made) - 1, min(BEST_OF, len(made))).round().astype(int))
    return tuple(sorted({*lengths, *(made[i] for i in spread)}))


def check_length(lengths: Sequence[float], steps: int, length: float) -> None:
    """Refuses a length that the tracked ones do not make well: their profile is another, or float16 is too coarse for their differences.

    Raises:
        LevyError: says which they make.
    """
    if not _can_be_made(lengths, steps, length):
        names = lambda those: ", ".join(f"{x:g}" for x in those)
        raise LevyError(
            f"an average of length {length:g} cannot be made to within {TOLERANCE:.0%} of averages of {names(lengths)}: choose one such as "
            f"{names(reachable_lengths(tuple(lengths), steps))}, or track another"
        )


class PowerAverages:
    """Running power-function averages of weights, and what becomes of what was kept of them.

    Args:
        lengths: of the averages. steps: of the training.
        keep: takes the number of a keeping step, from 0, and float16 tensors of the averages after it. The last step is kept in ``state()`` alone, in float32.
    """

    def __init__(self, lengths: Sequence[float], steps: int, keep: Keep):
        self.lengths, self._keep = tuple(lengths), keep
        self._exponents = [exponent(length) for length in self.lengths]
        self._times = keeping_steps(steps)
        self._running: list[list[Tensor]] = []

    @torch.no_grad()
    def update(self, weights: list[Tensor], step: int) -> None:
        """Takes in the weights after a step, counted from 1 (eq. 127)."""
        if step == 1:
            self._running = [[w.detach().clone() for w in weights] for _ in self.lengths]
        for running, gamma in zip(self._running, self._exponents, strict=True):
            torch._foreach_lerp_(running, weights, 1 - (1 - 1 / step) ** (gamma + 1))
        if step in self._times[:-1]:
            self._keep(self._times.index(step), {name: value.half().cpu() for name, value in self.state().items()})

    def kept_before(self, step: int) -> range:
        """Numbers of the keeping steps up to a step, but for the last of all."""
        return range(sum(time <= step for time in self._times[:-1]))

    def of_length(self, length: float, read: Read) -> list[Tensor]:
        """The average of any length at the end of the training, float32 in the order of the weights, summed in float64 on the CPU.

        Args:
            read: what ``keep`` was given.
        """
        x, _ = combine(self.lengths, self._times, length)
        total: dict[int, Tensor] = {}
        for k, row in enumerate(x):
            found = self.state() if k == len(x) - 1 else read(k)
            for i, weight in enumerate(row.tolist()):
                for j in range(len(self._running[0])):
                    part = weight * found[f"{i}.{j}"].cpu().double()
                    total[j] = total[j].add_(part) if j in total else part
        return [total[j].float() for j in range(len(total))]

    def state(self) -> Kept:
        """The running averages: number of the length, and of the tensor."""
        return {f"{i}.{j}": w for i, running in enumerate(self._running) for j, w in enumerate(running)}

    def restore(self, state: Kept, weights: list[Tensor]) -> None:
        """Goes on from ``state()``; ``weights`` are where the averages are to be."""
        device = weights[0].device
        self._running = (
            [[state[f"{i}.{j}"].to(device) for j in range(len(weights))] for i in range(len(self.lengths))]
            if state
            else []
        )
