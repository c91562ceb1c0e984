"""A diffusers scheduler with alpha-stable noise: swap it into a pipeline, or train with it."""

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from levy_core.base import torchvision_ops  # noqa: F401  (before diffusers)
from levy_core.base.errors import LevyError, choose
from levy_core.process.noise import Gaussian, Noise, Stable, open_interval
from levy_core.process.parametrisation import broadcast
from levy_core.process.schedule import Exploding
from levy_core.sampling.loop import AncestralPath
from levy_core.sampling.solver import Solver, StepTable, tabulate
from levy_core.sampling.steps import FAMILIES

from diffusers import ConfigMixin, DDIMScheduler, SchedulerMixin  # isort: skip
from diffusers.configuration_utils import register_to_config  # isort: skip
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput  # isort: skip
from diffusers.utils.torch_utils import randn_tensor  # isort: skip

Generators: TypeAlias = torch.Generator | list[torch.Generator] | None


def _from_velocity(x: Tensor, out: Tensor, a: float, gamma: float) -> tuple[Tensor, Tensor]:
    norm = a**2 + gamma**2  # 1 at alpha 2 only
    return (a * x - gamma * out) / norm, (a * out + gamma * x) / norm


# (x, network output, a, gamma) -> (x0_hat, eps_hat)
PREDICTIONS: dict[str, Callable[[Tensor, Tensor, float, float], tuple[Tensor, Tensor]]] = {
    "epsilon": lambda x, out, a, gamma: ((x - gamma * out) / a, out),
    "sample": lambda x, out, a, gamma: (out, (x - a * out) / gamma),
    "v_prediction": _from_velocity,
}
BETAS = dict.fromkeys(("linear", "scaled_linear", "squaredcos_cap_v2"))
SPACINGS = dict.fromkeys(("leading", "linspace", "trailing"))
STARTS = dict.fromkeys(("gaussian", "stable"))
DDIM_RULES = ("ode", "split-ddim")  # what DDIMScheduler is at alpha 2
OF_DDIM = ["num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"]
OF_DDIM += ["timestep_spacing", "steps_offset", "rescale_betas_zero_snr"]


class TorchStreams:
    """``noise.RandomStreams`` for B rows on what pipelines pass: a generator, a list of one per sample, or None (torch's own).

    Draws stay on the generator's device. Raises LevyError for a list of another length than the batch.
    """

    def __init__(self, generator: Generators, like: Tensor, dtype: torch.dtype):
        each = generator if isinstance(generator, list) else [generator]
        if len(each) not in (1, len(like)):
            raise LevyError(f"{len(each)} generators came with a batch of {len(like)}: give one, or one per sample")
        self._generator, self._each, self._size, self._dtype = generator, each, len(like), dtype
        device = like.device if each[0] is None else each[0].device
        self.device = torch.device("cpu") if device.type == "mps" else device  # mixing variables are float64

    def normal(self, shape: Sequence[int]) -> Tensor:
        """N(0, 1), [B, *shape], drawn as diffusers does."""
        return randn_tensor((self._size, *shape), generator=self._generator, device=self.device, dtype=self._dtype)

    def uniform(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        """float64 multiples of 2**-53 in [0, 1), [B, *shape]; with ``rows``, for as many rows."""
        rows = range(self._size) if rows is None else rows
        draws = [(self._each[0], len(rows))] if len(self._each) == 1 else [(self._each[i], 1) for i in rows]
        made = [torch.rand((n, *shape), generator=g, device=self.device, dtype=torch.float64) for g, n in draws]
        return torch.cat(made)

    def halves(self, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """(u, 1 - u, v) of independent uniforms u and v in (0, 1), float32 [B, *shape]."""
        u, v = (open_interval(self.uniform(shape)) for _ in range(2))
        return u.float(), (1 - u).float(), v.float().clamp_(max=1 - 2.0**-24)


class LevyScheduler(SchedulerMixin, ConfigMixin):
    """Forward process and sampler of a discrete-time model with alpha-stable noise, as a diffusers scheduler.

    ``x_t = a x_0 + gamma e`` with ``a = acp**(1/alpha)``, ``gamma = (1 - acp)**(1/alpha)``, acp the cumulated product of
    ``1 - beta``. At alpha 2 noise, levels and samples are those of DDIMScheduler (ode, split-ddim) and of DDPMScheduler
    with ``fixed_small`` (posterior): e is the standard normal there; ``noise.Stable(2)`` would be sqrt(2) times as wide.

    Below 2, pipelines still begin with Gaussian noise z and ask the network before the first step. A stable start is
    ``gamma sqrt(A) z``, so ``timesteps`` begins with its first value twice: the first step ignores the network, makes
    this start and returns zeros for x0_hat. That wastes one evaluation; all that follows is exact. A loop that begins
    later (``set_begin_index``, img2img) has no such step: its noise is what the caller added, stable if ``noise_like``.

    Args:
        alpha: tail index in (1, 2]. isotropic: one mixing variable per sample; otherwise one per coordinate.
        solver: a key of ``steps.FAMILIES``.
        eta: strength of the noise that comes back. A positive ``eta`` argument of ``step`` goes before it; 0, which
            pipelines pass unasked, does not.
        start: "gaussian" or, without the extra timestep, "stable": the caller brings ``noise_like`` as the first sample.
        all others: as in DDIMScheduler, with its defaults. Zero terminal SNR is refused; posterior ends at clean data
            whatever set_alpha_to_one says, as DDPMScheduler does. Clipping cuts tails off.

    Raises:
        LevyError: an unknown name, a number out of range, posterior with a stable start.

    Sources: ``levy_core.sampling.steps``; the discrete levels are those of Shariatian et al., DLPM (arXiv 2407.18609).
    """

    _compatibles: ClassVar[list[str]] = ["DDIMScheduler", "DDPMScheduler"]
    order = 1
    init_noise_sigma = 1.0
    _threshold_sample = DDIMScheduler._threshold_sample

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: list[float] | None = None,
        alpha: float = 2.0,
        isotropic: bool = True,
        solver: str = "split-ddim",
        eta: float = 0.0,
        start: str = "gaussian",
        prediction_type: str = "epsilon",
        clip_sample: bool = True,
        clip_sample_range: float = 1.0,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        steps_offset: int = 0,
        set_alpha_to_one: bool = True,
        rescale_betas_zero_snr: bool = False,
    ):
        choose("beta schedule", beta_schedule, BETAS)
        choose("prediction type", prediction_type, PREDICTIONS)
        choose("timestep spacing", timestep_spacing, SPACINGS)
        choose("start", start, STARTS)
        Solver(solver, "ei-noise", "uniform-t", 1, eta)  # refuses an unknown solver and an eta out of its range
        self.noise: Noise = Gaussian() if alpha == 2 else Stable(alpha, isotropic)
        self._family, self._warm_up = FAMILIES[solver], int(alpha < 2 and start == "gaussian")
        if self._family.ancestral and alpha < 2 and start == "stable":
            raise LevyError(f"{solver} draws its start together with the path: set start to gaussian")
        self._ddim = DDIMScheduler(**{name: self.config[name] for name in OF_DDIM})
        self.betas, self.alphas_cumprod = self._ddim.betas, self._ddim.alphas_cumprod
        if len(self.betas) != num_train_timesteps or not ((self.betas > 0) & (self.betas < 1)).all():
            raise LevyError(
                f"betas are {len(self.betas)} from {self.betas.min():g} to {self.betas.max():g}: give {num_train_timesteps} "
                "strictly between 0 and 1, and no rescale_betas_zero_snr, which makes the last one 1"
            )
        acp = self.alphas_cumprod.double()
        acp = torch.cat([acp, acp.new_ones(1) if set_alpha_to_one or self._family.ancestral else acp[:1]])
        self._signal, self._scale = acp ** (1 / alpha), (1 - acp) ** (1 / alpha)  # the last, -1, is where sampling ends
        self._rho = self._scale / self._signal
        self.timesteps = self._ddim.timesteps
        self.num_inference_steps: int | None = None
        self.step_index: int | None = None  # position in timesteps of the next step
        self.begin_index: int | None = None
        self._path: tuple[torch.Size, AncestralPath] | None = None

    def __len__(self) -> int:
        return self.config.num_train_timesteps

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begins the next loop at this position of ``timesteps``."""
        self.begin_index = begin_index

    def scale_model_input(self, sample: Tensor, timestep: int | Tensor | None = None) -> Tensor:
        return sample

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Chooses the timesteps as DDIMScheduler does, and begins a new loop.

        Raises:
            LevyError: fewer than one step, more than were trained, or an offset that leads past the last one.
        """
        trained = len(self)
        if not 1 <= num_inference_steps <= trained:
            raise LevyError(f"{num_inference_steps} inference steps of {trained} trained ones: give 1 to {trained}")
        self._ddim.set_timesteps(num_inference_steps)
        # rounding in np.arange gives diffusers' "trailing" a superfluous -1 for some numbers of steps
        times = [t for t in self._ddim.timesteps.tolist() if t >= 0]
        if times[0] >= trained:
            raise LevyError(f"steps_offset leads to timestep {times[0]}, past {trained - 1}: take fewer steps")
        self._after = [*times[1:], -1]
        if self.config.alpha == 2 and self.config.solver in DDIM_RULES:
            # DDIM's own rule, which with some spacings does not lead to the next timestep
            self._after = [max(t - trained // num_inference_steps, -1) for t in times]
        self._times = times[:1] * self._warm_up + times
        self.timesteps, self.num_inference_steps = torch.tensor(self._times, device=device), num_inference_steps
        self.step_index = self.begin_index = self._path = None

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float | None = None,
        use_clipped_model_output: bool | None = None,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> DDIMSchedulerOutput | tuple[Tensor, Tensor]:
        """From x [B, *S] and the network's output there to x at the next level, with x0_hat.

        Args:
            eta: if positive, in the place of the config's.
            use_clipped_model_output: derive eps_hat again from a clipped x0_hat. Solvers that DDIMScheduler does not
                have always do.

        Raises:
            LevyError: no set_timesteps before; a timestep that is not among ``timesteps``; shapes that differ; an output
                that is not finite; posterior below alpha 2 that did not begin at the first timestep with this batch.
        """
        position = self._locate(timestep)
        t, row, eta = self._times[position], position - self._warm_up, eta or self.config.eta
        if model_output.shape != sample.shape:
            shapes = f"{list(model_output.shape)} and {list(sample.shape)}"
            raise LevyError(f"model output and sample are {shapes}, but must have one shape: predict no variance")
        if not torch.isfinite(model_output).all():
            raise LevyError(f"the model output at timestep {t} has NaN or infinite values: look at the training loss")
        streams, shape = self._streams(model_output, generator), sample.shape[1:]
        # x_0 is a small difference of large values where rho is large
        x = sample.to(torch.float32 if sample.device.type == "mps" else torch.float64)
        path = self._mixing_path(x, streams, begins=row < 0) if self._family.ancestral else None
        a, gamma, a_after = (float(v) for v in (self._signal[t], self._scale[t], self._signal[self._after[row]]))
        x0, eps = PREDICTIONS[self.config.prediction_type](x, model_output.to(x), a, gamma)
        x0 = self._limited(x0)
        if row < 0:
            x0 = torch.zeros_like(x)
            after = a * path.start(x) if path else gamma * self.noise.mixing(shape, streams).sqrt().to(x) * x
        elif path:
            z = streams.normal(shape).to(x) if t > 0 else torch.zeros_like(x)
            after = a_after * path.advance(row, x / a, x / a - x0, z)
        else:
            drift, strength = self._row(gamma / a, float(self._rho[self._after[row]]), eta)
            if use_clipped_model_output or self.config.solver not in DDIM_RULES:
                eps = (x - a * x0) / gamma
            after = a_after * (x0 + (gamma / a + drift) * eps)
            if float(self._family.strength(torch.tensor(eta))) > 0:  # even for a last step that adds none, as DDIM does
                after = after + a_after * strength * self.noise.sample(shape, streams).to(x)
        self.step_index = position + 1
        after, x0 = after.to(sample.dtype), x0.to(sample.dtype)
        return DDIMSchedulerOutput(after, x0) if return_dict else (after, x0)

    def noise_like(self, x: Tensor, generator: Generators = None) -> Tensor:
        """Noise e for training, in the shape and type and on the device of x [B, *S]."""
        return self.noise.sample(x.shape[1:], self._streams(x, generator)).to(x)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """``a x_0 + gamma e``, [B, *S], at timesteps [B] or [1]."""
        signal, scale = self._at(timesteps, original_samples)
        return signal * original_samples + scale * noise

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a v_prediction network learns, ``a e - gamma x_0``, [B, *S], at timesteps [B] or [1]."""
        signal, scale = self._at(timesteps, sample)
        return signal * noise - scale * sample

    def _at(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        where = timesteps.flatten().to(like.device)
        signal, scale = (level.to(like.dtype).to(like.device)[where] for level in (self._signal, self._scale))
        return broadcast(signal, like), broadcast(scale, like)

    def _streams(self, like: Tensor, generator: Generators) -> TorchStreams:
        return TorchStreams(generator, like, like.dtype if self.config.alpha == 2 else torch.float32)

    def _limited(self, x0: Tensor) -> Tensor:
        if self.config.thresholding:
            return self._threshold_sample(x0)
        most = self.config.clip_sample_range
        return x0.clamp(-most, most) if self.config.clip_sample else x0

    def _locate(self, timestep: int | Tensor) -> int:
        if self.num_inference_steps is None:
            raise LevyError("step was called before set_timesteps: choose the number of inference steps first")
        t, expected = int(timestep), self.begin_index if self.step_index is None else self.step_index
        places = [i for i, time in enumerate(self._times) if time == t]
        if not places:
            raise LevyError(f"timestep {t} is not among the {len(self._times)} chosen: iterate over timesteps")
        if expected in places:
            return expected
        begins = expected is None or expected >= len(self._times)
        return places[0 if begins else -1]  # of the two equal ones, the first only begins a loop

    def _tabulate(self, family: str, rho: Sequence[float], eta: float = 0.0) -> StepTable:
        # in y coordinates every schedule is the exploding one
        return tabulate(Solver(family, "ei-noise", tuple(rho), len(rho) - 1, eta), Exploding(self.noise.exponent))

    def _row(self, now: float, after: float, eta: float) -> tuple[float, float]:
        """(drift, noise) of a step from one rho to another."""
        if after == now:  # without set_alpha_to_one, a last step from timestep 0
            return 0.0, 0.0
        made = self._tabulate(self.config.solver if after else "ode", (now, after), eta)
        return float(made.weights), float(made.noise)  # none on the last step, where it would never be removed

    def _mixing_path(self, x: Tensor, streams: TorchStreams, begins: bool) -> AncestralPath:
        if begins or self._path is None or self._path[0] != x.shape:
            if self._warm_up and not begins:
                known = f"{self.config.solver} draws the mixing variables of a path with its start"
                raise LevyError(f"{known}: begin at timesteps[0] with the whole batch, or choose split-ddim or sde-e")
            levels = self._rho[[*self._times[self._warm_up :], -1]].tolist()
            jumps = self._tabulate(self.config.solver, levels).jumps
            assert jumps is not None
            self._path = x.shape, AncestralPath(jumps, self.noise, streams, x.shape[1:], streams.device)
        return self._path[1]
