"""Where the stages read and write. All outputs lie under one folder, which git ignores."""

from pathlib import Path

DATA = Path("data")
OUTPUTS = Path("outputs")


def raw(dataset: str) -> Path:
    """What a person brought."""
    return DATA / dataset


def prepared(dataset: str) -> Path:
    """Folder of ``images.zarr`` and ``statistics.json``."""
    return OUTPUTS / dataset / "data"


def classifier(dataset: str) -> Path:
    """Folder of the classifier."""
    return OUTPUTS / dataset / "classifier"


def model(dataset: str, design: str) -> Path:
    """Folder of ``model.safetensors`` and ``design.json``."""
    return OUTPUTS / dataset / "models" / design


def curve(dataset: str, design: str) -> Path:
    """Training curve: step, loss, grad_norm."""
    return OUTPUTS / dataset / "curves" / f"{design}.csv"


def resume(dataset: str, design: str) -> Path:
    """State of an interrupted training run; no DVC output."""
    return OUTPUTS / dataset / "resume" / f"{design}.safetensors"


def samples(dataset: str, design: str) -> Path:
    """Folder of ``cells.json`` and one array a cell and seed."""
    return OUTPUTS / dataset / "samples" / design


def evaluation(dataset: str, design: str) -> Path:
    """One row a cell and seed."""
    return OUTPUTS / dataset / "evaluations" / f"{design}.csv"


def grid(dataset: str) -> Path:
    """One row a design and cell: mean and spread over seeds."""
    return OUTPUTS / dataset / "grid.csv"


def winner(dataset: str) -> Path:
    """The best cell and its design."""
    return OUTPUTS / dataset / "winner.json"


def metrics(dataset: str) -> Path:
    """What `dvc metrics show` prints."""
    return OUTPUTS / dataset / "metrics.json"


def report(dataset: str) -> Path:
    """Folder of ``index.html`` and its figures."""
    return OUTPUTS / dataset / "report"
