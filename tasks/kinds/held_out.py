"""What a kind's held-out samples are to experiments, which observe something of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from levy_core.observations.operators import Operator


class HeldOut(Protocol):
    """The held-out samples of a data set, of which experiments observe something."""

    @property
    def variables(self) -> Sequence[str]:
        """Names of the channels, each of which is judged; none where a sample is judged as a whole."""

    @property
    def reach(self) -> float | None:
        """What values span, for their PSNR; None of values without a range."""

    @property
    def apart(self) -> int:
        """Samples nearer to each other are not both among the most extreme."""

    @property
    def runs(self) -> "np.ndarray":
        """Which run of neighbours each sample belongs to, int64 [N]: samples of several are never near to each other."""

    @property
    def wraps(self) -> bool:
        """Whether the last column touches the first."""

    @property
    def valid(self) -> "Tensor":
        """Cells that have values, bool [C, H, W]."""

    @property
    def area(self) -> "Tensor | None":
        """Of cells, [H, 1] or [H, W]; None: all the same."""

    @property
    def labels(self) -> "np.ndarray":
        """int64 [N]."""

    @property
    def hash(self) -> str:
        """Of the samples."""

    def __len__(self) -> int: ...

    def read(self, rows: "np.ndarray") -> "np.ndarray":
        """Samples of these rows in their units, float64 [n, C, H, W], NaN where missing."""

    def name(self, row: int) -> str:
        """A sample for people: its date, or its class."""

    def errors(self, operator: "Operator", std: "float | dict[str, float]") -> "np.ndarray":
        """Standard deviation of the error of each observed value, float64 [rows of the operator], in the units of the values."""

    def clip(self, operator: "Operator", values: "np.ndarray") -> "np.ndarray":
        """Observed values [n, rows of the operator] as an instrument gives them, which knows the ends of a variable."""

    def standardise(
        self, operator: "Operator", values: "np.ndarray", std: "np.ndarray", rows: "np.ndarray"
    ) -> "tuple[np.ndarray, np.ndarray]":
        """Observed values and their errors, float64 [n, rows of the operator] each, as networks see samples; std [rows of the operator]."""

    def corrected(self, found: "Mapping[str, Any]") -> "HeldOut":
        """The same as a model sees them whose samples are corrected by what was fitted; itself where nothing was."""

    def see(self, operator: "Operator", row: int) -> "Operator":
        """What sees in samples as networks have them what the operator sees in samples in their units; itself where both are alike. Linear, it is the same of all rows."""

    def to_units(self, samples: "np.ndarray", rows: "np.ndarray") -> "np.ndarray":
        """Samples [n, C, H, W] as they are drawn, or as networks see them, as samples of these held-out rows in their units, float64."""


@dataclass(frozen=True)
class Observing:
    """How a kind's held-out samples are observed by experiments.

    Attributes:
        views: rows of ``levy_core.observations.views`` that suit the kind.
        check: (settings of the data set, name of the view, ``std`` and ``guides`` of the experiment): refuses what does not suit the data.
        open: (prepared folder, settings) -> ``HeldOut``.
    """

    views: tuple[str, ...]
    check: Callable[[Any, str, float | dict[str, float], Sequence[str]], None]
    open: Callable[[Path, Any], HeldOut]
