"""Conditional samples of trained models judged on what was withheld, against kriging with the same covariance and simpler rivals.

    python docs/benchmarks/infill.py run FOLDER --data starter,digits
    python docs/benchmarks/infill.py run FOLDER --data uk,canada --source REAL   # two real files, named in infill_data.py
    python docs/benchmarks/infill.py run FOLDER --data cifar10 --source IMAGES   # the folder of its archive
    python docs/benchmarks/infill.py table FOLDER

Small networks are trained on the training period and kept, as is every judged row: run the same command again to go on. Designs
differ in their noise alone. Held-out fields are taken evenly (usual), and those whose observations are the most extreme 5 % (extreme).
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from infill_data import DESIGNS, FIELDS, TAIL, Data, read, train
from infill_table import ROWS, print_tables, read_rows
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from torch import Tensor
from torch.nn import functional

from levy_core.base.conditions import of_labels
from levy_core.base.determinism import make_reproducible
from levy_core.base.errors import LevyError
from levy_core.metrics.common.withheld import judge, misfit, most_extreme, psnr
from levy_core.observations.conditional import sample_observed
from levy_core.observations.covariance import fit_covariance
from levy_core.observations.guides import observe
from levy_core.observations.observation import Observation, inverse_of
from levy_core.observations.operators import CellMeans, Operator, mask
from levy_core.observations.rivals import find_analogues, krige
from levy_core.sampling.solver import Solver, tabulate
from levy_core.training.checkpoint import Model

MEMBERS, RIVAL_MEMBERS, ANALOGUES = 6, 40, 20
FEW = {"pigdm": 4}  # members of guides that cost a hundred evaluations; CRPS is fair
NEARBY = 2  # cells
SHARE, APART = 0.05, 5  # of held-out fields, whose observations are the most extreme, that far apart in time


@dataclass(frozen=True, eq=False)
class Bench:
    """What was observed of the held-out fields ``rows`` [T], values [T, operator's rows], and the ways to fill in the rest."""

    data: Data
    task: str
    stratum: str
    operator: Operator
    std: float
    rows: np.ndarray
    values: Tensor

    @property
    def hidden(self) -> Tensor | None:
        """The cells that were not observed, bool [C, H, W], where the others are known without error."""
        if self.std > 0 or not isinstance(self.operator, CellMeans) or self.operator.cells.shape[1] > 1:
            return None
        cells = torch.ones(self.operator.shape, dtype=torch.bool)
        cells.view(-1)[self.operator.cells.flatten()] = False
        return cells

    def observe(self, members: int) -> Observation:
        return Observation(self.operator, self.values.repeat_interleave(members, 0), self.std)

    def rivals(self) -> dict[str, Callable[[], Tensor]]:
        """Members [T, M, C, H, W] by name."""
        found: dict[str, Callable[[], Tensor]] = {"kriging": lambda: self._krige(inf)}
        if self.data.kind == "fields":
            found["kriging, Student-t"] = lambda: self._krige(TAIL)
        if self.hidden is not None:
            found["kriging, nearby"] = self._krige_nearby
        if isinstance(self.operator, CellMeans):
            found["bilinear"] = lambda: interpolate(self.operator, self.values, self.data.wraps)[:, None]
        return found | {"analogues": self._find_analogues}

    def _krige(self, degrees: float) -> Tensor:
        count = len(self.values) * RIVAL_MEMBERS
        drawn = krige(self.data.covariance, self.observe(RIVAL_MEMBERS), 0, count, degrees)
        return drawn.view(-1, RIVAL_MEMBERS, *self.operator.shape)

    def _krige_nearby(self) -> Tensor:
        """From the cells next to hidden ones alone, by all EOFs: hundreds of values would be weighed by noise of the covariance."""
        assert self.hidden is not None
        reach = functional.max_pool2d(self.hidden.float(), 2 * NEARBY + 1, stride=1, padding=NEARBY)
        near = mask((reach > 0) & ~self.hidden)
        values = near.apply(self.data.test[self.rows].double().nan_to_num()).repeat_interleave(RIVAL_MEMBERS, 0)
        drawn = krige(fit_covariance(self.data.train[:2000], 0.999), Observation(near, values), 0, len(values))
        return drawn.view(-1, RIVAL_MEMBERS, *self.operator.shape)

    def _find_analogues(self) -> Tensor:
        each = (Observation(self.operator, values, self.std) for values in self.values)
        return torch.stack([find_analogues(self.data.train, observation, ANALOGUES) for observation in each]).double()

    def draw(self, model: Model, guide: str, steps: int, members: int) -> Tensor:
        """[T, M, C, H, W]"""
        solver = Solver("ode", "2m-data", "karras", steps, rho_max=40.0, rho_min=0.02, denoise=True)
        n = len(self.values) * members
        drawn = sample_observed(
            model.predictor, tabulate(solver, model.design.schedule), model.design.noise, self.observe(members), 0, range(n),
            of_labels(torch.zeros(n, dtype=torch.long)), guide, self.data.covariance,
        )  # fmt: skip
        return drawn.double().view(-1, members, *self.operator.shape)

    def cost(self, model: Model, guide: str) -> int:
        """Evaluations per step; a backward pass counts as two."""
        guided: Any = observe(model.predictor, self.observe(1), model.design.noise, guide, self.data.covariance)
        return guided.evaluations

    def judge(self, members: Tensor) -> dict[str, Any]:
        """Scores of each channel, misfit, and of images their PSNR. Cells that were observed without error are not withheld."""
        images = self.data.test[self.rows].double()
        truth, drawn = self.data.decode(images[:, None], self.rows)[:, 0], self.data.decode(members, self.rows)
        if self.hidden is not None:
            truth = np.where(self.hidden.numpy(), truth, np.nan)
        seen = self.operator.apply(members.flatten(0, 1)).view(*members.shape[:2], -1)
        fits = misfit(seen.numpy(), self.values.numpy(), np.full(self.operator.rows, self.std))
        every = {name: judge(drawn[:, :, c], truth[:, c]) for c, name in enumerate(self.data.channels)}
        row = {
            "channels": {c: {k: v.tolist() for k, v in asdict(own).items()} for c, own in every.items()},
            "misfit": fits[0 if self.std > 0 else 1],
        }
        if self.data.kind == "images":
            single = [psnr(member.numpy(), images.numpy(), 2.0).mean() for member in members.unbind(1)]
            row["psnr"] = float(np.mean(single))
            row["psnr_mean"] = float(psnr(members.mean(1).numpy(), images.numpy(), 2.0).mean())
        return row


def interpolate(operator: CellMeans, values: Tensor, wraps: bool) -> Tensor:
    """Linear between observed cells or centres of blocks, the nearest beyond them; [T, rows] -> [T, C, H, W]."""
    channels, height, width = operator.shape
    own = operator.cells[: operator.rows // channels] % (height * width)
    at = np.stack([(own // width).double().mean(1), (own % width).double().mean(1)], 1)
    seen = values.view(len(values), channels, -1).permute(2, 0, 1).reshape(len(at), -1).numpy()
    if wraps:
        at = np.concatenate([at + np.array([0, turn]) for turn in (-width, 0, width)])
        seen = np.tile(seen, (3, 1))
    cells = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1).reshape(-1, 2)
    linear = LinearNDInterpolator(at, seen)(cells)
    filled = np.where(np.isnan(linear), NearestNDInterpolator(at, seen)(cells), linear)
    return torch.from_numpy(filled).view(height, width, len(values), channels).permute(2, 3, 0, 1).contiguous()


def choose_cases(data: Data, operator: Operator, values: Tensor, std: float) -> dict[str, np.ndarray]:
    """Rows of the held-out fields by stratum."""
    chosen = {"usual": np.arange(data.every // 2, len(data.test), data.every)}
    if data.kind == "fields":
        offset = values - operator.apply(data.covariance.mean.view(1, *operator.shape))
        inverse = inverse_of(data.covariance.observed(operator) + std**2 * torch.eye(operator.rows).double())
        chosen["extreme"] = most_extreme(((offset @ inverse) * offset).sum(1).numpy(), SHARE, APART)
    return chosen


def benches(data: Data) -> Iterator[Bench]:
    """One for each task and stratum."""
    for task, (operator, std) in data.tasks().items():
        values = operator.apply(data.test.double().nan_to_num())
        values = values + std * torch.randn(values.shape, generator=torch.manual_seed(1), dtype=torch.float64)
        for stratum, rows in choose_cases(data, operator, values, std).items():
            yield Bench(data, task, stratum, operator, std, rows, values[rows])


def run(data: Data, options: argparse.Namespace) -> None:
    """Judges what is not yet judged, and writes one line for each."""
    folder, tasks = options.folder, options.tasks.split(",") if options.tasks else list(data.tasks())
    done = {(row["data"], row["task"], row["stratum"], row["way"]) for row in read_rows(folder)}
    for bench in benches(data):
        name = (data.name, bench.task, bench.stratum)

        def keep(way: str, evaluations: int, make: Callable[[], Tensor], bench=bench, name=name) -> None:  # type: ignore[no-untyped-def]
            start = time.process_time()
            members = make()
            row = dict(zip(("data", "task", "stratum"), name, strict=True), way=way, evaluations=evaluations)
            row |= {"seconds": round(time.process_time() - start, 1), **bench.judge(members)}
            with (folder / ROWS).open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(*name, way, row["seconds"], flush=True)

        if bench.task not in tasks:
            continue
        for way, make in bench.rivals().items():
            if (*name, way) not in done:
                keep(way, 0, make)
        for design in options.designs.split(","):
            for guide, count in (way.split(":") for way in options.ways.split(",")):
                if (*name, f"{design} {guide} {count}") not in done:
                    model, steps = train(data, design, options.steps, folder), int(count)
                    members = FEW.get(guide, MEMBERS)
                    draw = lambda b=bench, m=model, g=guide, s=steps, k=members: b.draw(m, g, s, k)
                    keep(f"{design} {guide} {count}", steps * bench.cost(model, guide), draw)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="starter,digits", help=f"of digits, cifar10, {', '.join(FIELDS)}")
    parser.add_argument("--source", type=Path, help="folder of the real files")
    parser.add_argument("--tasks", default="", help="only these; without: all")
    parser.add_argument("--designs", default=",".join(DESIGNS))
    parser.add_argument(
        "--ways",
        default="interpolation:5,interpolation:10,interpolation:20,jacobian:5,jacobian:10,jacobian:20,pigdm:100",
        help="guides and their steps",
    )
    parser.add_argument("--steps", type=int, default=800, help="of training")
    options = parser.parse_args()
    if options.what == "table":
        return print_tables(options.folder)
    make_reproducible(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.data.split(","):
        try:
            data = read(name, options.source, options.folder)
        except LevyError as error:
            print(f"{name} is skipped: {error}")
            continue
        run(data, options)


if __name__ == "__main__":
    main()
