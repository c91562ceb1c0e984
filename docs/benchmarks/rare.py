"""What brings rare classes back: losses, labels, balance and guidance under several noise laws, on the digits or on CIFAR-10 at 16 x 16.

Every model is trained on the same long-tailed images for the same number of steps; each image that no model was trained on
belongs to the reference of its class. A training is kept, and a measured row too: run the same command again to go on.

    python docs/benchmarks/rare.py run FOLDER --rows lim,lim-published --seeds 0,1,2,3,4 [--imbalance 20]
    python docs/benchmarks/rare.py run FOLDER --data cifar10 --images FOLDER-OF-THE-ARCHIVE --imbalance 100 --rows lim,edm --seeds 0
    python docs/benchmarks/rare.py useful FOLDER --rows lim-balance,edm --seeds 0,1,2 [--imbalance 20]
    python docs/benchmarks/rare.py table FOLDER [--imbalance 20]
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from levy_core.base.conditions import of_labels
from levy_core.base.determinism import make_reproducible
from levy_core.base.files import write_json
from levy_core.base.pixels import to_unit
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.images.longtail import rare_classes
from levy_core.datasets.images.sources import open_source
from levy_core.datasets.images.split import assign_groups
from levy_core.datasets.images.store import Images
from levy_core.metrics.images import manifold
from levy_core.metrics.images.classifier import ClassifierConfig, classify, save_classifier, train_classifier
from levy_core.metrics.images.fidelity import Features, FidelityConfig, frechet, statistics
from levy_core.metrics.images.reference import Reference
from levy_core.metrics.images.shares import Judged
from levy_core.metrics.images.usefulness import gain, usefulness
from levy_core.nets.precision import resolve_precision
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import draw_samples
from levy_core.training.augmentation import Augmentation
from levy_core.training.checkpoint import Model, load_model, save_model
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer
from tasks.runtime.progress import bar

CPU = torch.device("cpu")
BATCH, NEIGHBOURS = 64, 3
N, PER_RARE_CLASS = 1500, 250  # samples in training proportions, and of each rare class
DRAW_SEED = 1000
CLASSIFIER_SEEDS = range(5)


@dataclass(frozen=True)
class Setting:
    """Images, and what suits them.

    Attributes:
        images: where they lie. side: to which they are shrunk by means; most: of a class. None: as they are, all.
        steps, channels, ema, flip: of trainings. judge: the classifier.
    """

    images: Path
    side: int | None
    most: int | None
    steps: int
    channels: tuple[int, ...]
    ema: float
    flip: bool
    judge: ClassifierConfig


SETTINGS = {
    "digits": Setting(
        Path("data/digits"), None, None, 1500, (16, 32), 0.995, False, ClassifierConfig(600, 128, 0.01, 16, 32, 0)
    ),
    "cifar10": Setting(
        Path("data/cifar10-lt"),
        16,
        2500,
        12_000,
        (32, 64, 64),
        0.999,
        True,
        ClassifierConfig(3000, 128, 0.01, 32, 64, 0),
    ),
}
CONSISTENT = {"loss": "squared", "tail_weight": "cauchy", "level_weight": "residual"}
LAWS: dict[str, dict[str, Any]] = {
    "lim": {"preset": "lim", "alpha": 1.8},
    "lim-gaussian": {"preset": "lim", "alpha": 2.0},
    "dlpm": {"preset": "dlpm", "alpha": 1.7},
    "dlpm-gaussian": {"preset": "dlpm", "alpha": 2.0},
    "edm": {"preset": "edm"},
    "tedm": {"preset": "tedm"},
    "ddpm": {"preset": "ddpm"},
}
PUBLISHED = {
    "lim": {"preset": "lim-published", "alpha": 1.8},
    "lim-gaussian": {"preset": "lim-published", "alpha": 2.0},
    "dlpm": {"preset": "dlpm-published", "alpha": 1.7},
    "dlpm-gaussian": {"preset": "dlpm-published", "alpha": 2.0},
}
# name -> (design, settings of training that differ)
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{name: (law | (CONSISTENT if name in ("edm", "tedm", "ddpm") else {}), {}) for name, law in LAWS.items()},
    **{f"{name}-published": (PUBLISHED.get(name, law), {}) for name, law in LAWS.items()},
}
ROWS |= {
    f"{name}-power": (law | {"level_weight": "residual-power"}, {}) for name, law in LAWS.items() if name in PUBLISHED
}
ROWS |= {f"{name}-balance": (ROWS[name][0], {"balance": 1.0, "balance_phase": 0.2}) for name in LAWS}
ROWS |= {f"{name}-balance-half": (ROWS[name][0], {"balance": 0.5, "balance_phase": 1.0}) for name in LAWS}
ROWS |= {f"{name}-cbdm": (ROWS[name][0], {"class_balancing": 1.0}) for name in LAWS}
ROWS |= {f"{name}-dropout": (ROWS[name][0], {"label_dropout": 0.2}) for name in LAWS}
ROWS |= {
    f"{name}-balance-{key}": (ROWS[name][0], {"balance": 1.0, "balance_phase": 0.2, key: value})
    for name in LAWS
    for key, value in (("crop", 1), ("colour", 0.2))
}
ROWS |= {f"{name}-denoiser": (LAWS[name] | {"param": "denoiser"}, {}) for name in PUBLISHED}
ROWS |= {
    f"{name}-denoiser-balance": (ROWS[f"{name}-denoiser"][0], {"balance": 1.0, "balance_phase": 0.2})
    for name in PUBLISHED
}
FILES = {"run": "rows.jsonl", "useful": "useful.jsonl"}


@dataclass(frozen=True)
class Bench:
    """Images at one imbalance, and what samples of them are measured with."""

    folder: Path
    imbalance: float
    setting: Setting

    @cached_property
    def _source(self) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], np.ndarray]:
        source, most = open_source(self.setting.images), self.setting.most
        kept = np.sort(np.concatenate([np.flatnonzero(source.labels == c)[:most] for c in range(len(source.classes))]))
        images = np.stack([_shrink(source.read(i), self.setting.side) for i in kept])
        fewer = replace(source, labels=source.labels[kept])
        rows = assign_groups(fewer, self.imbalance, None, 0, 0)["train"]
        return images, fewer.labels, tuple(source.classes), rows

    @property
    def classes(self) -> tuple[str, ...]:
        return self._source[2]

    @cached_property
    def train(self) -> tuple[np.ndarray, np.ndarray]:
        images, labels, _, rows = self._source
        return images[rows], labels[rows]

    @cached_property
    def unseen(self) -> tuple[np.ndarray, np.ndarray]:
        """Images that no model was trained on, and their classes."""
        images, labels, _, rows = self._source
        kept = np.setdiff1d(np.arange(len(labels)), rows)
        return images[kept], labels[kept]

    @cached_property
    def counts(self) -> list[int]:
        return np.bincount(self.train[1], minlength=len(self.classes)).tolist()

    @cached_property
    def rare(self) -> list[int]:
        return rare_classes(self.counts)

    @cached_property
    def judge(self) -> Any:
        """A classifier of all images."""
        images, labels, *_ = self._source
        *_, (_, _, net) = train_classifier(images, labels, len(self.classes), self.setting.judge, CPU)
        save_classifier(self.folder / "classifier", net, {})
        return net.eval()

    @cached_property
    def referee(self) -> tuple[Any, Reference]:
        """A classifier of every second image, and all images, with its confusion on those that it was not trained on."""
        images, labels, *_ = self._source
        seen = np.arange(len(labels)) % 2 == 0
        *_, (_, _, net) = train_classifier(images[seen], labels[seen], len(self.classes), self.setting.judge, CPU)
        features = self.features(images)
        all_images = Reference.of(features, labels, FidelityConfig(50, 100, NEIGHBOURS))
        own, verdicts = np.ones((~seen).sum(), dtype=bool), classify(net, images[~seen])
        confusion = all_images.confuse(
            features[torch.from_numpy(~seen)], labels[~seen], verdicts, own, len(self.classes), NEIGHBOURS
        )
        return net.eval(), replace(all_images, confusion=confusion)

    @cached_property
    def features(self) -> Features:
        assert self.judge
        return Features(self.folder / "classifier")

    @cached_property
    def real(self) -> dict[str, Any]:
        """Features of the training images, of the rare ones among them, and of the unseen rare images, with their radii."""
        train = self.features(self.train[0])
        images, labels = self.unseen
        rare = self.features(images[np.isin(labels, self.rare)])
        near = manifold.nearest(rare, train)
        return {
            "train": train, "rare": rare, "radii": manifold.radii(rare, NEIGHBOURS), "near": float(near.median()),
            "copy": float(near.quantile(0.01)),
        }  # fmt: skip

    def samples_of(self) -> Samples:
        shares = tuple((np.array(self.counts) / sum(self.counts)).tolist())
        return Samples("images", self.classes, RECORDED["images"]["dtype"], RECORDED["images"]["exporter"], shares)

    def model(self, row: str, seed: int) -> Model:
        """Trained, or as it was trained before."""
        folder = self.folder / "models" / f"{row}-{seed}"
        if not (folder / "design.json").exists():
            settings, changes = ROWS[row]
            design = Design.from_mapping(settings)
            options: dict[str, Any] = {"label_dropout": 0.5, **changes}
            config = TrainConfig(
                steps=self.setting.steps, batch=BATCH, lr=1e-3, warmup=100, ema=self.setting.ema, clip=1.0, flip=self.setting.flip,
                seed=seed, precision=resolve_precision("auto", CPU), **options,
            )  # fmt: skip
            images, labels = self.train
            size = UNetConfig(
                images.shape[1:], len(self.classes), self.setting.channels, attention=(False, False),
                augment=Augmentation(config.crop, config.colour).numbers,
            )  # fmt: skip
            torch.manual_seed(seed)
            net, samples = UNet(size), self.samples_of()
            data, cond = torch.from_numpy(to_unit(images)), of_labels(torch.from_numpy(labels))
            trainer = Trainer(design, net, data, cond, samples.absent, config, CPU)
            plain = folder.with_name(f"{row.removesuffix('-balance')}-{seed}") / "before-balance.safetensors"
            if row.endswith("-balance") and plain.exists():  # until then the two are trained alike
                trainer.restore(load_file(plain))
            for done in bar(trainer.run(), f"{row} {seed}", total=self.setting.steps, unit="step"):
                if row in LAWS and done.step == self.setting.steps - round(0.2 * self.setting.steps):
                    folder.mkdir(parents=True, exist_ok=True)
                    save_file(trainer.state(), folder / plain.name)
            folder.mkdir(parents=True, exist_ok=True)
            save_model(folder, trainer.averaged_weights(), design, size, samples, {})
        return load_model(folder)

    def draw(self, model: Model, strength: float | None, labels: np.ndarray, seed: int) -> np.ndarray:
        """Images of these labels, uint8."""
        guide = "classifier-free" if strength not in (None, 1.0) else "none"
        solver = Solver(
            "ode", "2m-data", "uniform-log-rho", 12, rho_max=40.0, rho_min=0.02, denoise=True, limit="clamp",
            guide=guide, strength=strength or 1.0,
        )  # fmt: skip
        return draw_samples(model, solver, seed, labels, 500, CPU)

    def useful(self, model: Model, strength: float) -> dict[str, float]:
        """What samples that fill each class up to the largest add to the accuracy of classifiers of unseen images."""
        labels = np.repeat(np.arange(len(self.counts)), max(self.counts))
        samples = self.draw(model, strength, labels, DRAW_SEED + 2)
        config = replace(self.setting.judge, steps=self.setting.judge.steps // 2)
        train, test = (Images(*images, self.classes) for images in (self.train, self.unseen))
        accuracies = usefulness(train, test, samples, labels, config, CLASSIFIER_SEEDS, CPU)
        means = {f"rare_accuracy_{name}": float(found["rare_accuracy"].mean()) for name, found in accuracies.items()}
        return means | dict(zip(("gain", "low", "high"), gain(accuracies, "filled", "oversampled"), strict=True))

    def corrected(self, samples: np.ndarray, features: torch.Tensor, asked: np.ndarray) -> float:
        """The share of the rare classes among samples, inside the real manifold, without the referee's errors."""
        net, real = self.referee
        verdicts, classes = classify(net, samples), len(self.classes)
        found = manifold.support(features, real.features, real.radii, NEIGHBOURS, (verdicts, real.labels), classes)
        assert found is not None
        assert real.confusion is not None
        verdicts = np.where(found.precise_in(verdicts), verdicts, classes)
        shares = np.array(self.counts) / sum(self.counts)
        return Judged(asked, verdicts, real.confusion, shares).share(self.rare).value

    def measure(self, model: Model, strength: float | None) -> dict[str, float]:
        """One row: samples in training proportions against the training images, of rare classes against unseen ones."""
        labels = model.samples.labels("none" if strength is None else "training", 0, N)
        samples = self.draw(model, strength, labels, DRAW_SEED)
        features, verdicts = self.features(samples), classify(self.judge, samples)
        true = sum(self.counts[c] for c in self.rare) / sum(self.counts)
        row = {
            "fid": frechet(statistics(features), statistics(self.real["train"])),
            "share": float(np.isin(verdicts, self.rare).mean()) / true,
            "corrected": self.corrected(samples, features, labels) / true,
        }
        if strength is None:
            rare = features[np.isin(verdicts, self.rare)]
        else:
            asked = np.repeat(self.rare, PER_RARE_CLASS)
            drawn = self.draw(model, strength, asked, DRAW_SEED + 1)
            rare, got = self.features(drawn), classify(self.judge, drawn)
            row["agreement"] = float((got == asked).mean())
        support = manifold.support(rare, self.real["rare"], self.real["radii"], NEIGHBOURS)
        near = manifold.nearest(rare, self.real["train"])
        row |= {
            "rare_fid": frechet(statistics(rare), statistics(self.real["rare"])),
            "rare_precision": float(support.precise.double().mean()) if support else float("nan"),
            "rare_coverage": float(support.covered.double().mean()) if support else float("nan"),
            "near": float(near.median()) / self.real["near"],
            "copies": float((near < self.real["copy"]).double().mean()),
            "rare_samples": float(len(rare)),
        }
        return row


def _shrink(image: np.ndarray, side: int | None) -> np.ndarray:
    """Means over blocks, uint8 [C, side, side]."""
    if side is None:
        return image
    block = image.shape[1] // side
    means = image.reshape(len(image), side, block, side, block).mean((2, 4))
    return means.round().astype(np.uint8)


def run(bench: Bench, what: str, rows: Sequence[str], seeds: Sequence[int], strengths: Sequence[float | None]) -> None:
    """Trains and measures what is missing, all rows of a seed before the next seed."""
    path = bench.folder / FILES[what]
    strengths = [s for s in strengths if s or what == "run"]
    done = {(e["row"], e["seed"], e["strength"]) for e in _read(path)}
    for seed in seeds:
        for row in rows:
            missing = [s for s in strengths if (row, seed, s) not in done]
            model = bench.model(row, seed) if missing else None
            for strength in missing:
                assert model
                found = bench.measure(model, strength) if what == "run" else bench.useful(model, strength or 1.0)
                with path.open("a") as stream:
                    stream.write(json.dumps({"row": row, "seed": seed, "strength": strength, **found}) + "\n")


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(folder: Path) -> None:
    """Mean and standard deviation over training seeds of each row at each strength, as Markdown, of what was measured."""
    for file, names in (
        (
            "rows",
            ["fid", "rare_fid", "rare_coverage", "rare_precision", "agreement", "share", "corrected", "near", "copies"],
        ),
        ("useful", ["rare_accuracy_real", "rare_accuracy_oversampled", "rare_accuracy_filled", "gain", "low", "high"]),
    ):
        entries = _read(folder / f"{file}.jsonl")
        print(f"| row | strength | seeds | {' | '.join(names)} |\n|---|---|---|{'---|' * len(names)}")
        for row, strength in sorted({(e["row"], e["strength"] or 0) for e in entries}):
            own = [e for e in entries if e["row"] == row and (e["strength"] or 0) == strength]
            cells = []
            for name in names:
                values = np.array([e.get(name, np.nan) for e in own])
                cells.append(f"{values.mean():.3g} ± {values.std(ddof=1) if len(values) > 1 else 0:.2g}")
            print(f"| {row} | {strength or 'no class'} | {len(own)} | {' | '.join(cells)} |")
        print()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*FILES, "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--imbalance", type=float, default=20)
    parser.add_argument("--data", choices=list(SETTINGS), default="digits")
    parser.add_argument("--images", type=Path, help="where they lie, if elsewhere")
    parser.add_argument(
        "--strengths", default="none,1,1.5,2", help="of the guide; none: no class, 1: the class without a guide"
    )
    arguments = parser.parse_args()
    folder = arguments.folder / f"imbalance-{arguments.imbalance:g}"
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.what == "table":
        return table(folder)
    make_reproducible(1)
    setting = SETTINGS[arguments.data]
    bench = Bench(folder, arguments.imbalance, replace(setting, images=arguments.images or setting.images))
    write_json(folder / "about.json", {"counts": bench.counts, "unseen_rare": len(bench.real["rare"])})
    strengths = [None if text == "none" else float(text) for text in arguments.strengths.split(",")]
    run(bench, arguments.what, arguments.rows.split(","), [int(seed) for seed in arguments.seeds.split(",")], strengths)


if __name__ == "__main__":
    main()
