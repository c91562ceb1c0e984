"""Tables of what docs/benchmarks/infill.py judged, as Markdown: skill against kriging, paired over the same held-out days."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.metrics.common.withheld import Withheld, flatness, skill

ROWS = "rows.jsonl"
PIGDM = "pigdm 100"
FEWEST = 10  # cases that a skill is given for
Found = dict[tuple[str, str, str], dict[str, Any]]  # rows by task, way and stratum


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """What has been judged; none in a new folder."""
    path = folder / ROWS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def scores(row: dict[str, Any], channel: str) -> Withheld:
    """Of one variable of a row."""
    return Withheld(**{name: np.array(values) for name, values in row["channels"][channel].items()})


def print_tables(folder: Path) -> None:
    """One table for each data set, one line for each task, way and channel; then five evaluations against PiGDM's hundred."""
    rows = read_rows(folder)
    for data in dict.fromkeys(row["data"] for row in rows):
        own = [row for row in rows if row["data"] == data]
        images = "psnr" in own[0]
        head = ["task", "way", "variable", "evaluations", "skill", "spread / error", "ranks: width (p)", "misfit"]
        head += ["PSNR", "PSNR of the mean"] if images else ["skill, extreme", "spread / error, extreme"]
        print(f"\n{data}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
        found = {(row["task"], row["way"], row["stratum"]): row for row in own}
        tasks = list(dict.fromkeys(row["task"] for row in own))
        every = dict.fromkeys((row["task"], row["way"]) for row in own)
        for task, way in sorted(every, key=lambda pair: tasks.index(pair[0])):
            for channel in own[0]["channels"]:
                print(_line(found, task, way, channel, images))
        _print_against_pigdm(found, list(own[0]["channels"]))


def _line(found: Found, task: str, way: str, channel: str, images: bool) -> str:
    row = found[task, way, "usual"]
    cells = [task, way, channel, str(row["evaluations"] or ""), *_compare(found, task, way, "usual", channel)]
    own = scores(row, channel)
    flat = flatness(own.ranks) if own.ranks.shape[1] > 2 else None
    cells += [f"{flat.width:.2f} ({flat.p:.0e})" if flat else "", f"{row['misfit']:.2g}"]
    if images:
        cells += [f"{row[name]:.1f}" for name in ("psnr", "psnr_mean")]
    elif (task, way, "extreme") in found:
        cells += _compare(found, task, way, "extreme", channel)
    return f"| {' | '.join(cells)} |"


def _compare(found: Found, task: str, way: str, stratum: str, channel: str) -> list[str]:
    """Skill against kriging, of kriging its CRPS, and spread over error."""
    own, rival = (scores(found[task, name, stratum], channel) for name in (way, "kriging"))
    if len(own) < FEWEST:
        return [f"{len(own)} cases", ""]
    said = f"CRPS {own.crps.mean():.4f}" if way == "kriging" else str(skill(own, rival))
    return [said, "" if np.isnan(own.spread_error) else f"{own.spread_error:.2f}"]


def _print_against_pigdm(found: Found, channels: list[str]) -> None:
    for task, way, stratum in found:
        design = way.split()[0]
        if not way.endswith(PIGDM):
            for channel in channels:
                rival = found.get((task, f"{design} {PIGDM}", stratum))
                if rival and way.split()[-1] in ("5", "10"):
                    against = skill(scores(found[task, way, stratum], channel), scores(rival, channel))
                    print(f"{task}, {stratum}, {channel}: {way} against {PIGDM}: {against}")
