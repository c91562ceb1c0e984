"""A model of fields whose law is known: each cell is drawn from N(0, 1) of its standardised anomaly, on its own."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.fields.climatology import Climatology, design
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.checkpoint import save_model

LATITUDE, LONGITUDE = np.array([54.0, 52.0, 50.0, 48.0]), np.array([-4.0, -2.0, 0.0, 2.0])
T2M, RAIN = Variable("t2m", "degC"), Variable("tp", "mm day-1", transform="log1p", minimum=0.0)
SEASONS = ("DJF", "JJA")
SAMPLES = Samples("fields", SEASONS, **RECORDED["fields"], shares=(0.5, 0.5), label_dropout=0.1)
WARMER = 10.0  # degC, in the middle of July than on average; on 1 January so much colder


def make_codec() -> Codec:
    """Temperatures of N(10, 3**2) degC about a cycle of the year, rain whose logarithm is N(0.5, 1)."""
    terms = design("day", pd.DatetimeIndex(["2001-01-01"]).to_numpy()).shape[1]
    coefficients = np.zeros((2, terms, 4, 4))
    coefficients[0, 1] = -WARMER
    return Codec(
        (T2M, RAIN), np.array([10.0, 0.5]), np.array([3.0, 1.0]), np.ones((2, 4, 4), dtype=bool), LATITUDE, LONGITUDE,
        climatology=Climatology("day", coefficients), calendar="standard", attributes=({}, {}),
    )  # fmt: skip


def save_fields(folder: Path) -> Path:
    """The model's folder, with the codec."""
    save_normal(folder, (2, 4, 4), SAMPLES)
    make_codec().save(folder)
    return folder


def save_normal(folder: Path, shape: tuple[int, int, int], samples: Samples) -> Path:
    """The folder of a model whose values are N(0, 1) each: a denoiser whose network returns 0, so that x0_hat = y / (1 + rho**2)."""
    net = UNetConfig(shape, len(samples.classes), (8,))
    state = {
        name: value * 0 if name.startswith("unet.conv_out") else value for name, value in UNet(net).state_dict().items()
    }
    named = Design.from_mapping({"preset": "edm", "sigma_data": 1.0})
    save_model(folder, {k: torch.clone(v) for k, v in state.items()}, named, net, samples, {})
    return folder
