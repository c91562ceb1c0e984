"""Which images are trained on and which are held out, so that neither changes sides when images come or go."""

from dataclasses import dataclass

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.seeds import seed_of
from levy_core.datasets.images.longtail import longtail_counts
from levy_core.datasets.images.sources import Source

# Of the balanced images, the share that checks the classifier that tells classes apart, which is not trained on them; the held-out images do, too.
CHECKS = 0.2
FEWEST_CHECKS = 10  # of a class: if all of so many are known, the 95 % interval (Jeffreys) of the classifier's accuracy begins at 78 %


@dataclass(frozen=True, eq=False)
class Split:
    """A place in [0, 1) for each image, decided by (seed, class name, name of the image) alone.

    Images with a place below ``share`` are held out; of the others those with the smallest are chosen first. Images that
    are added or removed move no other.

    Attributes:
        labels: int64 [N]. place: float64 [N].
    """

    labels: np.ndarray
    place: np.ndarray
    share: float

    @classmethod
    def of(cls, source: Source, seed: int, share: float) -> "Split":
        """Splits a source.

        Raises:
            LevyError: a share is to be held out, and a class has no image on one of the sides.
        """
        keys = ((source.classes[c], source.key(i)) for i, c in enumerate(source.labels))
        place = np.array([seed_of(seed, "image", *key) / 2**63 for key in keys])
        split = cls(source.labels, place, share)
        for c, name in enumerate(source.classes):
            own = place[source.labels == c]
            held_out = int((own < share).sum())
            if share and not 0 < held_out < len(own):
                raise LevyError(
                    f"{source.where}: test_share is {share:g}, but of {len(own)} image{'s' * (len(own) != 1)} of class {name!r} "
                    f"{'all fall' if held_out else 'none falls'} into it: bring more images of that class, or set test_share to 0"
                )
        return split

    @property
    def available(self) -> list[int]:
        """Images of each class that are not held out."""
        return np.bincount(self.labels[self.place >= self.share], minlength=self.labels.max() + 1).tolist()

    @property
    def held_out(self) -> np.ndarray:
        """Indices sorted by class, then by place, int64."""
        order = self._order()
        return order[self.place[order] < self.share]

    def first(self, counts: list[int]) -> np.ndarray:
        """Indices of ``counts[c]`` images of each class c that are not held out, sorted by class, then by place, int64."""
        order = self._order()
        order = order[self.place[order] >= self.share]
        return np.concatenate([order[self.labels[order] == c][:count] for c, count in enumerate(counts)])

    def _order(self) -> np.ndarray:
        return np.lexsort((self.place, self.labels))


def assign_groups(
    source: Source, imbalance: float | None, reference_per_class: int | None, seed: int, test_share: float
) -> dict[str, np.ndarray]:
    """Indices of the images of each group: ``train``, ``balanced`` and, of a share above 0, ``test``.

    ``train`` and ``balanced`` overlap, and neither has an image of ``test``.

    Args:
        imbalance: of the long tail (``longtail_counts``); None: all images that are not held out, in the numbers that they have.

    Raises:
        LevyError: the images do not suffice.
    """
    split = Split.of(source, seed, test_share)
    available = split.available
    if len(available) < 2:
        raise LevyError(
            f"{source.where} has 1 class, {source.classes[0]!r}, but at least 2 classes are needed, a sub-folder each"
        )
    if min(available) < 2:
        raise LevyError(
            f"{source.where}: class {source.classes[int(np.argmin(available))]!r} has {min(available)} image{'s' * (min(available) != 1)}"
            f"{' beside those held out' if test_share else ''}, but 2 are needed to say how good images of a class are: bring more, or take the "
            "class out"
        )
    per_class = reference_per_class or min(available)
    if per_class > min(available):
        smallest = source.classes[int(np.argmin(available))]
        raise LevyError(
            f"{source.where}: reference_per_class is {per_class}, but class {smallest!r} has {min(available)} images"
            f"{' beside those held out' if test_share else ''}: lower it, or set it to null"
        )
    groups = {
        "train": split.first(available if imbalance is None else longtail_counts(available, imbalance)),
        "balanced": split.first([per_class] * len(available)),
    }
    return groups | ({"test": split.held_out} if test_share else {})


def count_checks(labels: np.ndarray, groups: dict[str, np.ndarray], classes: list[int]) -> int:
    """About how many images of some classes check the classifier: those held out, and a part of the balanced ones."""
    held_out, balanced = (int(np.isin(labels[groups.get(g, [])], classes).sum()) for g in ("test", "balanced"))
    return held_out + int(CHECKS * balanced)
