"""One training loop for every design. It yields its progress; bars, logs and files stay with the caller."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from levy_core.base.conditions import AUGMENT, LABEL, Condition, move, repeat, rows_of
from levy_core.base.errors import LevyError
from levy_core.base.seeds import BatchStream, seed_of
from levy_core.nets.precision import Precision
from levy_core.process.design import Design
from levy_core.training.augmentation import shift
from levy_core.training.batches import Data, batches, fill_missing, sample_shape
from levy_core.training.class_balancing import ClassBalancing
from levy_core.training.drawing import Drawing
from levy_core.training.objective import Batch, NoiseResidual, Objective
from levy_core.training.score_head import WithScore
from levy_core.training.share import WHOLE, Share


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run beside the design, the network and the data."""

    steps: int
    batch: int
    lr: float
    warmup: int
    ema: float
    clip: float
    label_dropout: float  # share of samples trained without their class, so that one network also samples without
    flip: bool  # mirror half of the images
    seed: int
    precision: Precision  # bfloat16: the network under autocast; weights and gradients stay float32
    crop: int = 0  # shift half of the images by up to so many pixels, and tell the network
    balance: float = 0.0  # rows with their class draw class c, of n_c samples, in proportion to n_c ** (1 - balance)
    balance_phase: float = 0.2  # the last share of the steps, in which they do
    class_balancing: float = 0.0  # strength of the class-balancing term (levy_core.training.class_balancing)


@dataclass(frozen=True)
class Progress:
    """One optimiser step: its number from 1, the mean loss of its batch, the gradient norm before clipping."""

    step: int
    loss: float
    grad_norm: float


class Trainer:
    """A training run that can be stopped after any step and go on to the same result.

    Each step's randomness is keyed by (seed, step), so the state is the weights, their average and the optimiser.
    Several processes, each with its share of every batch, make the steps of one but for the order of float sums: all
    draw the same batch and noise and keep their own rows, and gradients are summed, not averaged, over shares that are
    each divided by the size of the whole batch. So uneven shares and values that are missing in some weigh as they
    should. (Masks of dropout are drawn per process.)

    Args:
        data: float32 [N, *S] in memory, or a store of as many samples, to the same result; images in [-1, 1], fields
            standardised. NaN, a missing value, is shown to the network as 0 and left out of the loss.
        cond: the condition of each sample, [N, ...] per entry.
        absent: what entries hold where nothing is asked for; a share of ``label_dropout`` of the samples is trained so.
        objective: what is minimised; without one, the design's own.
        share: this process's part of every batch. All processes start from equal weights, or go on from equal states.

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
    ):
        self.design, self.config, self.device = design, config, device
        self.share, self.own_rows = share, share.of(config.batch)
        self.predictor = design.predictor(net.to(device))
        self.objective: Objective = objective or NoiseResidual(design)
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
        for name, wanted, nothing in (("flip", config.flip, "false"), ("crop", config.crop, "0")):
            if wanted and len(shape) != 3:
                raise LevyError(
                    f"{name} is for images [N, C, H, W], but the data have shape {[len(data), *shape]}: set {name} to {nothing}"
                )
        self.data, self.cond, self.absent = data, cond, absent
        self.drawing = Drawing(config, len(data), cond, absent)
        self.optimizer = torch.optim.Adam(net.parameters(), lr=config.lr)
        self.averaged = AveragedModel(net, multi_avg_fn=self._average)  # type: ignore[arg-type]
        self.bf16 = config.precision == "bfloat16"
        self.step = 0

    def run(self) -> Iterator[Progress]:
        """Steps until ``config.steps``.

        Raises:
            LevyError: the loss or the gradient is not finite; names the step. What a store raises while it is read.
        """
        self.predictor.train()
        steps = range(self.step, self.config.steps)
        with closing(batches(self.data, lambda step: self.drawing(step).rows[self.own_rows], steps)) as samples:
            for x0 in samples:
                yield self._advance(x0)

    def _batch(self, x0: Tensor) -> Batch:
        """This process's rows; drawn for the whole batch, so that they do not depend on the share."""
        config, own_rows, repeats = self.config, self.own_rows, self.objective.repeats
        drawn = self.drawing(self.step)
        cond = rows_of(self.cond, drawn.rows)
        if drawn.mirrored is not None:
            x0 = torch.where(drawn.mirrored[own_rows][:, None, None, None], x0.flip(-1), x0)
        if drawn.shifts is not None:
            x0 = shift(x0, drawn.shifts[own_rows])
            cond[AUGMENT] = drawn.shifts / config.crop
        other = None
        if config.class_balancing > 0:
            other = cond | {LABEL: self.cond[LABEL][self.drawing.other_rows(self.step)]}
        for name, nothing in self.absent.items():
            for asked in (cond, other) if other else (cond,):
                asked[name][drawn.dropped] = nothing
        rho = self.design.levels.draw(self.design.schedule, config.batch, drawn.rest).float()[own_rows]
        x0, valid = fill_missing(x0)
        own = lambda cond: move(repeat(rows_of(cond, own_rows), repeats), self.device)
        copies = (repeats, *[1] * (x0.dim() - 1))
        e, mixing = self._noise(x0.shape[1:])
        return Batch(
            x0=x0.repeat(copies).to(self.device),
            rho=rho.repeat(repeats).to(self.device),
            e=e.to(self.device),
            cond=own(cond),
            valid=None if valid is None else valid.repeat(copies).to(self.device),
            other=None if other is None else own(other),
            mixing=None if mixing is None else mixing.to(self.device),
        )

    def _noise(self, shape: torch.Size) -> tuple[Tensor, Tensor | None]:
        """Noise of this process's rows, [repeats * share, *shape], the share of each of the repeats of the batch; and its A where a second head needs it."""
        repeats = self.objective.repeats
        source = BatchStream(repeats * self.config.batch, self.config.seed, "noise", self.step)
        own = lambda drawn: drawn.unflatten(0, (repeats, -1))[:, self.own_rows].flatten(0, 1)
        if not self.design.score_head:
            return own(self.design.noise.sample(shape, source)), None
        e, mixing = self.design.noise.sample_with_mixing(shape, source)
        return own(e), own(mixing.float().expand(len(e), *mixing.shape[1:]))

    def _advance(self, samples: Tensor) -> Progress:
        batch = self._batch(samples)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * min(1.0, (self.step + 1) / max(1, self.config.warmup))
        loss = self.objective(self._predict, batch).sum() / self.config.batch
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        loss, sums = self._over_processes(loss.detach(), self.objective.sums())
        grad_norm = nn.utils.clip_grad_norm_(self.predictor.parameters(), self.config.clip)
        if not (torch.isfinite(loss) and torch.isfinite(grad_norm)):
            raise LevyError(
                f"training step {self.step + 1}: loss {loss.item():.4g}, gradient norm {grad_norm.item():.4g}; "
                "lower train.lr or choose a loss with finite moments"
            )
        self.optimizer.step()
        self.averaged.update_parameters(self.predictor.net)
        self.objective.learn(sums)
        self.step += 1
        return Progress(self.step, loss.item(), grad_norm.item())

    def _predict(self, y: Tensor, rho: Tensor, cond: Condition) -> Any:
        """eps_hat, with the score where the design has its head; what draws in the network (dropout) is keyed by the step too, and leaves the caller's generators alone."""
        on_gpu = self.device.type == "cuda"
        seed = torch.cuda.manual_seed if on_gpu else torch.default_generator.manual_seed  # of this device alone
        with torch.random.fork_rng([self.device] if on_gpu else []):
            seed(seed_of(self.config.seed, "dropout", self.step, self.share.index))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                return (self.predictor.both if self.design.score_head else self.predictor)(y, rho, cond)

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
    def _average(self, averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        # The decay warms up, so that a short run does not average in the random start.
        decay = min(self.config.ema, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def averaged_weights(self) -> dict[str, Tensor]:
        """The network's state with the exponential moving average of its weights, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.averaged.module.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """Flat tensors for safetensors: weights, their average, Adam's moments, what the objective learnt, and the step."""
        flat = {"step": torch.tensor(self.step)}
        flat |= {f"net.{name}": value for name, value in self.predictor.net.state_dict().items()}
        flat |= {f"ema.{name}": value for name, value in self.averaged.state_dict().items()}
        flat |= {f"objective.{name}": value for name, value in self.objective.state().items()}
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
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in flat.items():
            if key.startswith("adam."):
                _, i, slot = key.split(".")
                slots.setdefault(int(i), {})[slot] = value
        self.optimizer.load_state_dict({"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]})
