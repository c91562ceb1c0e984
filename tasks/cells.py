"""Cells of the grid on disk: one uint8 array a solver and seed, named by a hash of what determines it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from levy_core.errors import LevyError
from levy_core.files import replacing, write_json
from levy_core.solver import Solver


@dataclass(frozen=True)
class Cell:
    """One solver at one seed."""

    solver: Solver
    seed: int

    def key(self, model_hash: str, n: int) -> str:
        """Hash of everything that determines the samples."""
        determined_by = {**asdict(self.solver), "seed": self.seed, "model": model_hash, "n": n}
        return hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode()).hexdigest()[:16]


def write_cell(folder: Path, key: str, image: np.ndarray) -> None:
    """Samples of a cell, uint8 [n, C, H, W], in one piece."""
    with replacing(folder / f"{key}.npy") as temporary, temporary.open("wb") as stream:
        np.save(stream, image, allow_pickle=False)


def write_index(folder: Path, cells: dict[str, Cell]) -> None:
    """``cells.json`` names the cells; arrays that it does not name are removed."""
    index = {key: {**asdict(cell.solver), "seed": cell.seed} for key, cell in cells.items()}
    for path in folder.iterdir():
        if path.name != "cells.json" and path.stem not in index:
            path.unlink()
    write_json(folder / "cells.json", index)


def read_cells(folder: Path) -> list[tuple[Cell, np.ndarray]]:
    """Cells and their samples (memory-mapped), in the order of solver and seed.

    Raises:
        LevyError: the index or an array is missing or damaged.
    """
    try:
        index = json.loads((folder / "cells.json").read_text())
        cells = [
            (
                Cell(Solver(**{k: v for k, v in row.items() if k != "seed"}), row["seed"]),
                np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False),
            )
            for key, row in index.items()
        ]
    except (OSError, ValueError) as error:
        raise LevyError(f"{folder} holds no complete grid ({error}): run the sample stage again") from error
    return sorted(
        cells, key=lambda pair: (pair[0].solver.steps, pair[0].solver.label, pair[0].solver.grid, pair[0].seed)
    )
