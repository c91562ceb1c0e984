"""What turns samples into what people want: the exporter that a model names."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.event import Classify, Event, Given
from levy_core.base.observed import Observed
from levy_core.base.samples import Samples

# Packages of this project, of whose installed code a model may name an exporter; no other module is imported.
ALLOWED = ("levy_core.", "tasks.kinds.")


class Exporter(Protocol):
    """What becomes of samples [N, C, H, W] as ``draw_samples`` gives them, with their labels [N]."""

    def __init__(self, folder: Path, samples: Samples) -> None:
        """Reads what is kept with a model."""

    def array(self, samples: np.ndarray, labels: np.ndarray, given: Given | None = None) -> np.ndarray:
        """For `predict`; ``given`` is what they agree with, of kinds that have observations."""

    def write(
        self,
        samples: np.ndarray,
        labels: np.ndarray,
        drawn: Mapping[str, str],
        folder: Path,
        given: Given | None = None,
    ) -> str:
        """Files in a folder; says how many of what in a few words. ``drawn`` says by what samples were drawn: model, seed, sampler and more.
        ``given`` is what they agree with."""

    def read_observed(self, path: Path, std: Mapping[str, float], means: bool, time: str | None) -> Observed:
        """What a file says of a sample, as the network has samples; what the arguments mean is the kind's.

        Raises:
            LevyError: the file does not fit the model, or the kind has no observations.
        """

    def read_truth(self, path: Path, moment: Any) -> Observed:
        """What a file says is true of a sample at the observed moment.

        Raises:
            LevyError: as ``read_observed``, or the file is of another moment.
        """

    def parse_observed(self, described: Mapping[str, Any]) -> Observed:
        """What a request says of a sample, in the types of JSON; its keys are the kind's.

        Raises:
            LevyError: as ``read_observed``, or values of other types.
        """

    def read_event(self, text: str, time: str | None, classify: Callable[[], Classify]) -> Event:
        """What an event in words is of a sample; ``time`` is the moment that it is asked of, ``classify`` opens what tells classes apart.

        Raises:
            LevyError: the words do not fit the model, or the kind has no events.
        """


READERS = {
    "read_observed": "observations",
    "parse_observed": "observations",
    "read_truth": "observations",
    "read_event": "events",
}


def reader_of(exporter: Exporter, reader: str, kind: str) -> Callable[..., Any]:
    """The exporter's method of ``READERS``, which a kind need not have.

    Raises:
        LevyError: the kind has none.
    """
    found = getattr(exporter, reader, None)
    if found is None:
        named = READERS[reader]
        raise LevyError(f"samples of the kind {kind!r} have no {named}: nothing reads them")
    return cast(Callable[..., Any], found)


def exporter_of(samples: Samples) -> type[Exporter]:
    """The exporter of a model's samples; whoever asks for images needs nothing of what reads and writes fields.

    Raises:
        LevyError: it is no exporter of this project, or this installation has none of that name.
    """
    module, _, name = samples.exporter.partition(":")
    if not module.startswith(ALLOWED):
        raise LevyError(
            f"the model names the exporter {samples.exporter!r}, which is none of levy's: nothing of it was run"
        )
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise LevyError(
            f"the model is of the kind {samples.kind!r}, whose exporter {samples.exporter} is not installed here ({error}): "
            "install the levy that trained it"
        ) from error
    if not (isinstance(found, type) and all(callable(getattr(found, way, None)) for way in ("array", "write"))):
        raise LevyError(
            f"the model names the exporter {samples.exporter!r}, which exports nothing: nothing of it was run"
        )
    return cast(type[Exporter], found)
