"""A design: noise x schedule x parametrisation x loss. A method of the literature is a row of ``PRESETS``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from levy_core.errors import LevyError, choose
from levy_core.loss import LOSSES, Loss, loss_for
from levy_core.noise import Gaussian, Noise, Stable
from levy_core.param import PARAMETRISATIONS, Predictor
from levy_core.schedule import SCHEDULES, Cosine

# Published methods. Keys that a person may override: alpha, isotropic, schedule, param, loss.
PRESETS: dict[str, dict[str, Any]] = {
    # Yoon et al. (2023) and the improved-sampling paper: the fractional score, smooth L1.
    "lim": {
        "noise": "stable",
        "alpha": 1.8,
        "isotropic": True,
        "schedule": "cosine",
        "param": "lim-score",
        "loss": "huber",
    },
    # Ho et al. (2020) with the cosine schedule of Nichol and Dhariwal (2021).
    "ddpm": {"noise": "gaussian", "schedule": "cosine", "param": "noise", "loss": "squared"},
}
LAWS: dict[str, tuple[type, tuple[str, ...]]] = {"gaussian": (Gaussian, ()), "stable": (Stable, ("alpha", "isotropic"))}


@dataclass(frozen=True)
class Design:
    """One point of the design space.

    Raises:
        LevyError: an unknown name on an axis, or a loss that is infinite under the noise law.
    """

    noise: Noise
    schedule_name: str
    param: str
    loss_name: str

    def __post_init__(self) -> None:
        choose("schedule", self.schedule_name, SCHEDULES)
        choose("parametrisation", self.param, PARAMETRISATIONS)
        loss_for(self.loss_name, self.noise)

    @property
    def schedule(self) -> Cosine:
        """The schedule with this noise law's exponent."""
        return SCHEDULES[self.schedule_name](self.noise.exponent)

    @property
    def loss(self) -> Loss:
        """The loss per sample."""
        return LOSSES[self.loss_name]

    def predictor(self, net: nn.Module) -> Predictor:
        """``net`` seen as eps_hat."""
        return Predictor(net, self.param, self.noise.exponent)

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> "Design":
        """From a plain mapping: ``preset`` (optional) and overrides of its keys.

        Raises:
            LevyError: names the unknown key, name or value, and what is allowed.
        """
        given = dict(settings)
        merged: dict[str, Any] = {}
        if "preset" in given:
            merged.update(choose("design preset", given.pop("preset"), PRESETS))
        merged.update(given)
        law, options = choose("noise law", merged.pop("noise", None), LAWS)
        noise = law(**{key: merged.pop(key) for key in options if key in merged})
        axes = {key: merged.pop(key, None) for key in ("schedule", "param", "loss")}
        if merged:
            allowed = ("preset", "noise", *options, *axes)
            raise LevyError(f"unknown key {sorted(merged)[0]!r} for {noise}: allowed are {', '.join(allowed)}")
        return cls(noise, axes["schedule"], axes["param"], axes["loss"])

    def to_mapping(self) -> dict[str, Any]:
        """The inverse of ``from_mapping``, without presets."""
        name, (_, options) = next((n, row) for n, row in LAWS.items() if row[0] is type(self.noise))
        law = {"noise": name, **{key: getattr(self.noise, key) for key in options}}
        return {**law, "schedule": self.schedule_name, "param": self.param, "loss": self.loss_name}
