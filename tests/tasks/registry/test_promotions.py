"""Aliases move with a history, also when the process that moves them is killed in between."""

import shutil

import mlflow
import pytest

from levy_core.base.errors import LevyError
from tasks.registry import promotions

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


def test_a_move_that_was_killed_does_not_undo_what_somebody_did_since(client, monkeypatch):
    promotions.move(client, NAME, "champion", "1", "better")

    def dies(*_):
        raise Killed

    monkeypatch.setattr(client, "set_registered_model_alias", dies)
    with pytest.raises(Killed):
        promotions.move(client, NAME, "champion", "2", "better still")
    monkeypatch.undo()
    client.set_registered_model_alias(NAME, "champion", "3")
    promotions.settle(client, NAME)
    assert champion(client) == "3"
    assert all(m.done for m in promotions.history(client, NAME))


def test_what_does_not_exist_is_named(client):
    with pytest.raises(LevyError, match="levy-digits has no version 9: `levy lookup levy-digits` lists what there is"):
        promotions.move(client, NAME, "champion", "9", "")
    with pytest.raises(LevyError, match="no registered model levy-rain"):
        promotions.history(client, "levy-rain")
