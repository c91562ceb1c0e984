"""The report's answer to whether rare classes come back: a paragraph, and a table of the classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from levy_core.base.samples import Classes
from levy_core.datasets.images.longtail import rare_classes

Cell = Mapping[Any, Any] | pd.Series  # a row of the grid

# (title, metric of a class) of the table, beside the shares
PER_CLASS = [
    ("asked = got", "class_agreement"),
    ("coverage", "class_coverage"),
    ("FID", "class_fid"),
    ("nearest training image", "class_near"),
]
DRAWN: dict[Classes, str] = {
    "balanced": "with equally many samples of each class, weighed back to the proportions of the training data",
    "training": "in the class proportions of the training data",
    "none": "without asking for a class",
}
WIDE = 1.0  # an interval of the rare classes' share that is as wide as the share itself decides nothing


def format_percent(share: float) -> str:
    """A share in percent: one digit after the point, or two that count."""
    percent = 100 * share
    return f"{percent:.1f}" if percent >= 1 or percent < 0.001 else f"{percent:.2g}"


def format_interval(low: float, high: float) -> str:
    """An interval of a share in percent; bounds of an estimate may lie beyond all samples."""
    return f"{format_percent(low)} to {format_percent(min(1.0, high))}"


def list_names(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def order_by_count(counts: Sequence[int]) -> list[int]:
    """Classes, rarest first; of equal ones the last first, as ``rare_classes`` chooses."""
    return sorted(range(len(counts)), key=lambda c: (counts[c], -c))


def answer(
    cell: Cell, sampler: str, names: Sequence[str], counts: Sequence[int], drawn: int, undecidable: str = ""
) -> list[str]:
    """Sentences on the winner: how many rare samples there are and should be, how good they are, at what cost.

    Args:
        cell: the winner's row of the grid. sampler: its name for people. drawn: its samples of all seeds.
        names, counts: of the classes and of their training images. undecidable: why the classifier cannot tell the rare ones.
    """
    told = (
        [_describe_undecidable(names, counts, undecidable)]
        if undecidable
        else [_describe_share(cell, names, counts, drawn), _describe_agreement(cell)]
    )
    sentences = [*told, _describe_quality(cell), f"This is {cell['design']} with {sampler}, the winner."]
    if undecidable:  # nor can it tell which other ones came
        return sentences
    rare = rare_classes(counts)
    if lost := [names[c] for c in order_by_count(counts) if c not in rare and _never_came(cell, c)]:
        sentences.append(f"Other classes that never came: {list_names(lost)}.")
    return sentences


def _never_came(cell: Cell, c: int) -> bool:
    return bool(cell[f"class_count/{c}"] == 0)


def _name_rare(names: Sequence[str], counts: Sequence[int]) -> str:
    rare = rare_classes(counts)
    listed = list_names([names[c] for c in sorted(rare, key=order_by_count(counts).index)])
    return f"the rare class{'es' * (len(rare) > 1)} {listed}"


def _describe_undecidable(names: Sequence[str], counts: Sequence[int], why: str) -> str:
    return (
        f"Not decidable: how many samples are of {_name_rare(names, counts)}, and whether one that is asked for comes, cannot be told, because {why}. "
        "Bring more images of them."
    )


def _describe_share(cell: Cell, names: Sequence[str], counts: Sequence[int], drawn: int) -> str:
    rare = rare_classes(counts)
    subject = _name_rare(names, counts)
    they, are = ("it", "is") if len(rare) == 1 else ("they", "are")
    true = sum(counts[c] for c in rare) / sum(counts)
    ratio, low, high = (cell[key] for key in ("rare_share_ratio", "rare_share_low", "rare_share_high"))
    should = f"{subject} should be {format_percent(true)} % of all samples"
    found = "could not be measured"
    known = pd.notna(ratio)
    if known:
        found = f"{format_percent(ratio * true)} % (95 % interval {format_interval(low * true, high * true)} %)"
    if missing := [names[c] for c in order_by_count(counts) if c in rare and _never_came(cell, c)]:
        lead = "No" if len(missing) == len(rare) else "Not all of them"
        which = f"class {missing[0]}" if len(missing) == 1 else f"classes {list_names(missing)}"
        rest = f"{should} and {are} {found}" if known else f"{should}; what {they} {are} {found}"
        return f"{lead}: {which} never came among {drawn} samples. {rest[0].upper()}{rest[1:]}."
    if not known:
        return f"Not known: {should}; what {they} {are} {found}."
    if high < 1:
        return f"Too seldom: {should}, but {are} {found}."
    if low > 1:
        return f"Too often: {should}, but {are} {found}."
    if high - low > WIDE:
        return f"Not decided: {should} and {are} {found}, which is too wide to tell."
    return f"As often as {they} should, as far as {cell['samples']:.0f} samples can tell: {should} and {are} {found}."


def _describe_agreement(cell: Cell) -> str:
    if pd.isna(cell["rare_agreement"]):
        return "No class was asked for, so that nothing is known of how often one that is asked for comes."
    only = "only " if cell["rare_agreement"] < 0.9 else ""
    return (
        f"Asked for a rare class, the model makes that class in {only}{100 * cell['rare_agreement']:.0f} of 100 cases."
    )


def _describe_quality(cell: Cell) -> str:
    coverage, fid = cell["rare_coverage/balanced"], cell["rare_fid/balanced"]
    found: str = "" if pd.isna(fid) else f" (FID of the rare classes {fid:.3g})"
    if pd.isna(coverage):
        return f"How much of the real rare images the samples cover could not be measured{found}."
    return f"Of the real rare images {100 * coverage:.0f} % have a sample of their class nearby{found}."


def tabulate_classes(cells: Mapping[str, Cell], names: Sequence[str], counts: Sequence[int]) -> list[dict[str, Any]]:
    """One row per class, rarest first, of the default cell of each design.

    Returns:
        Rows of name, count, whether it is rare, the share that it should have, ``shares``: per design (text, interval, mark),
        and ``values``: texts of the measures ``PER_CLASS``, per measure and design. The mark is "few" or "many" where the
        interval leaves the true share, "" where it holds it or is not known.
    """
    rare = rare_classes(counts)
    return [
        {
            "name": names[c],
            "count": counts[c],
            "rare": c in rare,
            "true": format_percent(counts[c] / sum(counts)),
            "shares": [_format_share(cell, c, counts[c] / sum(counts)) for cell in cells.values()],
            "values": [_format(cell[f"{key}/{c}"], key) for _, key in PER_CLASS for cell in cells.values()],
        }
        for c in order_by_count(counts)
    ]


def _format_share(cell: Cell, c: int, true: float) -> tuple[str, str, str]:
    share, low, high = (cell[f"{key}/{c}"] for key in ("class_share", "class_share_low", "class_share_high"))
    if pd.isna(share):
        return "–", "", ""
    mark = "few" if high < true else "many" if low > true else ""
    return format_percent(share), format_interval(low, high), mark


def _format(value: float, key: str) -> str:
    if pd.isna(value):
        return "–"
    return f"{100 * value:.0f} %" if key in ("class_agreement", "class_coverage") else f"{value:.2f}"
