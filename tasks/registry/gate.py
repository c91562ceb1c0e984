"""The gate: the outputs of a run are registered, judged against champion and anchor, and promoted or kept as challenger.

The anchor is the version that no promotion may move away from by more than the margins, however many there are: many steps, each within its
margin, would else lead anywhere. It is the champion that the first gate finds or makes, until a person moves it.

Interrupted anywhere, the same call goes on; a model that was judged is not judged again, unless its verdict was not carried
out and the champion is another by now.
"""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from levy_core.base.errors import LevyError
from tasks.cells.comparison import read_winner
from tasks.params.schema import Params
from tasks.registry import lineage, promotions, tracking
from tasks.registry.download import fetch
from tasks.registry.record import model_name, record
from tasks.runtime import paths

# tags of a version
VERDICT, REASON = "levy.verdict", "levy.reason"
AGAINST = "levy.against"  # the version that was champion then
UNDECIDED = "levy.undecided"  # metrics that nobody knows to be within their margins, because the held-out data cannot decide them; or NONE
NONE = "none"
LONGEST = 4000  # of a tag
PROMOTED, KEPT = "promoted", "kept as challenger"


@dataclass(frozen=True)
class Decision:
    """What became of a version of a registered model, and why; ``judged`` now or before.

    Attributes:
        undecided: names of metrics that were not held to their margins, because the held-out data cannot decide them.
    """

    name: str
    version: str
    champion: str
    verdict: str
    reason: str
    judged: bool
    undecided: str

    @property
    def text(self) -> str:
        """The decision in one line."""
        return f"{self.name} version {self.version} {self.verdict}: {self.reason}"

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "text": self.text}


def gate(params: Params, dataset: str) -> Decision:
    """Registers the outputs in ``outputs/DATASET`` and decides what becomes of them.

    Raises:
        LevyError: the outputs are not complete, or a model cannot be read.
    """
    client = tracking.connect().MlflowClient()
    recorded = record(params, dataset, alias=None)
    name, version = recorded.name, recorded.version
    judged = False
    while (tags := _standing(client, name, version)) is None:
        champion, judged = promotions.version_of(client, name, promotions.CHAMPION), True
        if VERDICT in client.get_model_version(name, version).tags:
            client.delete_model_version_tag(name, version, VERDICT)
        found = _compare(params, dataset, version, champion, _settle_anchor(client, name)) | {AGAINST: champion or NONE}
        client.log_dict(recorded.run_id, found.pop("table"), "verdict.json")
        for key in (REASON, UNDECIDED, AGAINST, VERDICT):  # the verdict last: it says that all is there
            client.set_model_version_tag(name, version, key, found[key])
    if not _has_moved(client, name, version, tags):
        if tags[VERDICT] == PROMOTED:
            lineage.check_model(dataset, read_winner(paths.winner(dataset))["design"])
        promotions.move(client, name, _alias(tags), version, tags[REASON])
    now = promotions.version_of(client, name, promotions.CHAMPION)
    if now is None:
        raise LevyError(f"{name} has no champion: `levy promote {name} VERSION` makes one")
    _settle_anchor(client, name)
    undecided = tags.get(UNDECIDED, NONE)
    return Decision(name, version, now, tags[VERDICT], tags[REASON], judged, "" if undecided == NONE else undecided)


def _standing(client: Any, name: str, version: str) -> dict[str, str] | None:
    """The tags of a version whose verdict is carried out, or can be; None without one, or where it was against another champion.

    A person, or another gate, may have made another version champion while this one was judged or after it was interrupted.
    """
    tags: dict[str, str] = client.get_model_version(name, version).tags
    if VERDICT not in tags:
        return None
    champion = promotions.version_of(client, name, promotions.CHAMPION) or NONE
    stands = _has_moved(client, name, version, tags) or tags.get(AGAINST, champion) == champion
    return tags if stands else None


def _alias(tags: dict[str, str]) -> str:
    return promotions.CHAMPION if tags[VERDICT] == PROMOTED else promotions.CHALLENGER


def _has_moved(client: Any, name: str, version: str, tags: dict[str, str]) -> bool:
    return any(m.after == version and m.alias == _alias(tags) for m in promotions.history(client, name))


def _settle_anchor(client: Any, name: str) -> str | None:
    """The anchor; where there is none, the champion becomes it."""
    anchor, champion = (promotions.version_of(client, name, a) for a in (promotions.ANCHOR, promotions.CHAMPION))
    if anchor is None and champion is not None:
        anchor = promotions.move(client, name, promotions.ANCHOR, champion, "champion when there was no anchor").after
    return anchor


def _compare(params: Params, dataset: str, version: str, champion: str | None, anchor: str | None) -> dict[str, Any]:
    if champion is None:
        return {VERDICT: PROMOTED, REASON: "there was no champion", UNDECIDED: NONE, "table": {}}
    if champion == version:
        return {VERDICT: PROMOTED, REASON: "it was champion before the gate looked at it", UNDECIDED: NONE, "table": {}}
    from tasks.registry.challenge import challenge  # late: a model that was judged before needs none of it

    name = model_name(dataset)
    sides = {promotions.CHALLENGER: version, promotions.CHAMPION: champion}
    if anchor not in (None, champion, version):
        sides[promotions.ANCHOR] = anchor
    with tempfile.TemporaryDirectory() as scratch:
        verdict = challenge(
            params, dataset, {s: fetch(f"models:/{name}/{v}", Path(scratch) / s) for s, v in sides.items()}
        )
    reason = f"against version {champion}: {verdict.reason}"
    table = {**sides, **verdict.to_mapping()}
    found = PROMOTED if verdict.promoted else KEPT
    undecided = ", ".join(verdict.undecided) or NONE
    return {VERDICT: found, REASON: shorten_reason(reason), UNDECIDED: undecided[:LONGEST], "table": table}


def shorten_reason(reason: str) -> str:
    """What a tag holds of a reason: without its middle, if it is long, as what a person can do stands at its end."""
    return reason if len(reason) <= LONGEST else f"{reason[: LONGEST * 3 // 4]} ... {reason[5 - LONGEST // 4 :]}"
