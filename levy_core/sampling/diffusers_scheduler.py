"""A diffusers scheduler with alpha-stable noise: swap it into a pipeline, or train with it."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from levy_core.base import torchvision_ops  # noqa: F401  (before diffusers)
from levy_core.base.errors import LevyError, choose
from levy_core.process.noise import Gaussian, Noise, Stable
from levy_core.process.parametrisation import broadcast
from levy_core.sampling.discrete import PREDICTIONS, ArgumentError, DiscreteLevels, Visits
from levy_core.sampling.steps import FAMILIES
from levy_core.sampling.stepwise import Stepwise, method_of
from levy_core.sampling.torch_streams import Generators, TorchStreams

from diffusers import ConfigMixin, DDIMScheduler, SchedulerMixin  # isort: skip
from diffusers.configuration_utils import register_to_config  # isort: skip
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput  # isort: skip


BETAS = dict.fromkeys(("linear", "scaled_linear", "squaredcos_cap_v2"))
SPACINGS = dict.fromkeys(("leading", "linspace", "trailing"))
STARTS = dict.fromkeys(("gaussian", "stable"))
DDIM_RULES = ("ode", "split-ddim")  # what DDIMScheduler is at alpha 2
OF_DDIM = ["num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"]
OF_DDIM += ["timestep_spacing", "steps_offset", "rescale_betas_zero_snr"]


class LevyScheduler(SchedulerMixin, ConfigMixin):
    """Forward process and sampler of a discrete-time model with alpha-stable noise, as a diffusers scheduler.

    ``x_t = a x_0 + gamma e`` with the levels of ``DiscreteLevels``; below alpha 2 e is ``noise_like``. At alpha 2 noise, levels and
    samples are those of DDIMScheduler (ode, split-ddim), of DDPMScheduler with ``fixed_small`` (posterior) and of
    DPMSolverMultistepScheduler with ``solver_type="heun"`` (2m-data; ode, and sde-e with eta 1): e is the standard normal there;
    ``noise.Stable(2)`` would be sqrt(2) times as wide.

    Below 2, pipelines still begin with Gaussian noise z and ask the network before the first step. A stable start is
    ``gamma sqrt(A) z``, so ``timesteps`` begins with its first value twice: the first step ignores the network, makes
    this start and returns zeros for x0_hat. That wastes one evaluation; all that follows is exact. z itself seeds A. A loop that begins
    later (img2img) has no such step, and one that begins with what ``add_noise`` returned is left as it is.

    Without ``set_timesteps``, or at a timestep that is not among ``timesteps``, a step goes down by T // (number of inference
    steps), as DDIMScheduler's does: from t to t - 1 at first. Nothing makes a start then.

    Args:
        alpha: tail index in (1, 2]. isotropic: one mixing variable per sample; otherwise one per coordinate.
        solver: a key of ``steps.FAMILIES``. discretisation: a key of ``stepwise.ON_LEVELS``; all but ei-noise go with ode, sde-e and sde-a.
        rows: of a table that was fitted to this model (``Solver.rows``), with solver ode and discretisation fitted. It has its own levels and
            number of steps; loops that begin later are 2m-data.
        eta: strength of the noise that comes back. A positive ``eta`` argument of ``step`` goes before it; 0, which
            pipelines pass unasked, does not.
        start: the noise that callers bring to a sampling loop, as its first sample or to ``add_noise``: "gaussian", as pipelines
            do, which is made stable here, or "stable", ``noise_like``, without the extra timestep.
        trained_betas: of any number, which ``num_train_timesteps`` then is.
        all others: as in DDIMScheduler, with its defaults. posterior ends at clean data whatever set_alpha_to_one says, as
            DDPMScheduler does. Clipping cuts tails off.

    Raises:
        LevyError: an unknown name, two that do not fit, a number out of range, posterior with a stable start.

    Sources: ``levy_core.sampling.steps``; the discrete levels are those of Shariatian et al., DLPM (arXiv 2407.18609).
    """

    _compatibles: ClassVar = ["DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler", "PNDMScheduler"]
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
        trained_betas: Sequence[float] | None = None,
        alpha: float = 2.0,
        isotropic: bool = True,
        solver: str = "split-ddim",
        discretisation: str = "ei-noise",
        rows: str | None = None,
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
        method, family = method_of(solver, discretisation, eta, rows), FAMILIES[solver]
        if family.ancestral and alpha < 2 and start == "stable":
            raise LevyError(f"{solver} draws its start together with the path: set start to gaussian")
        self.noise: Noise = Gaussian() if alpha == 2 else Stable(alpha, isotropic)
        self._is_ddim = solver in DDIM_RULES and discretisation == "ei-noise"
        self._makes_stable = alpha < 2 and start == "gaussian"
        self._steps = Stepwise(method, self.noise)
        if trained_betas is not None:
            betas = [float(beta) for beta in trained_betas]
            self.register_to_config(trained_betas=betas, num_train_timesteps=len(betas))
        original = self._ddim()
        self.betas, self.alphas_cumprod = original.betas, original.alphas_cumprod
        self.levels = DiscreteLevels(self.betas, self.noise.exponent, set_alpha_to_one or family.ancestral)
        self.num_inference_steps: int | None = None
        self.begin_index: int | None = None
        self.step_index: int | None = None  # position in timesteps of the next step
        self._sampling = False  # from set_timesteps to the last step
        self._noisy: Tensor | None = None  # what add_noise made before the first step
        rho = [*self.levels.rho.tolist()[::-1], self.levels.end]
        self._visit(Visits([*reversed(range(len(self)))], rho, rho[1:]))

    def __len__(self) -> int:
        return len(self.levels)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begins the next loop at this position of ``timesteps``."""
        self.begin_index = begin_index

    def scale_model_input(self, sample: Tensor, timestep: int | Tensor | None = None) -> Tensor:
        return sample

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Chooses the timesteps, and begins a new sampling loop. Give one of three.

        Args:
            num_inference_steps: spaced as DDIMScheduler does.
            timesteps: that fall.
            sigmas: levels rho that fall, one more than steps: the last is where sampling ends, 0 for clean data. The network is asked at
                times between timesteps, as EulerDiscreteScheduler does.

        Raises:
            ArgumentError: none or two of them; fewer than one step, more than were trained, or an offset that leads past the
                last one; values that do not fall or were not trained.
        """
        if sum(given is not None for given in (num_inference_steps, timesteps, sigmas)) != 1:
            raise ArgumentError("give set_timesteps one of num_inference_steps, timesteps and sigmas")
        if levels := self._steps.levels:  # a fitted table's own
            if num_inference_steps != len(levels) - 1:
                raise ArgumentError(
                    f"the fitted table has levels of its own: give num_inference_steps={len(levels) - 1}"
                )
            sigmas = levels
        if sigmas is not None:
            times, rho = self.levels.times_of(sigmas), [float(sigma) for sigma in sigmas]
        else:
            chosen = self.levels.chosen(self._ddim(), num_inference_steps, timesteps)
            times, rho = [*chosen], [*self.levels.rho[chosen].tolist(), self.levels.end]
        self.num_inference_steps, self.begin_index, after = len(times), None, rho[1:]
        if num_inference_steps and self.config.alpha == 2 and self._is_ddim:
            # DDIM's own rule, which with some spacings does not lead to the next timestep
            after = [self.levels.below(t, len(self) // num_inference_steps) for t in times]
        self._visit(Visits(times, rho, after, repeats=int(self._makes_stable)), device)
        self._sampling = True

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        eta: float | None = None,
        use_clipped_model_output: bool | None = None,
        generator: Generators = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> DDIMSchedulerOutput | tuple[Tensor, Tensor]:
        """From x [B, *S] and the network's output there to x at the next level, with x0_hat.

        Args:
            eta: if positive, in the place of the config's.
            use_clipped_model_output: derive eps_hat again from a clipped x0_hat. Solvers that DDIMScheduler does not
                have always do.
            variance_noise: the noise that comes back, [B, *S], in the place of a draw of the generator; below alpha 2
                ``noise_like``, but for the posterior solver Gaussian.

        Raises:
            LevyError: a timestep that was not trained; shapes that differ; an output that is not finite; an output or a solver that
                cannot begin where there is no signal; posterior below alpha 2 that did not begin at the first timestep with
                this batch.
            ArgumentError: a generator and variance_noise.
        """
        t = float(timestep)
        position = self._visits.position(t, self.begin_index if self.step_index is None else self.step_index)
        if model_output.shape != sample.shape:
            shapes = f"{list(model_output.shape)} and {list(sample.shape)}"
            raise LevyError(f"model output and sample are {shapes}, but must have one shape: predict no variance")
        if not torch.isfinite(model_output).all():
            raise LevyError(f"the model output at timestep {t:g} has NaN or infinite values: look at the training loss")
        if generator is not None and variance_noise is not None:
            raise ArgumentError("step was given a generator and variance_noise: give one")
        eta, streams = eta or self.config.eta, self._streams(model_output, generator)
        # x_0 is a small difference of large values where rho is large
        x = (sample.cpu() if sample.device.type == "mps" else sample).double()
        if position is not None and position < self._visits.repeats:
            made, x0 = self._begin(sample, x), torch.zeros_like(x)
        else:
            now, after = self._ends(t, position)
            y, eps, x0 = self._predict(x, model_output.to(x), now, derive=use_clipped_model_output or not self._is_ddim)
            fresh = self._fresh(t, eta, x, streams) if variance_noise is None else variance_noise.to(x)
            made = self._steps.advance(now, after, y, eps, x0, eta, fresh, streams) * self.levels.signal(after)
        if position is not None:
            self.step_index, self._noisy = position + 1, None
            self._sampling = self._sampling and self.step_index < len(self.timesteps)
        made, x0 = made.to(sample), x0.to(sample)
        return DDIMSchedulerOutput(made, x0) if return_dict else (made, x0)

    def noise_like(self, x: Tensor, generator: Generators = None) -> Tensor:
        """Noise e for training, in the shape and type and on the device of x [B, *S]."""
        return self.noise.sample(x.shape[1:], self._streams(x, generator)).to(x)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """``a x_0 + gamma e``, [B, *S], at timesteps [B] or [1].

        Args:
            noise: e, that is ``noise_like``. From ``set_timesteps`` to the last step, below alpha 2 and unless start is
                "stable", it is the Gaussian z that pipelines bring (img2img, inpainting), and e = sqrt(A) z: A is
                seeded by z itself, so that the same z gives the same e at every timestep, as inpainting needs.

        Raises:
            LevyError: a timestep that was not trained.
        """
        brought = self._sampling and self._makes_stable
        if brought:
            mixing = self.noise.mixing(noise.shape[1:], TorchStreams.of_content(noise))
            noise = (mixing.sqrt().to(noise.device, torch.float32) * noise).to(noise)
        signal, scale = self._at(timesteps, original_samples)
        noisy = signal * original_samples + scale * noise
        if brought and self.step_index is None:
            self._noisy = noisy
        return noisy

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a v_prediction network learns, ``a e - gamma x_0``, [B, *S], at timesteps [B] or [1]."""
        signal, scale = self._at(timesteps, sample)
        return signal * noise - scale * sample

    def _ddim(self) -> DDIMScheduler:
        # made anew, because pipelines change the config of a scheduler that they are given
        return DDIMScheduler(**{name: self.config[name] for name in OF_DDIM})

    def _visit(self, visits: Visits, device: str | torch.device | None = None) -> None:
        self._visits, self.sigmas = visits, visits.sigmas
        self.timesteps = torch.tensor(visits.timesteps, device=device)
        self.step_index, self._sampling, self._noisy = None, False, None
        self._steps.restart()

    def _ends(self, t: float, position: int | None) -> tuple[float, float]:
        """rho before and after a step."""
        now = float(self.levels.rho_at(torch.tensor(t)))  # what was not trained is refused, visited or not
        if position is None:
            return now, self.levels.below(t, len(self) // (self.num_inference_steps or len(self)))
        return self._visits.ends(position)

    def _begin(self, sample: Tensor, x: Tensor) -> Tensor:
        if self._noisy is not None and torch.equal(self._noisy.to(sample), sample):
            return x  # img2img from the first timestep: it has its noise already
        rho = self._visits.rho
        return self.levels.signal(rho[0]) * self._steps.begin(rho, x, TorchStreams.of_content(sample))

    def _predict(self, x: Tensor, out: Tensor, rho: float, derive: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(y, eps_hat, x0_hat)."""
        x0, eps = self.levels.predict(self.config.prediction_type, x, out, rho)
        if self.config.thresholding:
            x0 = self._threshold_sample(x0)
        elif self.config.clip_sample:
            x0 = x0.clamp(-self.config.clip_sample_range, self.config.clip_sample_range)
        if derive:
            eps = (x / self.levels.signal(rho) - x0) / rho
        return x0 + rho * eps, eps, x0

    def _fresh(self, t: float, eta: float, x: Tensor, streams: TorchStreams) -> Tensor | None:
        """Noise that comes back; drawn even for a last step that adds none, as DDIM does, but for DDPM's at timestep 0."""
        if self._steps.family.ancestral:
            return streams.normal(x.shape[1:]).to(x) if t > 0 else None
        comes_back = self._steps.family.strength(torch.tensor(eta)) > 0
        return self.noise.sample(x.shape[1:], streams).to(x) if comes_back else None

    def _at(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        signal, scale = (v.to(like.dtype).to(like.device) for v in self.levels.coefficients(timesteps.flatten()))
        return broadcast(signal, like), broadcast(scale, like)

    def _streams(self, like: Tensor, generator: Generators) -> TorchStreams:
        return TorchStreams(generator, like, like.dtype if self.config.alpha == 2 else torch.float32)
