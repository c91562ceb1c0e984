"""The registered model: MLflow's loader module. It is code of the installed package; the artifact holds safetensors and JSON only.

mlflow.pyfunc.load_model("models:/levy-digits@champion").predict({"n": 16, "class": "9", "seed": 0})
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from levy_core.base.errors import LevyError
from levy_core.base.samples import Samples
from levy_core.sampling.solver import Solver
from levy_core.sampling.steps import FAMILIES, fits
from levy_core.serving.draw import cost, draw_samples
from levy_core.serving.exporters import Exporter, exporter_of
from levy_core.serving.requests import COLUMNS, SAMPLER
from levy_core.training.checkpoint import load_model

BATCH = 250
SOLVER_KEYS = (
    "discretisation",
    "grid",
    "steps",
    "eta",
    "guide",
    "strength",
    "boost",
)  # of a request; its `solver` is the family


def _load_pyfunc(path: str) -> "RegisteredModel":
    return RegisteredModel(Path(path))


class RegisteredModel:
    """A model that draws samples on request."""

    def __init__(self, folder: Path):
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = load_model(folder, self._device)
        described = json.loads((folder / SAMPLER).read_text())
        self._tuned = {int(nfe): Solver(**fields) for nfe, fields in described["samplers"].items()}
        self._default = self._tuned[described["default"]]
        self._exporter: Exporter = exporter_of(self._model.samples)(folder, self._model.samples)

    def get_raw_model(self) -> "RegisteredModel":
        """This object, for MLflow's method of this name."""
        return self

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Images, uint8 [N, H, W, C], or fields in physical units, float32 [N, C, H, W]; one block per request row.

        Args:
            model_input: rows with ``n`` and optionally ``class`` (a class name; without it, whatever the model thinks
                likely), ``seed`` (0), ``solver``, ``discretisation``, ``grid``, ``steps``, ``eta``, ``guide``, ``strength``, ``boost``. Without them the
                default sampler draws; with ``steps`` alone the best one found for so many evaluations.

        Raises:
            LevyError: an unknown class or solver, or a number out of range.
        """
        import pandas as pd  # half a second, which `write` does without

        rows = pd.DataFrame(model_input).to_dict("records")
        return np.concatenate(
            [self._exporter.array(*self._draw({k: v for k, v in row.items() if not pd.isna(v)})) for row in rows]
        )

    def write(self, request: dict[str, Any], folder: Path) -> str:
        """Draws one request into files of a folder, and says which.

        Raises:
            LevyError: as ``predict``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        return self._exporter.write(*self._draw(request), folder)

    def _draw(self, request: dict[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Samples as the core draws them, and their labels."""
        unknown = sorted(set(request) - set(COLUMNS))
        if unknown:
            raise LevyError(f"unknown request key {unknown[0]!r}: allowed are {', '.join(COLUMNS)}")
        n, seed = int(request.get("n", 0)), int(request.get("seed", 0))
        if n < 1:
            raise LevyError(f"n is {n}, but a request asks for at least 1 sample")
        bytes_each = (
            2 * np.dtype(self.samples.dtype).itemsize * math.prod(self.shape)
        )  # twice while batches become one array
        most = psutil.virtual_memory().available // bytes_each
        if n > most:
            raise LevyError(f"n is {n:,}, but the memory that is free holds {most:,} samples: ask for fewer at a time")
        labels = self._labels(request.get("class"), n)
        return draw_samples(self._model, self._solver(request), seed, labels, BATCH, self._device), labels

    def _solver(self, request: dict[Any, Any]) -> Solver:
        """The best solver for the steps that are asked for, else the default, with what the request changes.

        A family without the discretisation of that solver takes ei-noise.
        """
        kinds = {"steps": int, "eta": float, "strength": float, "boost": float}
        changes = {key: kinds.get(key, str)(request[key]) for key in SOLVER_KEYS if key in request}
        if "solver" in request:
            changes["family"] = str(request["solver"])
        start = self._tuned.get(changes.get("steps", 0), self._default)
        family = changes.get("family", start.family)
        if family in FAMILIES:  # Solver refuses an unknown one
            if not fits(family, start.discretisation):
                changes.setdefault("discretisation", "ei-noise")
            changes.setdefault("eta", min(start.eta, FAMILIES[family].most_eta or 0.0))
        return replace(start, **changes)

    def _labels(self, name: Any, n: int) -> np.ndarray:
        classes = self._model.samples.classes
        if name is None:
            return self._model.samples.usual_labels(0, n)
        if str(name) not in classes:
            raise LevyError(f"unknown class {name!r}: the model knows {', '.join(classes)}")
        return np.full(n, classes.index(str(name)))

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of a sample."""
        return self._model.net.shape

    @property
    def samples(self) -> Samples:
        return self._model.samples

    @property
    def evaluations(self) -> int:
        """Network evaluations per sample of the default sampler."""
        return cost(self._model, self._default)

    def draw_default(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """What a request without further wishes draws, [n, C, H, W] as ``draw_samples`` gives it, and its labels [n]."""
        return self._draw({"n": n, "seed": seed})
