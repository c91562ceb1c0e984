"""How far a training is: one line of JSON per point or picture, for whoever watches. No DVC output."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

SECONDS = 10.0  # a point after so long, also before as many steps as make one


class LiveLog:
    """Writes the way of a training: first what it is, then points, each the mean over its steps.

    Args:
        path: the file, replaced. training: hash of what decides the training. steps: in all. first: steps that an earlier
            process has taken. window: steps of a point.
    """

    def __init__(self, path: Path, training: str, steps: int, first: int, window: int):
        self._path, self._steps, self._window, self._begun = path, steps, window, time.monotonic()
        self._first, self._since = first, self._begun
        self._sums, self._counts = defaultdict[str, float](float), Counter[str]()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"training": training, "steps": steps, "first": first}) + "\n")

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """One step; numbers that are NaN are not there."""
        for name, value in numbers.items():
            if isfinite(value):
                self._sums[name], self._counts[name] = self._sums[name] + value, self._counts[name] + 1
        now = time.monotonic()
        if step % self._window and step < self._steps and now - self._since < SECONDS:
            return
        means = {name: value / self._counts[name] for name, value in self._sums.items()}
        rate = (step - self._first) / (now - self._begun)
        point = {"step": step, **means, "steps_per_second": rate, "seconds_left": (self._steps - step) / rate}
        with self._path.open("a") as file:
            file.write(json.dumps(point) + "\n")
        self._since, self._sums, self._counts = now, defaultdict(float), Counter()

    def add_picture(self, step: int, picture: Path) -> None:
        """A file that shows samples after a step; it lies beside this one, or below."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "picture": picture.relative_to(self._path.parent).as_posix()}) + "\n")


class LiveReader:
    """Reads what a ``LiveLog`` has written since the last time.

    Attributes:
        about: what the training is; {} as long as nobody has said it.
    """

    def __init__(self, path: Path):
        self._path, self._offset, self.about = path, 0, dict[str, Any]()

    def read(self) -> list[dict[str, Any]]:
        """New points and pictures, in order; lines that are not whole yet are left for later."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = [json.loads(line) for line in whole.splitlines()]
        if lines and not self.about:
            self.about = lines.pop(0)
        return lines
