"""One training loop for every design. It yields its progress; bars, logs and files stay with the caller."""

from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from levy_core.base.conditions import AUGMENT, PLACE, Condition, move, repeat, rows_of
from levy_core.base.determinism import strictly_deterministic
from levy_core.base.errors import LevyError
from levy_core.base.philox import draws_own
from levy_core.base.seeds import generator, seed_of
from levy_core.process.design import Design
from levy_core.training.batches import Data, batches, fill_missing, sample_shape
from levy_core.training.class_balancing import ClassBalancing
from levy_core.training.compiling import compile_network
from levy_core.training.config import TrainConfig
from levy_core.training.drawing import draw_noise
from levy_core.training.objective import Batch, NoiseResidual, Objective
from levy_core.training.power_averages import Keep, PowerAverages, Read
from levy_core.training.rates import LR_SCHEDULES
from levy_core.training.score_head import WithScore
from levy_core.training.share import WHOLE, Share
from levy_core.training.step_batches import StepBatches


@dataclass(frozen=True)
class Progress:
    """One optimiser step: its number from 1, the mean loss of its batch, the gradient norm before clipping, the learning rate."""

    step: int
    loss: float
    grad_norm: float
    lr: float


class _Taken(NamedTuple):
    """A step whose numbers may still be under way on the device."""

    step: int
    loss: Tensor
    grad_norm: Tensor
    lr: float


class Trainer:
    """A training run that can be stopped after any step and go on to the same result.

    Each step's randomness is keyed by (seed, step), so the state is the weights, their average and the optimiser.
    Several processes, each with its share of every batch, make the steps of one but for the order of float sums: all
    draw the same batch and noise and keep their own rows, and gradients are summed, not averaged, over shares that are
    each divided by the size of the whole batch. So uneven shares and values that are missing in some weigh as they
    should. (Masks of dropout are drawn per process.)
    A network with a ``cover`` (``levy_core.nets.globe.OnPlaces``) is trained on one patch of each sample, at a place of the step's own.

    Args:
        data: float32 [N, *S] in memory, or a store of as many samples, to the same result; images in [-1, 1], fields
            standardised. NaN, a missing value, is shown to the network as 0 and left out of the loss.
        cond: the condition of each sample, [N, ...] per entry.
        absent: what entries hold where nothing is asked for; a share of ``label_dropout`` of the samples is trained so.
        objective: what is minimised; without one, the design's own.
        share: this process's part of every batch. All processes start from equal weights, or go on from equal states.
        read_every: steps whose losses are read together, so that a GPU is not waited for at every step.
        keep: takes the averages of ``config.ema_lengths``, as ``PowerAverages`` says.

    Raises:
        LevyError: shapes that do not match, mirroring or shifting of what is no image, a batch with too few rows to share, or classes
            to be balanced of samples without a class.
    """

    def __init__(
        self,
        design: Design,
        net: nn.Module,
        data: Data,
        cond: Condition,
        absent: Condition,
        config: TrainConfig,
        device: torch.device,
        share: Share = WHOLE,
        objective: Objective | None = None,
        read_every: int = 1,
        keep: Keep = lambda number, averages: None,
    ):
        self.design, self.config, self.device, self.read_every = design, config, device, read_every
        self.share, self.own_rows = share, share.of(config.batch)
        if (fewest := config.batch // share.count) < config.accumulate:
            raise LevyError(
                f"train.accumulate is {config.accumulate}, but a process has {fewest} of the {config.batch} samples of a batch: "
                f"set it to {max(1, fewest)} at most"
            )
        self.predictor = design.predictor(net.to(device))
        self.objective: Objective = objective or NoiseResidual(design)
        self._plain = self.objective  # without what is added below
        if config.class_balancing > 0:
            self.objective = ClassBalancing(self.objective, design, config.class_balancing)
        if design.score_head:
            self.objective = WithScore(self.objective)
        for name, values in cond.items():
            if len(data) != len(values) or not len(data):
                raise LevyError(
                    f"{len(data)} training samples came with {len(values)} rows of {name}: give one row per sample"
                )
        shape = sample_shape(data)
        for name, wanted, nothing in (
            ("flip", config.flip, "false"),
            ("crop", config.crop, "0"),
            ("colour", config.colour, "0"),
        ):
            if wanted and len(shape) != 3:
                raise LevyError(
                    f"{name} is for images [N, C, H, W], but the data have shape {[len(data), *shape]}: set {name} to {nothing}"
                )
        self.data, self.cond, self.absent = data, cond, absent
        cover = getattr(net, "cover", None)
        self.made = StepBatches(
            design, config, data, cond, absent, cover, self.objective.repeats, self.own_rows, device
        )
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
        self.averaged = deepcopy(net).requires_grad_(False).eval()
        self._weights: list[Tensor] = list(net.parameters())
        self._averages: list[Tensor] = list(self.averaged.parameters())
        self.power_averages = PowerAverages(config.ema_lengths, config.steps, keep) if config.ema_lengths else None
        self._part = 0  # of the batch
        self.bf16 = config.precision == "bfloat16"
        self.step = 0

    def run(self) -> Iterator[Progress]:
        """Steps until ``config.steps``, each yielded after it, ``read_every`` at a time: after the last of them ``state()`` is that of its step.

        Raises:
            LevyError: the loss or the gradient is not finite; names the step. What a store raises while it is read.
        """
        self.predictor.train()
        steps = range(self.step, self.config.steps)
        taken: list[_Taken] = []
        made = self.made
        with closing(batches(self.data, made.rows, steps, made.cut if made.cover else None)) as samples:
            for x0 in samples:
                taken.append(self._advance(x0))
                if self.step % self.read_every == 0 or self.step == self.config.steps:
                    yield from self._read(taken)
                    taken = []

    def compile(self) -> str:
        """Compiles the network, and noise that its device draws, for batches of this size: steps differ in last bits at most.

        Returns:
            Why nothing is compiled, in one line; empty if all is.
        """
        return compile_network(self.predictor.net, self._attempt)

    def _attempt(self) -> None:
        """One evaluation and its gradient, which leave the training as it is."""
        n, shape = self.objective.repeats * self.together, sample_shape(self.data)
        cond = rows_of(self.cond, torch.arange(n) % len(self.data))
        if numbers := self.made.drawing.augmentation.numbers:
            cond[AUGMENT] = torch.zeros(n, numbers)
        if self.made.cover:
            shape = (*shape[:-2], *self.made.cover.patches.side)
            cond[PLACE] = torch.zeros(n, 2, dtype=torch.int64)
        y = torch.zeros(n, *shape, device=self.device)
        self.predictor.train()
        found = self._predict(y, torch.ones(n, device=self.device), move(cond, self.device))
        self._differentiate(torch.stack(found if isinstance(found, tuple) else (found,)).sum())
        self.optimizer.zero_grad(set_to_none=True)
        if draws_own(self.device):
            self.made.noise(self.step, shape, fused=True)
            self.made.fused = True

    def _read(self, taken: list[_Taken]) -> Iterator[Progress]:
        numbers = torch.stack([torch.stack([t.loss, t.grad_norm]) for t in taken]).tolist()
        for t, (loss, grad_norm) in zip(taken, numbers, strict=True):
            if not (isfinite(loss) and isfinite(grad_norm)):
                raise LevyError(
                    f"training step {t.step}: loss {loss:.4g}, gradient norm {grad_norm:.4g}; "
                    "lower train.lr or choose a loss with finite moments"
                )
            yield Progress(t.step, loss, grad_norm, t.lr)

    @property
    def together(self) -> int:
        """Samples that the network sees at a time in a step, at most; as many fit into memory."""
        return -(-(self.own_rows.stop - self.own_rows.start) // self.config.accumulate)

    @torch.no_grad()
    def held_out_loss(self, x0: Tensor, cond: Condition, net: nn.Module | None = None) -> float:
        """The mean loss of a network on other samples, float32 [N, *S], NaN where missing, at noise that is the same at every step.

        ``net``: by default that of the averaged weights. The loss is weighed as that of training is now, so that the two compare.
        """
        design, n, repeats = self.design, len(x0), self._plain.repeats
        key = (self.config.seed, "held out")
        rho = design.levels.draw(design.schedule, n, generator(*key)).float()
        e, _ = draw_noise(design.noise, x0.shape[1:], key, repeats, slice(0, n), False)
        x0, valid = fill_missing(x0)
        copies = (repeats, *[1] * (x0.dim() - 1))
        valid = None if valid is None else valid.repeat(copies)
        batch = Batch(x0.repeat(copies), rho.repeat(repeats), e, repeat(cond, repeats), valid)
        predictor = design.predictor(net or self.averaged)
        parts = batch.split(-(-n // self.together), repeats)
        return sum(float(self._plain(predictor, part.to(self.device)).sum()) for part in parts) / n

    def _advance(self, samples: Tensor) -> _Taken:
        config = self.config
        lr = config.lr * LR_SCHEDULES[config.lr_schedule](self.step + 1, config.warmup, config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        losses, sums = [], []
        for i, part in enumerate(self.made.batch(self.step, samples).split(config.accumulate, self.objective.repeats)):
            self._part = i
            loss = self.objective(self._predict, part.to(self.device)).sum() / config.batch
            self._differentiate(loss)
            losses.append(loss.detach())
            sums.append(self.objective.sums())
        loss, learnt = self._over_processes(_add(losses), _add(sums))
        grad_norm = nn.utils.clip_grad_norm_(self._weights, config.clip)
        self.optimizer.step()
        self._average()
        self.objective.learn(learnt)
        self.step += 1
        return _Taken(self.step, loss, grad_norm, lr)

    def _predict(self, y: Tensor, rho: Tensor, cond: Condition) -> Any:
        """eps_hat, with the score where the design has its head; what draws in the network (dropout) is keyed by the step too, and leaves the caller's generators alone."""
        on_gpu = self.device.type == "cuda"
        seed = torch.cuda.manual_seed if on_gpu else torch.default_generator.manual_seed  # of this device alone
        with torch.random.fork_rng([self.device] if on_gpu else []):
            seed(seed_of(self.config.seed, "dropout", self.step, self.share.index, self._part))
            autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
            with strictly_deterministic(self.device), autocast:
                return (self.predictor.both if self.design.score_head else self.predictor)(y, rho, cond)

    def _differentiate(self, loss: Tensor) -> None:
        with strictly_deterministic(self.device):
            loss.backward()

    def _over_processes(self, loss: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and sums of the whole batch; gradients become those of the whole batch too, in one flat float32 sum."""
        if self.share.count == 1:
            return loss, sums
        gradients = [p.grad for p in self.predictor.parameters() if p.grad is not None]
        parts = [loss.view(1), sums.to(loss.device), *gradients]
        flat = torch.cat([part.flatten() for part in parts])
        self.share.add(flat)
        total, sums, *wholes = flat.split([part.numel() for part in parts])
        for gradient, whole in zip(gradients, wholes, strict=True):
            gradient.copy_(whole.view_as(gradient))
        return total[0], sums

    @torch.no_grad()
    def _average(self) -> None:
        """One step of the exponential moving average; the first takes the weights. The decay warms up, so that a short run does not average in the random start."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step)) if self.step else 0.0
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)
        if self.power_averages:
            self.power_averages.update(self._weights, self.step + 1)

    @torch.no_grad()
    def averaged_over(self, length: float, read: Read) -> nn.Module:
        """The network with the power-function average of its weights of any length; ``read`` gives what ``keep`` was given."""
        assert self.power_averages is not None
        net = deepcopy(self.averaged)
        for own, average in zip(net.parameters(), self.power_averages.of_length(length, read), strict=True):
            own.copy_(average)
        return net

    def averaged_weights(self, net: nn.Module | None = None) -> dict[str, Tensor]:
        """The state of a network, by default that with the exponential moving average of the weights, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in (net or self.averaged).state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """Flat tensors for safetensors: weights, their average, Adam's moments, what the objective learnt, and the step."""
        flat = {"step": torch.tensor(self.step)}
        flat |= {f"net.{name}": value for name, value in self.predictor.net.state_dict().items()}
        flat |= {f"ema.{name}": value for name, value in self.averaged.state_dict().items()}
        flat |= {f"objective.{name}": value for name, value in self.objective.state().items()}
        if self.power_averages:
            flat |= {f"power.{name}": value for name, value in self.power_averages.state().items()}
        for i, slots in self.optimizer.state_dict()["state"].items():
            flat |= {f"adam.{i}.{slot}": value for slot, value in slots.items()}
        return {name: value.detach().cpu().clone().contiguous() for name, value in flat.items()}

    def restore(self, flat: dict[str, Tensor]) -> None:
        """Goes on from ``state()``."""
        self.step = int(flat["step"])
        within = lambda prefix: {k.removeprefix(prefix): v for k, v in flat.items() if k.startswith(prefix)}
        self.predictor.net.load_state_dict(within("net."))
        self.averaged.load_state_dict(within("ema."))
        self.objective.restore(within("objective."))
        if self.power_averages:
            self.power_averages.restore(within("power."), self._weights)
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in flat.items():
            if key.startswith("adam."):
                _, i, slot = key.split(".")
                slots.setdefault(int(i), {})[slot] = value
        self.optimizer.load_state_dict({"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]})


def _add(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)
