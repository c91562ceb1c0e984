"""Images are measured in the features of a classifier (or of Inception), against the long-tailed and the balanced data, or
against held-out images alone."""

import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field, RootModel
from torch import Tensor, cat, device, from_numpy

from levy_core.base.artifacts import STRICT, read_artifact
from levy_core.base.code import hash_code
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_files, hash_json, write_json
from levy_core.base.rows import Rows
from levy_core.base.samples import Samples
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets.images.longtail import in_proportion, rare_classes
from levy_core.datasets.images.store import Images, read_group
from levy_core.metrics.images import novelty
from levy_core.metrics.images.classifier import (
    Classifier,
    ClassifierConfig,
    check_classes,
    classify,
    hold_out,
    load_classifier,
    save_classifier,
    train_classifier,
)
from levy_core.metrics.images.decidable import (
    describe_rate,
    explain_undecidable,
    find_undecidable,
    without_undecidable,
)
from levy_core.metrics.images.fidelity import Features, FidelityConfig
from levy_core.metrics.images.measures import Generated, floors, measure_images, score
from levy_core.metrics.images.reference import Reference
from tasks.kinds.images.settings import ImageEvaluation
from tasks.kinds.images.statistics import Count, ImageStatistics
from tasks.kinds.statistics import read_statistics
from tasks.runtime.progress import bar

GROUPS = {"balanced": "balanced", "longtail": "train"}  # name in the tables -> group of the store; training data last
# Held-out images: all of them, and as many of each class as give the proportions of the training data.
HELD_OUT, IN_PROPORTION = "test", "test-longtail"


class ImageMetrics:
    """The classifier, its features, and the real images in them.

    Raises:
        LevyError: the reference stage has not run, or left something unreadable.
    """

    def __init__(self, reference: Path, prepared: Path, settings: ImageEvaluation, on: device):
        self._folder, self._prepared, self._settings, self._device = reference, prepared, settings, on
        self._config = fidelity_config(settings)
        try:
            self.references = {name: _read(reference / f"{name}.safetensors") for name in GROUPS}
        except (OSError, ValueError, KeyError) as error:
            raise LevyError(f"{reference} cannot be read ({error}): run the reference stage again") from error
        self._counts = read_counts(reference)
        self.features = _features(settings, reference, on)

    @cached_property
    def hash(self) -> str:
        """Of the references, the classifier, the settings and the code."""
        files = [self._folder / f"{name}.safetensors" for name in GROUPS]
        files += sorted(path for path in classifier_folder(self._folder).iterdir() if path.is_file())
        settings = self._settings.model_dump(mode="json", exclude={"classifier"})
        return hash_json([hash_files(*files), hash_code(__name__), settings])[:16]

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier that the reference stage trained."""
        return load_classifier(classifier_folder(self._folder)).to(self._device)

    def embed(self, samples: Rows) -> Tensor:
        """Features of uint8 images and, as the last column, the classifier's verdicts: float32 [N, D + 1]."""
        images = samples[np.arange(len(samples))]
        verdicts = from_numpy(classify(self.classifier, images))[:, None]
        return cat([self.features(images), verdicts.float()], 1)

    def score(self, embedded: Sequence[Tensor], labels: np.ndarray, metric: str) -> float:
        """A metric of ``Kind.ranks``."""
        return score(_generated(cat(list(embedded)), labels), metric, self.references, self._config)

    def watch(self, embedded: Sequence[Tensor], labels: np.ndarray) -> dict[str, float]:
        """Distance to the training images, beside that of held-out ones where there are some, and coverage."""
        held_out = self._held_out[HELD_OUT] if (self._folder / f"{HELD_OUT}.safetensors").exists() else None
        train, k = self.references["longtail"], self._config.neighborhood
        return novelty.watch(_generated(cat(list(embedded)), labels).features, labels, train, held_out, self._counts, k)

    def measure(self, samples: Rows, labels: np.ndarray) -> dict[str, float]:
        """All metrics; a sample counts to the class it was asked for, or without one to the classifier's verdict. NaN stands for
        what the classifier says of classes that it was checked on too few images of."""
        row = measure_images(_generated(self.embed(samples), labels), self.references, self._counts, self._config)
        confusion = next(iter(self.references.values())).confusion
        return without_undecidable(row, confusion, len(self._counts), rare_classes(self._counts))

    def accept(self, folder: Path, shape: tuple[int, ...], samples: Samples) -> Callable[..., tuple[Rows, np.ndarray]]:
        """Images of another size cannot be compared. Classes that the data do not have count as not asked for."""
        prepared = read_statistics(self._prepared, ImageStatistics)
        if (samples.kind, tuple(shape)) != ("images", prepared.shape):
            raise LevyError(
                f"it draws {samples.kind} of shape {list(shape)}, but the data are images of {list(prepared.shape)}"
            )
        ours = prepared.train.classes
        known = [ours.index(name) if name in ours else len(ours) for name in samples.classes]
        to_ours = np.array([*known, len(ours)], dtype=np.int64)
        return lambda drawn, labels: (drawn, to_ours[labels])

    def measure_held_out(self, samples: Rows, labels: np.ndarray) -> dict[str, float]:
        """As ``measure``; ``tail_*`` look at the held-out images in the proportions of the training data."""
        row = measure_images(_generated(self.embed(samples), labels), self._held_out, self._counts, self._config)
        return {k: v for k, v in row.items() if not k.startswith(("near", "class_near"))}  # nothing here was trained on

    @cached_property
    def _held_out(self) -> dict[str, Reference]:
        if not (self._folder / f"{HELD_OUT}.safetensors").exists():
            raise LevyError(f"no images were held out of {self._prepared}: set test_share of the data set above 0")
        return {name: _read(self._folder / f"{name}.safetensors") for name in (HELD_OUT, IN_PROPORTION)}

    @property
    def undecidable(self) -> dict[str, str]:
        """What the classifier says of classes that it was checked on too few images of."""
        return find_undecidable(self._held_out[HELD_OUT].confusion, len(self._counts), rare_classes(self._counts))

    def explain_rare(self) -> str:
        """Why the classifier cannot tell how many samples are of the rare classes; "" where it can."""
        return explain_undecidable(next(iter(self.references.values())).confusion, rare_classes(self._counts))

    def floors(self, labels: np.ndarray) -> dict[str, float]:
        """What as many perfect samples would score."""
        return floors(labels, self.references, len(self._counts))


class _Counts(RootModel[list[Count]]):
    model_config = STRICT
    root: list[Count] = Field(min_length=1)


def classifier_folder(reference: Path) -> Path:
    """Where the reference stage keeps the classifier."""
    return reference / "classifier"


def read_counts(reference: Path) -> list[int]:
    """The training images of each class.

    Raises:
        LevyError: the reference stage has not run, or left something else.
    """
    return read_artifact(reference / "counts.json", _Counts, "reference").root


def fidelity_config(settings: ImageEvaluation) -> FidelityConfig:
    """torch-fidelity's settings of params.yaml."""
    return FidelityConfig(settings.kid_subsets, settings.kid_subset_size, settings.neighborhood)


def make_reference(prepared: Path, folder: Path, settings: ImageEvaluation, on: device, dataset: str) -> None:
    """Writes the classifier, ``NAME.safetensors`` per reference and ``counts.json``, the training images of each class."""
    store = prepared / "images.zarr"
    sets = {name: read_group(store, group) for name, group in GROUPS.items()}
    has_test = read_statistics(prepared, ImageStatistics).test is not None
    sets |= {HELD_OUT: read_group(store, HELD_OUT)} if has_test else {}
    unseen = {"balanced": sets["balanced"].take(hold_out(sets["balanced"].label, settings.classifier.seed)[1])}
    unseen |= {HELD_OUT: sets[HELD_OUT]} if has_test else {}
    _train_classifier(settings, dataset, sets["balanced"], unseen, folder, on)
    features, classifier = _features(settings, folder, on), load_classifier(classifier_folder(folder)).to(on)
    counts = np.bincount(sets["longtail"].label, minlength=len(sets["longtail"].classes)).tolist()
    if has_test:
        sets[IN_PROPORTION] = _take_in_proportion(sets[HELD_OUT], counts)
    references = {
        name: Reference.of(features(images.image), images.label, fidelity_config(settings))
        for name, images in sets.items()
    }
    for name, reference in references.items():
        kept = {"features": reference.features, "radii": reference.radii, "spacing": reference.spacing}
        kept["labels"] = from_numpy(reference.labels)
        if name in unseen:  # those by which classes are judged
            confusion = _confuse(reference, name, unseen, features, classifier, settings.neighborhood)
            if name == "balanced" and (why := explain_undecidable(confusion, rare_classes(counts))):
                print(f"warning: {dataset}: shares of the rare classes are not decidable: {why}", file=sys.stderr)
            kept |= {} if confusion is None else {"confusion": from_numpy(confusion)}
        write_tensors(folder / f"{name}.safetensors", kept)
    write_json(folder / "counts.json", counts)
    print(
        f"{dataset}: features of {', '.join(sets)} kept, {references['balanced'].features.shape[1]} numbers per image"
    )


def _confuse(
    reference: Reference, name: str, unseen: dict[str, Images], features: Features, classifier: Classifier, k: int
) -> np.ndarray | None:
    """The classifier's confusion on images that it was not trained on, some of which are in the reference."""
    image, labels = (np.concatenate([getattr(part, key) for part in unseen.values()]) for key in ("image", "label"))
    own = np.concatenate([np.full(len(part.label), group == name) for group, part in unseen.items()])
    classes = len(unseen["balanced"].classes)
    return reference.confuse(features(image), labels, classify(classifier, image), own, classes, k)


def _features(settings: ImageEvaluation, reference: Path, on: device) -> Features:
    return Features(classifier_folder(reference), settings.inception_weights, str(on))


def _generated(embedded: Tensor, labels: np.ndarray) -> Generated:
    return Generated(embedded[:, :-1], labels, embedded[:, -1].long().numpy())


def _read(path: Path) -> Reference:
    tensors = read_tensors(path)
    confusion = tensors["confusion"].numpy() if "confusion" in tensors else None
    return Reference(tensors["features"], tensors["labels"].numpy(), tensors["radii"], tensors["spacing"], confusion)


def _take_in_proportion(images: Images, counts: list[int]) -> Images:
    """The first images of each class, as many as the proportions of ``counts`` allow."""
    rows = [np.flatnonzero(images.label == c) for c in range(len(counts))]
    wanted = in_proportion([len(r) for r in rows], counts)
    return images.take(np.concatenate([r[:n] for r, n in zip(rows, wanted, strict=True)]))


def _train_classifier(
    settings: ImageEvaluation, dataset: str, balanced: Images, unseen: dict[str, Images], folder: Path, on: device
) -> None:
    """Trains on four fifths of the balanced images, measures on the rest, and checks each class on all that are unseen."""
    config = ClassifierConfig(**settings.classifier.model_dump())
    train, _ = hold_out(balanced.label, config.seed)
    steps = train_classifier(balanced.image[train], balanced.label[train], len(balanced.classes), config, on)
    with bar(steps, "classifier", total=config.steps, unit="step") as progress:
        for _, loss, trained in progress:
            net = trained
            progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
    labels = {name: part.label for name, part in unseen.items()}
    verdicts = {name: classify(net, part.image) for name, part in unseen.items()}
    right, of = int((verdicts["balanced"] == labels["balanced"]).sum()), len(labels["balanced"])
    classifier_folder(folder).mkdir()
    seen, said = (np.concatenate(list(each.values())) for each in (labels, verdicts))
    about = {"held_out_accuracy": right / of, "held_out_images": of}
    save_classifier(
        classifier_folder(folder), net, about | {"checks": check_classes(seen, said, len(balanced.classes))}
    )
    print(f"{dataset}: the classifier is right on {right} of {of} held-out images: {describe_rate(right, of)}")
