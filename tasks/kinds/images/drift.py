"""Drift of arriving images: classes that come in other shares than before."""

from typing import Any

from levy_core.metrics.common.shares import ShareShift, find_share_shifts
from tasks.kinds.images.settings import ImageDrift
from tasks.kinds.kind import Drift


def find_drift(before: dict[str, Any], after: dict[str, Any], settings: ImageDrift) -> list[Drift]:
    """Classes whose share among the new images is another than before; images that were taken away count as none."""
    had = before["counts"]
    new = {name: max(0, count - had.get(name, 0)) for name, count in after["counts"].items()}
    found = find_share_shifts(had, new, settings.share, settings.false_alarms)
    return [_describe(shift, sum(new.values())) for shift in found]


def _describe(shift: ShareShift, images: int) -> Drift:
    now, before = (f"{100 * share:.3g} %" for share in (shift.now, shift.before))
    text = f"class {shift.name}: {now} of {images} new images, {before} of those before"
    return Drift(text, {"class": shift.name, "before": shift.before, "now": shift.now, "images": images, "p": shift.p})
