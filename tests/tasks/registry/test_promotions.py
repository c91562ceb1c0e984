"""Aliases move with a history, also when the process that moves them is killed in between."""

import shutil

import mlflow
import pytest

from levy_core.base.errors import LevyError
from tasks.registry import gate, promotions

NAME = "levy-digits"


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A registry in sqlite with one model of four versions."""
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    made = mlflow.MlflowClient(f"sqlite:///{path}")
    made.create_registered_model(NAME)
    for _ in range(4):
        made.create_model_version(NAME, source=str(path.parent))
    return path


@pytest.fixture
def client(database, tmp_path):
    """For a copy of the registry."""
    shutil.copy(database, tmp_path)
    return mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")


def champion(client):
    return promotions.version_of(client, NAME, "champion")


def test_moves_are_remembered_in_order_with_their_reasons(client):
    assert champion(client) is None
    for version in "1", "2":
        promotions.move(client, NAME, "champion", version, f"reason {version}")
    promotions.move(client, NAME, "challenger", "3", "not better")
    found = promotions.history(client, NAME)
    assert [(m.alias, m.before, m.after, m.why, m.done) for m in found] == [
        ("champion", None, "1", "reason 1", True),
        ("champion", "1", "2", "reason 2", True),
        ("challenger", None, "3", "not better", True),
    ]
    assert [m.when for m in found] == sorted(m.when for m in found)
    assert champion(client) == "2"


def test_rolling_back_twice_goes_two_versions_back_and_then_says_that_there_is_no_more(client):
    for version in "1", "2", "4":
        promotions.move(client, NAME, "champion", version, "better")
    assert [promotions.roll_back(client, NAME).after, promotions.roll_back(client, NAME).after] == ["2", "1"]
    assert champion(client) == "1"
    with pytest.raises(LevyError, match="levy-digits@champion was never another version"):
        promotions.roll_back(client, NAME)
    promotions.move(client, NAME, "champion", "3", "better")  # what was rolled back does not come back
    assert promotions.roll_back(client, NAME).after == "1"
    assert [m.why for m in promotions.history(client, NAME)].count("rolled back") == 3


def test_an_alias_moved_by_another_hand_is_rolled_back_to_the_last_version_in_the_history(client):
    promotions.move(client, NAME, "champion", "1", "better")
    client.set_registered_model_alias(NAME, "champion", "4")
    assert promotions.roll_back(client, NAME).after == "1"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("survives", ["set_registered_model_tag", "set_registered_model_alias"])
def test_a_move_that_was_killed_in_between_is_completed_by_the_next_process(client, monkeypatch, survives):
    promotions.move(client, NAME, "champion", "1", "better")
    inner = getattr(client, survives)

    def then_dies(*arguments):
        inner(*arguments)
        raise Killed

    monkeypatch.setattr(client, survives, then_dies)
    with pytest.raises(Killed):
        promotions.move(client, NAME, "champion", "2", "better still")
    monkeypatch.undo()
    promotions.settle(client, NAME)
    assert champion(client) == "2"
    assert [(m.after, m.done) for m in promotions.history(client, NAME)] == [("1", True), ("2", True)]


def be_killed_before_the_alias_moves(client, version):
    def dies(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "set_registered_model_alias", dies)
        with pytest.raises(Killed):
            promotions.move(client, NAME, "champion", version, "better still")


def test_a_move_that_was_killed_does_not_undo_what_somebody_did_since(client):
    promotions.move(client, NAME, "champion", "1", "better")
    be_killed_before_the_alias_moves(client, "2")
    client.set_registered_model_alias(NAME, "champion", "3")
    promotions.settle(client, NAME)
    assert champion(client) == "3"
    assert [(m.after, m.done, m.superseded) for m in promotions.history(client, NAME)] == [
        ("1", True, False), ("2", False, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("alias", "message"),
    [
        ("champion!", r"'champion!' is no alias that MLflow takes: Invalid alias name"),
        ("", r"'' is no alias that MLflow takes: .* cannot be empty"),
        ("latest", r"'latest' is no alias that MLflow takes: .* reserved"),
        ("v3", r"'v3' is no alias that MLflow takes: .* reserved"),
        ("a" * 300, r"is no alias that MLflow takes"),
    ],
)
def test_a_mistyped_alias_is_refused_before_anything_is_written(client, alias, message):
    promotions.move(client, NAME, "champion", "1", "better")
    with pytest.raises(LevyError, match=message):
        promotions.move(client, NAME, alias, "2", "mistyped")
    assert [m.after for m in promotions.history(client, NAME)] == ["1"]


def test_an_alias_that_was_mistyped_before_aliases_were_looked_at_blocks_nothing(client):
    promotions.move(client, NAME, "champion", "1", "better")
    old = promotions.Move("2026-01-01T00:00:00.000000Z", "champion!", None, "2", "mistyped", done=False)
    client.set_registered_model_tag(NAME, *old.to_tag())
    promotions.settle(client, NAME)
    assert promotions.move(client, NAME, "champion", "3", "better").done
    assert promotions.roll_back(client, NAME).after == "1"
    assert [m.superseded for m in promotions.history(client, NAME) if m.alias == "champion!"] == [True]


def test_a_killed_promotion_does_not_overrule_what_a_person_decides_after_it(client):
    promotions.move(client, NAME, "champion", "1", "better")
    be_killed_before_the_alias_moves(client, "2")
    promotions.move(client, NAME, "champion", "1", "by a person")
    promotions.settle(client, NAME)
    assert champion(client) == "1"


def test_moves_are_in_order_where_clocks_differ(client):
    ahead = promotions.Move("2999-01-01T00:00:00.999999Z", "champion", None, "2", "by a clock that is ahead")
    client.set_registered_model_tag(NAME, *ahead.to_tag())
    assert promotions.move(client, NAME, "champion", "1", "now").when == "2999-01-01T00:00:01.000000Z"
    assert [m.why for m in promotions.history(client, NAME)] == ["by a clock that is ahead", "now"]


def test_what_does_not_exist_is_named(client):
    with pytest.raises(LevyError, match="levy-digits has no version 9: `levy lookup levy-digits` lists what there is"):
        promotions.move(client, NAME, "champion", "9", "")
    with pytest.raises(LevyError, match="no registered model levy-rain"):
        promotions.history(client, "levy-rain")


def test_a_verdict_stands_while_the_champion_is_the_one_it_was_against_and_when_it_was_carried_out(client):
    assert gate._standing(client, NAME, "2") is None
    tags = {gate.REASON: "better", gate.AGAINST: "1", gate.VERDICT: gate.PROMOTED}
    promotions.move(client, NAME, "champion", "1", "the first")
    for key, value in tags.items():
        assert gate._standing(client, NAME, "2") is None  # a verdict without its end was interrupted
        client.set_model_version_tag(NAME, "2", key, value)
    assert gate._standing(client, NAME, "2").items() >= tags.items()
    promotions.move(client, NAME, "champion", "3", "by a person")
    assert gate._standing(client, NAME, "2") is None  # judged again, against 3
    client.set_model_version_tag(NAME, "2", gate.AGAINST, "3")
    promotions.move(client, NAME, "champion", "2", "better")
    promotions.move(client, NAME, "champion", "1", "by a person")
    assert gate._standing(client, NAME, "2") is not None  # it was carried out, and does not come back


def test_a_verdict_of_before_it_said_against_whom_stands(client):
    promotions.move(client, NAME, "champion", "1", "the first")
    client.set_model_version_tag(NAME, "2", gate.VERDICT, gate.KEPT)
    assert gate._standing(client, NAME, "2") is not None
