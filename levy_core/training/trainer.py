"""One training loop for every design. It yields its progress; bars, logs and files stay with the caller."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from levy_core.base.conditions import Condition, move, repeat, rows_of
from levy_core.base.errors import LevyError
from levy_core.base.seeds import BatchStream, generator, seed_of
from levy_core.nets.precision import Precision
from levy_core.process.design import Design
from levy_core.training.batches import Data, batches, fill_missing, sample_shape
from levy_core.training.objective import Batch, Objective, objective_of
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
        LevyError: shapes that do not match, mirroring of what is no image, or a batch with too few rows to share.
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
        self.objective: Objective = objective or objective_of(design)
        for name, values in cond.items():
            if len(data) != len(values) or not len(data):
                raise LevyError(
                    f"{len(data)} training samples came with {len(values)} rows of {name}: give one row per sample"
                )
        shape = sample_shape(data)
        if config.flip and len(shape) != 3:
            raise LevyError(
                f"flip is for images [N, C, H, W], but the data have shape {[len(data), *shape]}: set flip to false"
            )
        self.data, self.cond, self.absent = data, cond, absent
        self.asks_score = getattr(self.objective, "score_head", False)
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
        with closing(batches(self.data, lambda step: self._rows(step)[0][self.own_rows], steps)) as samples:
            for x0 in samples:
                yield self._advance(x0)

    def _rows(self, step: int) -> tuple[Tensor, torch.Generator]:
        """Which samples a step takes, and the generator of the rest of its batch's randomness."""
        g = generator(self.config.seed, "batch", step)
        return torch.randint(len(self.data), (self.config.batch,), generator=g), g

    def _batch(self, x0: Tensor) -> Batch:
        """This process's rows; drawn for the whole batch, so that they do not depend on the share."""
        config, own_rows, repeats = self.config, self.own_rows, self.objective.repeats
        rows, g = self._rows(self.step)
        cond = rows_of(self.cond, rows)
        if config.flip:
            mirrored = torch.rand(config.batch, generator=g)[own_rows] < 0.5
            x0 = torch.where(mirrored[:, None, None, None], x0.flip(-1), x0)
        dropped = torch.rand(config.batch, generator=g) < config.label_dropout
        for name, nothing in self.absent.items():
            cond[name][dropped] = nothing
        rho = self.design.levels.draw(self.design.schedule, config.batch, g).float()[own_rows]
        x0, valid = fill_missing(x0)
        copies = (repeats, *[1] * (x0.dim() - 1))
        e, mixing = self._noise(x0.shape[1:])
        return Batch(
            x0=x0.repeat(copies).to(self.device),
            rho=rho.repeat(repeats).to(self.device),
            e=e.to(self.device),
            cond=move(repeat(rows_of(cond, own_rows), repeats), self.device),
            valid=None if valid is None else valid.repeat(copies).to(self.device),
            mixing=None if mixing is None else mixing.to(self.device),
        )

    def _noise(self, shape: torch.Size) -> tuple[Tensor, Tensor | None]:
        """Noise of this process's rows, [repeats * share, *shape], the share of each of the repeats of the batch; and its A where asked for."""
        repeats = self.objective.repeats
        source = BatchStream(repeats * self.config.batch, self.config.seed, "noise", self.step)
        own = lambda drawn: drawn.unflatten(0, (repeats, -1))[:, self.own_rows].flatten(0, 1)
        if not self.asks_score:
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
        loss = self._over_processes(loss.detach())
        grad_norm = nn.utils.clip_grad_norm_(self.predictor.parameters(), self.config.clip)
        if not (torch.isfinite(loss) and torch.isfinite(grad_norm)):
            raise LevyError(
                f"training step {self.step + 1}: loss {loss.item():.4g}, gradient norm {grad_norm.item():.4g}; "
                "lower train.lr or choose a loss with finite moments"
            )
        self.optimizer.step()
        self.averaged.update_parameters(self.predictor.net)
        self.step += 1
        return Progress(self.step, loss.item(), grad_norm.item())

    def _predict(self, y: Tensor, rho: Tensor, cond: Condition) -> Any:
        """eps_hat, with the score where the objective asks; what draws in the network (dropout) is keyed by the step too, and leaves the caller's generators alone."""
        on_gpu = self.device.type == "cuda"
        seed = torch.cuda.manual_seed if on_gpu else torch.default_generator.manual_seed  # of this device alone
        with torch.random.fork_rng([self.device] if on_gpu else []):
            seed(seed_of(self.config.seed, "dropout", self.step, self.share.index))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                return (self.predictor.both if self.asks_score else self.predictor)(y, rho, cond)

    def _over_processes(self, loss: Tensor) -> Tensor:
        """The loss of the whole batch; gradients become those of the whole batch too, in one flat float32 sum."""
        if self.share.count == 1:
            return loss
        gradients = [p.grad for p in self.predictor.parameters() if p.grad is not None]
        flat = torch.cat([loss.view(1), *(g.flatten() for g in gradients)])
        self.share.add(flat)
        total, *sums = flat.split([1, *(g.numel() for g in gradients)])
        for gradient, whole in zip(gradients, sums, strict=True):
            gradient.copy_(whole.view_as(gradient))
        return total[0]

    @torch.no_grad()
    def _average(self, averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        # The decay warms up, so that a short run does not average in the random start.
        decay = min(self.config.ema, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def averaged_weights(self) -> dict[str, Tensor]:
        """The network's state with the exponential moving average of its weights, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.averaged.module.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """Flat tensors for safetensors: weights, their average, Adam's moments and the step."""
        flat = {"step": torch.tensor(self.step)}
        flat |= {f"net.{name}": value for name, value in self.predictor.net.state_dict().items()}
        flat |= {f"ema.{name}": value for name, value in self.averaged.state_dict().items()}
        for i, slots in self.optimizer.state_dict()["state"].items():
            flat |= {f"adam.{i}.{slot}": value for slot, value in slots.items()}
        return {name: value.detach().cpu().clone().contiguous() for name, value in flat.items()}

    def restore(self, flat: dict[str, Tensor]) -> None:
        """Goes on from ``state()``."""
        self.step = int(flat["step"])
        for part, prefix in ((self.predictor.net, "net."), (self.averaged, "ema.")):
            part.load_state_dict({k.removeprefix(prefix): v for k, v in flat.items() if k.startswith(prefix)})
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in flat.items():
            if key.startswith("adam."):
                _, i, slot = key.split(".")
                slots.setdefault(int(i), {})[slot] = value
        self.optimizer.load_state_dict({"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]})
