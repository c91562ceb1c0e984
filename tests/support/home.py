"""A person's checkout, to which new data will be delivered."""

import shutil
import sys
import zipfile
from pathlib import Path

from tests.conftest import TINY, Checkout, make_checkout, merged

SMALL = merged(
    TINY,
    {
        "designs": ["ddpm"],
        "train": {"steps": 20},
        "tune": {"steps": [2], "samples": 20, "first": 8, "last": 8},
        "sample": {"grid": {"paper": {"discretisations": ["ei-noise"], "steps": [2], "etas": [0.1]}}},
        "retrain": {"seeds": {"first": 3, "most": 3}, "n": 64, "false_promotion": 0.2},
    },
)


def make_home(folder: Path, later: Path, every: int, settings: dict = SMALL) -> Checkout:
    """A checkout in ``folder`` with digits in class folders; one of ``every`` so many lies in ``later`` instead."""
    checkout = make_checkout(folder, settings)
    data = checkout.root / "data/digits"
    with zipfile.ZipFile(data / "digits.zip") as archive:
        archive.extractall(data)
    (data / "digits.zip").unlink()
    for number, image in enumerate(sorted(data.rglob("*.png"))):
        if number % every == 0:
            moved = later / image.relative_to(data)
            moved.parent.mkdir(exist_ok=True, parents=True)
            shutil.move(image, moved)
    checkout.run(sys.executable, "-m", "dvc", "add", "-q", "data")
    commit(checkout, "digits in class folders")
    return checkout


def commit(checkout: Checkout, message: str) -> None:
    """Everything, as somebody."""
    checkout.run("git", "add", "-A")
    checkout.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-q", "-m", message)
