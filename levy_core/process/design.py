"""A design: noise x schedule x parametrisation x loss x training levels x latent. A method of the literature is a row of ``PRESETS``."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor, nn

from levy_core.base.errors import LevyError, choose
from levy_core.base.patches import Patches
from levy_core.process.loss import ResidualLoss
from levy_core.process.noise import Gaussian, Noise, Stable, StudentT
from levy_core.process.parametrisation import PARAMETRISATIONS, Predictor, Units
from levy_core.process.schedule import SCHEDULES, Schedule


@dataclass(frozen=True)
class UniformT:
    """Training levels rho(t), t uniform over the schedule."""

    def draw(self, schedule: Schedule, size: int, g: torch.Generator) -> Tensor:
        """rho, float64 [size]."""
        u = torch.rand(size, generator=g, dtype=torch.float64)
        return schedule.ratio(schedule.t_min + (schedule.t_max - schedule.t_min) * u)


@dataclass(frozen=True)
class LogNormal:
    """Training levels with log rho ~ N(level_mean, level_std**2). Source: Karras et al. (2022), table 1."""

    level_mean: float = -1.2
    level_std: float = 1.2

    def __post_init__(self) -> None:
        if not self.level_std > 0:
            raise LevyError(f"level_std is {self.level_std}, but must be positive")

    def draw(self, schedule: Schedule, size: int, g: torch.Generator) -> Tensor:
        """rho, float64 [size]."""
        return torch.exp(self.level_mean + self.level_std * torch.randn(size, generator=g, dtype=torch.float64))


LAWS: dict[str, type] = {"gaussian": Gaussian, "stable": Stable, "student-t": StudentT}
LEVELS: dict[str, type] = {"uniform-t": UniformT, "log-normal": LogNormal}

# Published methods; a person may override any axis and the options of its entry.
_EDM = {"schedule": "exploding", "param": "denoiser", "loss": "squared", "weight": "edm", "levels": "log-normal"}
_FLOW = {"schedule": "flow", "param": "velocity", "loss": "squared", "weight": "velocity"}
_LIM = {"noise": "stable", "alpha": 1.8, "schedule": "cosine", "param": "lim-score"}
_DLPM = {"noise": "stable", "alpha": 1.7, "schedule": "dlpm-cosine", "param": "noise"}
# The squared error of heavy tails: its minimiser is the conditional mean, which the published losses miss.
_CONSISTENT = {"loss": "squared", "tail_weight": "cauchy", "level_weight": "residual"}
PRESETS: dict[str, dict[str, Any]] = {
    # Yoon et al. (2023) and the improved-sampling paper: the fractional score; published with smooth L1.
    "lim": {**_LIM, **_CONSISTENT},
    "lim-published": {**_LIM, "loss": "huber"},
    # Shariatian et al. (arXiv 2407.18609). DLIM trains as DLPM does and differs in the solver alone: posterior for DLPM,
    # ode or split-dlim for DLIM.
    "dlpm": {**_DLPM, **_CONSISTENT},
    "dlim": {**_DLPM, **_CONSISTENT},
    "dlpm-published": {**_DLPM, "loss": "l2-norm"},
    # Ho et al. (2020) with the cosine schedule of Nichol and Dhariwal (2021).
    "ddpm": {"noise": "gaussian", "schedule": "cosine", "param": "noise", "loss": "squared"},
    # Karras et al. (2022), and Pandey et al. (arXiv 2410.14171) with Student-t noise.
    "edm": {"noise": "gaussian", **_EDM},
    "tedm": {"noise": "student-t", "nu": 4.0, **_EDM},
    # Lipman et al. (2023), and Pandey et al. with Student-t noise.
    "flow": {"noise": "gaussian", **_FLOW},
    "tflow": {"noise": "student-t", "nu": 4.0, **_FLOW},
}


def _options(kind: type) -> dict[str, Field]:
    """Keys that an entry of an axis understands beside what the design gives it."""
    return {f.name: f for f in fields(kind) if f.name not in ("exponent", "loss", "weight")}


@dataclass(frozen=True)
class Design:
    """One point of the design space.

    Args:
        sigma_data: standard deviation of the data, for the denoiser's preconditioning and weight.
        score_head: the network also learns the score, grad log p_rho(y); heads: predictions that it gives.
        eofs: samples are whitened coefficients of leading EOFs, as many as hold this share of the variance, or so many; None: the values
            themselves.
        patches: of fields, which the network sees at a time; None: whole samples.

    Raises:
        LevyError: an unknown name on an axis, a loss that is infinite under the noise law, eofs that are neither share nor number, or patches with
            eofs or a score head.
    """

    noise: Noise
    schedule: Schedule
    param: str
    loss: ResidualLoss
    levels: UniformT | LogNormal = UniformT()
    sigma_data: float = 0.5
    score_head: bool = False
    eofs: int | float | None = None
    patches: Patches | None = None

    def __post_init__(self) -> None:
        choose("parametrisation", self.param, PARAMETRISATIONS)
        if self.param == "velocity" and self.schedule.signal_at(torch.ones(1)).item() != 0.5:
            raise LevyError("the parametrisation velocity belongs to the schedule flow: choose that, or another param")
        if not 0 < self.sigma_data < float("inf"):
            raise LevyError(f"sigma_data is {self.sigma_data}, but must be positive and finite")
        if self.eofs is not None and not (self.eofs >= 1 if isinstance(self.eofs, int) else 0 < self.eofs < 1):
            raise LevyError(
                f"eofs is {self.eofs}, but must be a share of the variance between 0 and 1, such as 0.95, or a whole number of EOFs"
            )
        if self.patches is not None and self.eofs is not None:
            raise LevyError(
                f"eofs is {self.eofs}, whose coefficients have no place, so that no patches can be cut of them: take eofs or patches out"
            )
        if self.patches is not None and self.score_head:
            raise LevyError(
                "score_head learns what is left of a score whose size follows from all values of what it sees, which differs between a patch and "
                "a field: take score_head or patches out"
            )
        self.loss.check(self.noise)

    @property
    def units(self) -> Units:
        return Units.of(self.noise, self.sigma_data)

    @property
    def heads(self) -> int:
        return 1 + self.score_head

    def predictor(self, net: nn.Module) -> Predictor:
        """``net`` seen as eps_hat."""
        return Predictor(net, self.param, self.noise, self.sigma_data, self.score_head)

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> "Design":
        """From a plain mapping: ``preset`` (optional) and overrides of its keys.

        Raises:
            LevyError: names the unknown key, name or value, and what is allowed.
        """
        given = dict(settings)
        base = choose("design preset", given.pop("preset"), PRESETS) if "preset" in given else {}
        # An override of an axis drops the preset's options of the entry that it replaces.
        replaced = {
            key
            for axis, table in _AXES.items()
            if axis in base and given.get(axis, base[axis]) != base[axis]
            for key in _options(table[base[axis]])
        }
        if given.get("loss", base.get("loss")) != base.get("loss"):
            replaced |= _options(ResidualLoss).keys()
        merged = {"levels": "uniform-t", **{k: v for k, v in base.items() if k not in replaced}, **given}
        choices = ["preset", *_AXES, "param", "loss", "weight", "sigma_data", "score_head", "eofs", "patches"]

        def build(axis: str, **context: Any) -> Any:
            name = merged.pop(axis, None)
            kind = choose(_TITLES[axis], name, _AXES[axis])
            given = taken(kind)
            for key, field in _options(kind).items():
                if field.default is MISSING and key not in given:
                    raise LevyError(f"the {_TITLES[axis]} {name!r} needs {key}: add it")
            return kind(**context, **given)

        def taken(kind: type) -> dict[str, Any]:
            choices.extend(_options(kind))
            return {key: _typed(field, merged.pop(key)) for key, field in _options(kind).items() if key in merged}

        noise = build("noise")
        schedule = build("schedule", exponent=noise.exponent)
        levels = build("levels")
        loss = ResidualLoss(merged.pop("loss", None), merged.pop("weight", "noise"), **taken(ResidualLoss))
        own = {f.name: f for f in fields(cls)}
        param, sigma_data = merged.pop("param", None), _typed(own["sigma_data"], merged.pop("sigma_data", 0.5))
        score_head = _typed(own["score_head"], merged.pop("score_head", False))
        eofs, patches = _typed(own["eofs"], merged.pop("eofs", None)), merged.pop("patches", None)
        if merged:
            raise LevyError(f"unknown key {sorted(merged)[0]!r} for {noise}: allowed are {', '.join(choices)}")
        patches = patches if patches is None else Patches.from_mapping(patches)
        return cls(noise, schedule, param, loss, levels, sigma_data, score_head, eofs, patches)

    def to_mapping(self) -> dict[str, Any]:
        """The inverse of ``from_mapping``, without presets."""
        flat: dict[str, Any] = {}
        for axis, table in _AXES.items():
            entry = getattr(self, axis)
            flat[axis] = next(name for name, kind in table.items() if kind is type(entry))
            flat |= {key: value for key, value in asdict(entry).items() if key != "exponent"}
        return {
            **flat,
            "param": self.param,
            **asdict(self.loss),
            "sigma_data": self.sigma_data,
            "score_head": self.score_head,
            "eofs": self.eofs,
            "patches": self.patches and self.patches.to_mapping(),
        }

    @property
    def is_gaussian(self) -> bool:
        """Whether its noise is Gaussian, alpha 2 of a stable law included."""
        return isinstance(self.noise, Gaussian) or (isinstance(self.noise, Stable) and self.noise.alpha == 2)

    def is_twin(self, other: "Design") -> bool:
        """Whether the two differ in nothing but the noise law and its options."""
        a, b = (
            {k: v for k, v in d.to_mapping().items() if k not in ("noise", *d.noise_options)} for d in (self, other)
        )
        return a == b

    @property
    def noise_options(self) -> list[str]:
        """Keys of ``to_mapping`` that say which noise of its law it is."""
        return list(_options(type(self.noise)))


_AXES: dict[str, dict[str, Any]] = {"noise": LAWS, "schedule": SCHEDULES, "levels": LEVELS}
_TITLES = {"noise": "noise law", "schedule": "schedule", "levels": "training levels"}


def _typed(field: Field, value: Any) -> Any:
    kind: Any = field.type
    try:
        return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False)).validate_python(value, strict=True)
    except ValidationError as error:
        raise LevyError(f"{field.name} is {value!r}: {error.errors()[0]['msg'].lower()}") from None
