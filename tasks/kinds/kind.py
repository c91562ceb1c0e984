"""A kind of data is one object, made in a folder of its own: ``tasks/kinds/NAME/__init__.py`` holds ``KIND``.

Nothing else names a kind. A new one is a folder here and its entries in params.yaml (docs/architecture.md). What its functions
import late lies in modules of these names, so that the code of each is known apart from the others': ``data`` (preparation),
``training``, ``metrics``, ``held_out``, ``page``; ``measures`` and ``settings`` are imported at once. A whole example that runs is
tests/support/series_kind.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Protocol

from levy_core.base.code import hash_code
from levy_core.base.errors import choose
from levy_core.base.measure import Measure
from levy_core.base.settings import Settings
from tasks.kinds.held_out import Observing
from tasks.runtime.paths import Folders

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL.Image import Image
    from torch import device

    from levy_core.base.conditions import Condition
    from levy_core.base.rows import Rows
    from levy_core.base.samples import Samples
    from levy_core.process.design import Design
    from levy_core.training.batches import Data
    from tasks.cells.observed import Shown
    from tasks.page.default_sampler import DefaultSampler


@dataclass(frozen=True)
class TrainingData:
    """Training samples and what a model of them has to know.

    Attributes:
        data: float32 [N, *S], in memory or in a store. cond: the condition of each sample.
        samples: what a model of them draws. hash: of the samples and labels.
        flip: mirror half of the samples. crop: shift half of them by up to so many pixels, colour: spread of brightness, contrast and saturation
            in half of them; both of which the network is told.
        net: settings of the network that the data decide. net_inputs: further arguments of the network.
        label_numbers: of each class, and of none, what tells it from the others, float32 [classes + 1, numbers]; None: they are unlike each other.
        sigma_data: standard deviation of the values where it is known; None: the design's own.
        tail_index: the heaviest of the variables', of kinds that have one.
        areas: of the cells of each row [H], or of each cell [H, W], up to a factor; None: all the same.
        held_out: samples that nothing is trained on, as ``data``, and their condition; None where there are none.
        save: writes what is kept with the model into its folder.
    """

    data: "Data"
    cond: "Condition"
    samples: "Samples"
    hash: str
    flip: bool = False
    crop: int = 0
    colour: float = 0.0
    net: dict[str, Any] = field(default_factory=dict)
    net_inputs: dict[str, Any] = field(default_factory=dict)
    label_numbers: "np.ndarray | None" = None
    sigma_data: float | None = None
    tail_index: float | None = None
    areas: "np.ndarray | None" = None
    held_out: "tuple[Data, Condition] | None" = None
    save: Callable[[Path], None] = lambda folder: None


class Metrics(Protocol):
    """Measures samples as the sample stage keeps them, [N, *S], against the real data."""

    @property
    def hash(self) -> str:
        """Of everything but the samples that decides a number."""

    def embed(self, samples: "Rows") -> Any:
        """What a score needs of samples [n, *S], some of those that are scored."""

    def score(self, embedded: "Sequence[Any]", labels: "np.ndarray", metric: str) -> float:
        """A metric by which samplers are compared, of samples that were drawn with these labels and embedded in parts: smaller is better."""

    def watch(self, embedded: "Sequence[Any]", labels: "np.ndarray") -> dict[str, float]:
        """What a search records beside the score: ``near_train``, how far from copies of training samples they are, with
        ``floor/near_train`` of real samples, and what else it could spoil; {} where nothing is known."""

    def measure(self, samples: "Rows", labels: "np.ndarray") -> dict[str, float]:
        """All metrics of samples, perhaps memory-mapped, that were drawn with these labels, and ``samples``, how many they are."""

    def accept(
        self, folder: Path, shape: tuple[int, ...], samples: "Samples"
    ) -> "Callable[..., tuple[Rows, np.ndarray]]":
        """A function of another model's samples [N, *S] and labels [N] that gives both as ``measure_held_out`` takes them.

        Args:
            folder: of the model, which may be of older data. shape: of one of its samples. samples: what they are.

        Raises:
            LevyError: its samples cannot be compared with the data.
        """

    def measure_held_out(self, samples: "Rows", labels: "np.ndarray") -> dict[str, float]:
        """All metrics of samples that were drawn with these labels, against data that were held out of training.

        Raises:
            LevyError: none were.
        """

    @property
    def undecidable(self) -> Mapping[str, str]:
        """Metrics of ``measure_held_out`` that the held-out data cannot decide, and why; {} where all can be or nothing is known."""

    def floors(self, labels: "np.ndarray") -> dict[str, float]:
        """What perfect samples that were drawn with these labels would score: ``floor/METRIC`` for each metric of ``Kind.ranks``."""


class Page(Protocol):
    """What the report shows of a data set beside the samplers."""

    template: Path  # extends report.html.j2
    training_samples: int
    trajectories: int  # samples whose way from noise is shown
    picture_width: int  # pixels that a sheet of samples needs at least
    variables: list[str]  # names that stand in the place of `{}` in the metrics that are shown
    units: list[str]  # of the variables; without, of a sample's values; of kinds that have ``observing``

    def card(self, design: str, cell: "pd.Series") -> dict[str, str]:
        """What to know of a design at a glance: title, value, unit, text."""

    def figures(self, samplers: "dict[str, DefaultSampler]") -> dict[str, str]:
        """SVG by name."""

    def values(self, samplers: "dict[str, DefaultSampler]") -> dict[str, Any]:
        """What the template of this kind asks for."""

    def pictures(self, folder: Path, samplers: "dict[str, DefaultSampler]") -> list[dict[str, str]]:
        """Real samples, then each design's, also as files ``samples-DESIGN.png``: title, text, png in base64."""

    def pixels(self, samples: "np.ndarray") -> "np.ndarray":
        """Samples [..., *S] as uint8 [..., C, H, W] with 1 or 3 channels."""

    def draw_observed(self, cases: "Sequence[Shown]") -> "Image":
        """Cases of an experiment, of kinds that have ``observing``: what was observed, the truth, members, their mean and spread."""


@dataclass(frozen=True)
class Drift:
    """One way in which new data are unlike those before: a line for people, and its numbers."""

    text: str
    numbers: dict[str, Any]


@dataclass(frozen=True)
class DriftMeasure:
    """How a kind holds new data against those before.

    Attributes:
        settings: thresholds, ``retrain.drift`` in params.yaml.
        find: (raw folder with the new data, settings of the data set, what ``Kind.count`` gave before, what it gives now,
            thresholds) -> what is beyond the thresholds, and beyond chance.
    """

    settings: type[Settings]
    find: Callable[[Path, Any, dict[str, Any], dict[str, Any], Any], list[Drift]]


class Correct(Protocol):
    """Corrects samples [n, *S], which are the rows [n] of samples that were drawn with these labels [N]."""

    def __call__(self, samples: "np.ndarray", labels: "np.ndarray", rows: "np.ndarray") -> "np.ndarray": ...


@dataclass(frozen=True)
class Correction:
    """How a kind corrects samples of a model in the units of people, where a person asks for it.

    Attributes:
        is_asked_for: of the settings of a data set.
        count: of a sample's shape, how many samples of the model it is fitted to.
        fit: (reference folder, samples [N, *S] as stages keep them, their labels [N]) -> what ``open`` takes, in the types of JSON. A registered
            model keeps it as ``CORRECTION``, which its exporter reads.
        open: (folder of the model, what was fitted, what its samples are) -> corrects samples as ``fit`` has them.
    """

    is_asked_for: Callable[[Any], bool]
    count: Callable[[tuple[int, ...]], int]
    fit: "Callable[[Path, Rows, np.ndarray], dict[str, Any]]"
    open: "Callable[[Path, Mapping[str, Any], Samples], Correct]"


@dataclass(frozen=True)
class Contents:
    """What raw data hold, as far as it shows without reading all of them.

    Attributes:
        counts: training samples of each class; {} of a kind without classes. shape: [C, H, W] of a sample. held_out: samples.
    """

    counts: Mapping[str, int]
    shape: tuple[int, ...]
    held_out: int = 0


@dataclass(frozen=True)
class Kind:
    """A kind of data. Its functions import late: each kind brings seconds of imports that the others do without.

    Attributes:
        name: in params.yaml (``data.NAME.kind``, ``evaluate``, ``compare``, ``retrain.gate``); the name of its folder.
        settings: of a data set. evaluation: of its metrics.
        measures: what samples are measured by.
        dtype: numpy's name of how samples are kept ("uint8": as pixels). bounded: values lie in [-1, 1], so that a limit on
            x0_hat suits them.
        weighs_classes: metrics weigh samples by their class, so that any numbers of each may be drawn to be measured
            (``sample.classes``); else they are drawn in training proportions.
        has_tail_index: preparation finds one, so that a design's nu or alpha may be `data`.
        check: (raw folder, settings) -> ``Contents``: refuses raw data with which something is wrong, without reading all of them.
        count: (raw folder, settings) -> {"counts": by class or sort, ...}, without reading all of them.
        prepare: (raw folder, settings, new folder, folder of the last preparation or None, data set's name). Among what it writes
            is ``statistics.json`` with ``shape``, (C, H, W) of a sample (``tasks.kinds.statistics``).
        training_data: (prepared folder, settings) -> ``TrainingData``.
        make_reference: (prepared folder, new folder, evaluation settings, torch device, data set's name).
        open_metrics: (``Folders``, evaluation settings, torch device) -> ``Metrics``.
        open_page: (``Folders``, evaluation settings, torch device) -> ``Page``.
        output_shape: shape of an exported sample, of that of a sample.
        drift: None for a kind whose new data are not held against those before.
        observing: None for a kind of which experiments observe nothing.
        advise: (settings, design) -> what speaks against this design for such data, in a line; "" for nothing.
        why_no_eofs: (settings) -> why such data and designs with EOFs do not go together, and what to do; "" where they do.
        why_no_patches: the same of designs with patches.
        correction: None for a kind whose samples are left as they are drawn.
        keeps: folders of the reference that a registered model keeps.
    """

    name: str
    settings: type[Settings]
    evaluation: type[Settings]
    measures: tuple[Measure, ...]
    dtype: str
    bounded: bool
    weighs_classes: bool
    has_tail_index: bool
    check: Callable[[Path, Any], Contents]
    count: Callable[[Path, Any], dict[str, Any]]
    prepare: Callable[[Path, Any, Path, Path | None, str], None]
    training_data: Callable[[Path, Any], TrainingData]
    make_reference: "Callable[[Path, Path, Any, device, str], None]"
    open_metrics: "Callable[[Folders, Any, device], Metrics]"
    open_page: "Callable[[Folders, Any, device], Page]"
    output_shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    drift: DriftMeasure | None = None
    observing: Observing | None = None
    correction: Correction | None = None
    keeps: tuple[str, ...] = ()
    advise: "Callable[[Any, Design], str]" = lambda settings, design: ""
    why_no_eofs: Callable[[Any], str] = lambda settings: ""
    why_no_patches: Callable[[Any], str] = lambda settings: (
        "is of a kind whose networks are not told where on a sample they look; take patches out, or run this design on fields"
    )

    def hash_code(self, part: str) -> str:
        """Hash of the code of a module of the kind's folder, which decides what it makes: ``data``, ``training``, ``metrics``."""
        return hash_code(f"tasks.kinds.{self.name}.{part}")

    @property
    def ranks(self) -> tuple[str, ...]:
        """The metrics by which samplers may be compared."""
        return tuple(metric for measure in self.measures for metric in measure.ranks)

    def headline(self, metrics: Iterable[str]) -> list[str]:
        """Those of the metrics that `dvc metrics show` prints, in their order."""
        patterns = [pattern for measure in self.measures for pattern in measure.headline]
        return [metric for metric in metrics if any(fnmatchcase(metric, pattern) for pattern in patterns)]

    def list_measures(self, variables: list[str]) -> list[tuple[str, str, float]]:
        """(text for people, metric, factor) of the report's table, for the variables of a data set."""
        whole = [(text, metric, m.factor) for m in self.measures for text, metric in m.shown if "{}" not in metric]
        of_variable = [(m, text, metric) for m in self.measures for text, metric in m.shown if "{}" in metric]
        pairs = {
            name: f"{a}, {b}" for i, a in enumerate(variables) for b in variables[i + 1 :] for name in [f"{a}-{b}"]
        }
        singles = [(m, text, metric) for m, text, metric in of_variable if not m.pairs]
        doubles = [(m, text, metric) for m, text, metric in of_variable if m.pairs]
        return [
            *whole,
            *((f"{v}: {text}", metric.format(v), m.factor) for v in variables for m, text, metric in singles),
            *(
                (f"{title}: {text}", metric.format(v), m.factor)
                for v, title in pairs.items()
                for m, text, metric in doubles
            ),
        ]


def kind_names() -> list[str]:
    """The kinds that there are: the folders beside this module."""
    return sorted(module.name for module in iter_modules([str(Path(__file__).parent)]) if module.ispkg)


def kind_of(name: str) -> Kind:
    """The kind of this name.

    Raises:
        LevyError: there is none.
    """
    choose("kind of data", name, dict.fromkeys(kind_names()))
    return import_module(f"tasks.kinds.{name}").KIND
