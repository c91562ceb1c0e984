"""The saved state of an unfinished training."""

from pathlib import Path

import torch

from levy_core.base.errors import LevyError
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.nets.precision import Precision
from levy_core.training.trainer import Trainer
from tasks.training.held_out import Point
from tasks.training.kept_averages import KeptAverages


class Resume:
    """The saved state of an unfinished run; used only by a run of the same design, network, settings, precision and data.

    One file, replaced as a whole: a kill while saving leaves the state before. It names the averages that were kept before it
    by their hashes.

    Attributes:
        unused: why ``restore`` did not use the state that it found; empty if it did, or found none.
    """

    def __init__(self, path: Path, fingerprint: bytes, precision: Precision, kept: KeptAverages):
        self.path, self.precision, self.kept, self.unused = path, precision, kept, ""
        self.fingerprint = torch.frombuffer(bytearray(fingerprint), dtype=torch.uint8)

    def save(self, trainer: Trainer, curve: list[Point]) -> None:
        """Takes the place of the state before."""
        about = {"curve": torch.tensor(curve, dtype=torch.float64), "fingerprint": self.fingerprint}
        about["bfloat16"] = torch.tensor(self.precision == "bfloat16")
        if trainer.power_averages:
            about["kept_averages"] = self.kept.hashes(trainer.power_averages.kept_before(trainer.step))
        write_tensors(self.path, trainer.state() | about)

    def restore(self, trainer: Trainer) -> list[Point]:
        """Puts a matching state into ``trainer`` and returns the curve so far; else leaves it at step 0."""
        if not self.path.exists():
            return []
        anew = f"the unfinished training in {self.path} is not used, training begins at step 0"
        try:
            state = read_tensors(self.path)
        except LevyError:
            self.unused = f"{anew}: it cannot be read"
            return []
        curve, fingerprint = state.pop("curve"), state.pop("fingerprint")
        before = "bfloat16" if state.pop("bfloat16", False) else "float32"
        if not torch.equal(fingerprint, self.fingerprint):
            precision = f"it was in {before}, and this one is in {self.precision} (see train.precision)"
            changed = "its design, network, settings, code or data were others"
            self.unused = f"{anew}: {precision if before != self.precision else changed}"
            return []
        if not self.kept.are(state.pop("kept_averages", torch.empty(0, 32, dtype=torch.uint8))):
            self.unused = f"{anew}: averages of weights that were kept with it are missing or damaged"
            return []
        trainer.restore(state)
        return [(loss, norm, held_out) for loss, norm, held_out in curve.tolist()]

    def clear(self) -> None:
        """Removes the state of a finished run, and what was kept with it."""
        self.path.unlink(missing_ok=True)
        self.kept.clear()
