"""What drawing takes of memory beside the samples: the network's activations and the states of a sampler."""

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from levy_core.base.conditions import move
from levy_core.base.errors import LevyError, choose
from levy_core.base.samples import Samples
from levy_core.observations.covariance import Covariance, values_kept, values_made
from levy_core.observations.guides import OBSERVATION_GUIDES, levels_kept
from levy_core.sampling.guidance import GUIDES
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import step_table

if TYPE_CHECKING:
    from levy_core.training.checkpoint import Model

BATCH = 250  # samples of a batch, at most
ROOM = 2 * 2**30  # bytes that a batch of several samples takes at most, however much is free
SCRATCH = 3.0  # what a process takes per byte of activations: copies in the layouts of convolutions, gaps; measured: docs/registry.md
STREAM = 16 * 2**10  # bytes of the generators of a sample's random numbers
# Values in float32 that are alive beside the network, per value that it makes: of the sampling loop with its history and fresh noise; of a
# guide towards observations, which computes in float64; of a mixing variable per coordinate and level, which the posterior family
# draws at the start. And per value of a field that is made of coefficients.
LOOP, GUIDE, PATH, DECODED = 16, 16, 10, 16
COPIES = 3  # of patterns, weighed and in another layout
INVERSE = (
    8  # matrices [rows, rows] in float64 that are alive while one of observed values is inverted, with LAPACK's room
)


class _Alive(TorchDispatchMode):
    """Counts the bytes of what torch's operations make, until each is let go of."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return (
            False  # nothing is compiled here, and torch._dynamo would take most of a second of every look-up to import
        )

    def __init__(self) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_place(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and (place := _place(tensor)) not in given | self._known:
                storage = tensor.untyped_storage()
                self._known.add(place)
                self._now += storage.nbytes()
                weakref.finalize(storage, self._let_go, place, storage.nbytes())
        self.most = max(self.most, self._now)
        return made

    def _let_go(self, place: int, size: int) -> None:
        self._known.discard(place)
        self._now -= size


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def most_alive(call: Callable[[], Any]) -> int:
    """Bytes of the tensors that a call makes and that are alive at one time, at most; of this thread, on any device.

    What operations take inside of them is not seen.
    """
    with _Alive() as alive:
        call()
    return alive.most


class Footprint:
    """What a sample of a model takes in a batch, bytes; measured by one network evaluation of one sample, as all of it grows with the batch.

    Args:
        model: whose predictor is on ``device``.
    """

    def __init__(self, model: "Model", device: torch.device) -> None:
        self._model, self._device = model, device
        with torch.inference_mode():
            self._forward = most_alive(lambda: self._evaluate(torch.zeros(1, *model.net.shape, device=device)))

    @cached_property
    def _backward(self) -> int:
        """With what is kept for a gradient by y."""

        def differentiate() -> None:
            y = torch.zeros(1, *self._model.net.shape, device=self._device, requires_grad=True)
            torch.autograd.grad(self._evaluate(y).sum(), y)

        with torch.enable_grad():
            return most_alive(differentiate)

    def _evaluate(self, y: torch.Tensor) -> torch.Tensor:
        cond = move(self._model.samples.condition(np.zeros(1)), self._device)
        return self._model.predictor(y, torch.ones(1, device=self._device), cond)

    def each(self, solver: Solver, guide: str | None = None) -> int:
        """Of a sample in a batch; ``guide``: towards observations.

        Raises:
            LevyError: an unknown guide.
        """
        gradients = guide is not None and choose("guide towards observations", guide, OBSERVATION_GUIDES).needs_gradient
        return self.network(solver, gradients) + self.states(solver, guide is not None) + self.decoded

    def network(self, solver: Solver, gradients: bool = False) -> int:
        """In an evaluation of the network, as the solver's guide asks for it; with gradients, and the backward pass after it."""
        alive = self._backward if gradients else self._forward
        return int(SCRATCH * alive) * GUIDES[solver.guide].evaluations(solver.strength)

    def states(self, solver: Solver, observing: bool = False) -> int:
        """In what takes a sample from level to level; ``observing``: towards observations."""
        made, noise = math.prod(self._model.net.shape), self._model.design.noise
        values = made * (LOOP + GUIDE * observing)
        jumps = step_table(solver, self._model.design).jumps
        if jumps is not None and not getattr(noise, "isotropic", True):
            values += PATH * made * len(jumps)
        return 4 * values + STREAM

    def once(self, rows: int, levels: int, covariance: Covariance | None) -> int:
        """What a guide towards ``rows`` observed values makes once, and keeps for noise levels: inverses, and what is left of a covariance."""
        of_level = [rows**2] + ([] if covariance is None else [values_kept(covariance)])
        kept = sum(min(levels, levels_kept(values)) * values for values in of_level if values)
        some = 0 if covariance is None else COPIES * values_made(covariance)
        return 8 * (INVERSE * rows**2 + kept + some + self._moved(covariance))

    def _moved(self, covariance: Covariance | None) -> int:
        """Values of a covariance that become a copy on the device."""
        return 0 if covariance is None or self._device.type == "cpu" else covariance.patterns.numel()

    @property
    def decoded(self) -> int:
        """In what makes a field of coefficients."""
        return 4 * DECODED * math.prod(self._model.shape) if self._model.latent else 0

    @property
    def kept(self) -> int:
        """Of a sample that was drawn: twice its own, while batches become one array."""
        return bytes_kept(self._model.samples, self._model.shape)


@dataclass(frozen=True)
class Need:
    """What a drawing takes at its peak.

    Attributes:
        n: samples that are kept, each of ``kept`` bytes. rows: of a batch, each of ``each`` bytes beside.
        once: bytes beside, however many samples are drawn.
    """

    n: int
    kept: int
    rows: int
    each: int
    once: int = 0

    @property
    def bytes(self) -> int:
        return self.n * self.kept + self.rows * self.each + self.once

    def fitting(self, left: int) -> int:
        """How many samples so many bytes hold."""
        left, together = left - self.once, self.kept + self.each
        return left // together if left < self.rows * together else (left - self.rows * self.each) // self.kept


def rows_of_batch(each: int) -> int:
    """Samples of a batch that takes so many bytes of each: a function of the model and its sampler, as samples differ in the last bits with it."""
    return max(1, min(BATCH, ROOM // each))


def bytes_kept(samples: Samples, shape: tuple[int, ...]) -> int:
    """Of a sample that was drawn, twice its own, while batches become one array."""
    return 2 * np.dtype(samples.dtype).itemsize * math.prod(shape)


def check_batch(
    setting: str, batch: int, footprint: Footprint, solver: Solver, n: int, free: int, processes: int = 1
) -> None:
    """Refuses a batch of a stage that does not fit into free memory; ``setting`` is its name in params.yaml.

    Args:
        n: samples of a drawing. processes: that draw at once, on the memory that is free.

    Raises:
        LevyError: names the setting, what it takes, and what would fit.
    """
    need = Need(n, footprint.kept, min(n, batch), footprint.each(solver))
    share = free // processes
    if need.bytes <= share:
        return
    fitting = max(0, share - n * need.kept) // need.each
    advice = (
        f"lower it to {fitting:,}"
        if fitting
        else "even one sample at a time does not fit: free memory, or take a smaller network"
    )
    raise LevyError(
        f"{setting} is {batch:,}, which takes about {need.bytes / 2**20:,.0f} MiB with the network's activations ({solver.label}), but "
        f"{share / 2**20:,.0f} MiB of memory are free{' for each process' if processes > 1 else ''}: {advice}"
    )
