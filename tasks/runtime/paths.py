"""Where the stages read and write. All outputs lie under one folder, which git ignores."""

import os
from dataclasses import dataclass
from pathlib import Path

PARAMS = Path("params.yaml")
GRAPH = Path("dvc.yaml")
LOCK = Path("dvc.lock")
DATA_VERSION = Path("data.dvc")
DATA = Path("data")
OUTPUTS = Path("outputs")


@dataclass(frozen=True)
class Folders:
    """Where a data set lies: as a person brought it, prepared, and what samples are measured with."""

    raw: Path
    prepared: Path
    reference: Path


def raw(dataset: str) -> Path:
    """What a person brought."""
    return DATA / dataset


def prepared(dataset: str) -> Path:
    """Folder of the packed store and ``statistics.json``."""
    return OUTPUTS / dataset / "data"


def reference(dataset: str) -> Path:
    """Folder of what samples are measured with."""
    return OUTPUTS / dataset / "reference"


def folders(dataset: str) -> Folders:
    """Where a data set lies."""
    return Folders(raw(dataset), prepared(dataset), reference(dataset))


def model(dataset: str, design: str) -> Path:
    """Folder of ``model.safetensors`` and ``design.json``."""
    return OUTPUTS / dataset / "models" / design


def compiled() -> Path:
    """Folder of compiled kernels, of all checkouts of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "levy" / "compiled"


def curve(dataset: str, design: str) -> Path:
    """Training curve: step, loss, grad_norm."""
    return OUTPUTS / dataset / "curves" / f"{design}.csv"


def resume(dataset: str, design: str) -> Path:
    """State of an interrupted training run; no DVC output."""
    return OUTPUTS / dataset / "resume" / f"{design}.safetensors"


def kept_averages(dataset: str, design: str) -> Path:
    """Folder of averages of the weights that a training keeps for a choice after it; no DVC output."""
    return OUTPUTS / dataset / "resume" / f"{design}.averages"


def finished_training(dataset: str, design: str) -> Path:
    """What a finished training was made of; no DVC output."""
    return OUTPUTS / dataset / "resume" / f"{design}.done.json"


def live(dataset: str, design: str) -> Path:
    """How far a training is, while it goes on; no DVC output."""
    return OUTPUTS / dataset / "resume" / f"{design}.live.jsonl"


def pictures(dataset: str, design: str) -> Path:
    """Folder of pictures of samples along a training; no DVC output."""
    return OUTPUTS / dataset / "resume" / f"{design}.pictures"


def finished_reference(dataset: str) -> Path:
    """What a finished reference was made of, under a name that no design has; no DVC output."""
    return OUTPUTS / dataset / "resume" / ".reference.done.json"


def scores(dataset: str, design: str) -> Path:
    """Scores of a search, for the next one of the same model and metric; no DVC output."""
    return OUTPUTS / dataset / "resume" / f"{design}.jsonl"


def tuned(dataset: str, design: str) -> Path:
    """The sampler found for each number of steps."""
    return OUTPUTS / dataset / "tuned" / f"{design}.json"


def trials(dataset: str, design: str) -> Path:
    """Every trial of the search."""
    return OUTPUTS / dataset / "trials" / f"{design}.csv"


def samples(dataset: str, design: str) -> Path:
    """Folder of ``cells.json`` and one array per cell and seed."""
    return OUTPUTS / dataset / "samples" / design


def observed(dataset: str, design: str) -> Path:
    """Folder of the scores of experiments on held-out data, and of what the report shows of them."""
    return OUTPUTS / dataset / "observed" / design


def finished_observe(dataset: str, design: str) -> Path:
    """What finished experiments were made of, under a name that no design has; no DVC output."""
    return OUTPUTS / dataset / "resume" / f"{design}.observed.json"


def evaluation(dataset: str, design: str) -> Path:
    """One row per cell and seed."""
    return OUTPUTS / dataset / "evaluations" / f"{design}.csv"


def outputs_of_design(dataset: str, design: str) -> list[Path]:
    """Every output of a design, each in a folder with those of the other designs, which later stages read as a whole."""
    return [output(dataset, design) for output in (model, curve, tuned, trials, samples, observed, evaluation)]


def pruned(dataset: str) -> Path:
    """Folder of outputs of designs that params.yaml does not name; no stage reads there."""
    return OUTPUTS / dataset / ".pruned"


def grid(dataset: str) -> Path:
    """One row per design and cell: mean and spread over seeds."""
    return OUTPUTS / dataset / "grid.csv"


def eta(dataset: str) -> Path:
    """The best sampler of each design at each number of evaluations, and each design's default."""
    return OUTPUTS / dataset / "eta.json"


def winner(dataset: str) -> Path:
    """The best cell and its design."""
    return OUTPUTS / dataset / "winner.json"


def metrics(dataset: str) -> Path:
    """What `dvc metrics show` prints."""
    return OUTPUTS / dataset / "metrics.json"


def quality_curve(dataset: str) -> Path:
    """For `dvc plots`: the best of each solver at each number of evaluations."""
    return OUTPUTS / dataset / "plots" / "quality.csv"


def eta_curve(dataset: str) -> Path:
    """For `dvc plots`: the best of each eta."""
    return OUTPUTS / dataset / "plots" / "eta.csv"


def report(dataset: str) -> Path:
    """Folder of ``index.html`` and its figures."""
    return OUTPUTS / dataset / "report"
