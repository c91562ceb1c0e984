"""All that is measured of one set of images: fidelity, manifolds, tails, and what becomes of each class and of the rare ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from levy_core.datasets.images.longtail import in_proportion, rare_classes
from levy_core.metrics.images import manifold, tails
from levy_core.metrics.images.fidelity import NAN, FidelityConfig, frechet, kid, statistics
from levy_core.metrics.images.reference import Reference
from levy_core.metrics.images.shares import Judged, Share
from levy_core.metrics.images.weights import class_weights, normalise, quantile


@dataclass(frozen=True)
class Generated:
    """Samples in a feature space.

    Attributes:
        features: [N, D]. asked: the class that each was asked for, int64 [N]; the number of classes: none.
        verdicts: the classifier's, int64 [N].
    """

    features: Tensor
    asked: np.ndarray
    verdicts: np.ndarray

    def groups(self, classes: int) -> np.ndarray:
        """The class to which each sample counts, int64 [N]: the one asked for, else the classifier's verdict."""
        return np.where(self.asked < classes, self.asked, self.verdicts)


def measure_images(
    generated: Generated, references: dict[str, Reference], train_counts: Sequence[int], config: FidelityConfig
) -> dict[str, float]:
    """All metrics of one set of samples as flat names; what each means: docs/image-measures.md.

    Args:
        references: by name; each gives ``fid/NAME`` and so on. The first judges the classes, the last is the training data.
        train_counts: images of each class in the training data: the shares that samples should have.

    Samples that were asked for a class are weighed to the class shares of each reference. A sample counts to the class it was
    asked for, or without one to the verdict. NaN where there are too few samples or images.
    """
    counts = np.asarray(train_counts)
    shares, rare = counts / counts.sum(), rare_classes(train_counts)
    group = generated.groups(len(counts))
    is_rare = np.isin(group, rare)
    row: dict[str, float] = {"samples": float(len(group)), "rare_count": float(is_rare.sum())}
    first, judge = next(iter(references.items()))
    by_class, supports = fid_classes(generated, judge, len(counts)), {}
    for name, real in references.items():
        weights = real.weights(generated.asked, len(counts))
        labels = group, real.labels
        found = manifold.support(
            generated.features, real.features, real.radii, config.neighborhood, labels, len(counts)
        )
        supports[name] = found
        row |= {f"{key}/{name}": value for key, value in _manifolds(found, weights).items()}
        row[f"f1/{name}"] = _harmonic(row[f"precision/{name}"], row[f"recall/{name}"])
        row[f"fid/{name}"] = frechet(statistics(generated.features, weights), real.statistics())
        row[f"fid_classes/{name}"] = row[f"fid/{name}"] + by_class
        row[f"kid/{name}"] = _kid(generated, real, len(counts), config)
        row[f"rare_fid/{name}"] = frechet(
            statistics(generated.features[is_rare], weights[is_rare]), real.statistics(tuple(rare))
        )
        row[f"rare_precision/{name}"] = (
            float(found.precise_in(group)[is_rare] @ normalise(weights[is_rare])) if found and is_rare.any() else NAN
        )
        row[f"rare_coverage/{name}"] = _mean(found.covered_by_own.numpy()[np.isin(real.labels, rare)]) if found else NAN
    row |= _classes(generated, group, judge, supports[first], len(counts))
    row |= _agreement(generated, rare, shares)
    row |= _shares(generated, judge, supports[first], shares, rare)
    weights = class_weights(generated.asked, shares)
    train = list(references.values())[-1]
    row |= _near(generated.features, group, weights, train, len(counts))
    centre = train.features.mean(0)
    mine, theirs = ((f - centre).norm(dim=1).numpy() for f in (generated.features, train.features))
    return row | tails.compare(mine, theirs, weights)


def fid_classes(generated: Generated, judge: Reference, classes: int) -> float:
    """Mean over classes of the FID to the images of the class.

    A class of fewer than two samples is stood for by all of them, so that a model that does not make it has a score.
    """
    group, whole = generated.groups(classes), statistics(generated.features)
    own = [statistics(generated.features[group == c]) or whole for c in range(classes)]
    return float(np.mean([frechet(mine, judge.statistics((c,))) for c, mine in enumerate(own)]))


def score(generated: Generated, metric: str, references: dict[str, Reference], config: FidelityConfig) -> float:
    """One of the metrics by which samplers are compared: ``fid/NAME``, ``fid_classes/NAME`` or ``kid/NAME``."""
    measure, name = metric.split("/")
    real, judge = references[name], next(iter(references.values()))
    classes = int(judge.labels.max()) + 1
    if measure == "kid":
        return _kid(generated, real, classes, config)
    fid = frechet(statistics(generated.features, real.weights(generated.asked, classes)), real.statistics())
    return fid if measure == "fid" else fid + fid_classes(generated, judge, classes)


def floors(labels: np.ndarray, references: dict[str, Reference], classes: int, draws: int = 8) -> dict[str, float]:
    """What perfect samples asked for these labels would score, whose only fault is their number: ``floor/METRIC``.

    They are the images of each reference, drawn again and again, of the class where one is asked for.
    The Frechet distance between finite sets is biased upwards, about as 1 / n.
    Source: Chong and Forsyth (2020), Effectively unbiased FID.
    """
    judge, train = next(iter(references.values())), list(references.values())[-1]
    drawn = [train.labels[rows] for rows in train.draws(labels, draws)]  # those asked for, else in training proportions
    rows_of = [judge.draws(of, draws)[k] for k, of in enumerate(drawn)]
    sets = [Generated(judge.features[rows], labels, judge.labels[rows]) for rows in rows_of]
    by_class = float(np.mean([fid_classes(mine, judge, classes) for mine in sets]))
    row = {}
    for name, real in references.items():
        row[f"floor/fid/{name}"] = real.floor(labels, classes, draws)
        row[f"floor/fid_classes/{name}"] = row[f"floor/fid/{name}"] + by_class
    return row | {f"floor/kid/{name}": 0.0 for name in references}  # unbiased


def _manifolds(found: manifold.Support | None, weights: np.ndarray) -> dict[str, float]:
    if found is None:
        return dict.fromkeys(("precision", "recall", "density", "coverage"), NAN)
    return {
        "precision": float(found.precise.numpy() @ weights),
        "recall": float(found.recalled.double().mean()),
        "density": float(found.density.numpy() @ weights),
        "coverage": float(found.covered.double().mean()),
    }


def _kid(generated: Generated, real: Reference, classes: int, config: FidelityConfig) -> float:
    """KID of as many samples of each class as have the proportions of the reference, NaN where those are less than half of all.

    Weights would bias what torch-fidelity draws subsets for.
    """
    rows, asked = np.arange(len(generated.asked)), generated.asked < classes
    if asked.any():
        wanted = np.bincount(real.labels, minlength=classes)
        by_class = [rows[generated.asked == c] for c in range(classes) if wanted[c]]
        if not all(map(len, by_class)):
            return NAN
        kept = in_proportion(list(map(len, by_class)), wanted[wanted > 0].tolist())
        rows = np.concatenate([own[:n] for own, n in zip(by_class, kept, strict=True)] + [rows[~asked]])
    return kid(generated.features[rows], real.features, config) if 2 * len(rows) > len(asked) else NAN


def _classes(
    generated: Generated, group: np.ndarray, judge: Reference, found: manifold.Support | None, classes: int
) -> dict[str, float]:
    row = {}
    covered = found.covered_by_own.numpy() if found else np.full(len(judge.labels), NAN)
    for c in range(classes):
        row[f"class_count/{c}"] = float((generated.verdicts == c).sum())
        row[f"class_coverage/{c}"] = _mean(covered[judge.labels == c])
        row[f"class_fid/{c}"] = frechet(statistics(generated.features[group == c]), judge.statistics((c,)))
    return row


def _agreement(generated: Generated, rare: list[int], shares: np.ndarray) -> dict[str, float]:
    """The share of the samples asked for a class that the classifier calls by it; of rare ones weighed as in training."""
    agreed = [_mean(generated.verdicts[generated.asked == c] == c) for c in range(len(shares))]
    row = {f"class_agreement/{c}": value for c, value in enumerate(agreed)}
    return row | {"rare_agreement": float(np.array(agreed)[rare] @ normalise(shares[rare]))}


def _shares(
    generated: Generated, judge: Reference, found: manifold.Support | None, shares: np.ndarray, rare: list[int]
) -> dict[str, float]:
    wanted = {f"class_share{{}}/{c}": ([c], 1.0) for c in range(len(shares))}
    wanted["rare_share{}"] = rare, float(shares[rare].sum())
    judged = None
    if found and judge.confusion is not None:
        inside = found.precise_in(generated.verdicts)
        verdicts = np.where(inside, generated.verdicts, len(shares))
        judged = Judged(generated.asked, verdicts, judge.confusion, shares)
    row: dict[str, float] = {}
    for name, (classes, scale) in wanted.items():
        share = judged.share(classes) if judged else Share(NAN, NAN, NAN)
        value = "_ratio" if classes is rare else ""
        row |= {name.format(value): share.value / scale}
        row |= {name.format("_low"): share.low / scale, name.format("_high"): share.high / scale}
    return row


def _near(features: Tensor, group: np.ndarray, weights: np.ndarray, train: Reference, classes: int) -> dict[str, float]:
    distance, spacing = manifold.nearest(features, train.features).numpy(), train.spacing.numpy()
    row = {"near_train": _ratio(_median(distance, weights), _median(spacing))}
    for c in range(classes):
        own, theirs = group == c, train.labels == c
        row[f"class_near/{c}"] = _ratio(_median(distance[own], weights[own]), _median(spacing[theirs]))
    return row


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else NAN


def _median(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    if not len(values):
        return NAN
    return float(np.median(values) if weights is None else quantile(values, weights, np.array(0.5)))


def _ratio(a: float, b: float) -> float:
    return a / b if b else NAN  # training images that are mostly doubles have no spacing to compare with


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
