"""mlflow.db: damaged, full or not to be written, every command says so in one line; backups are made, kept in number and restored."""

import itertools
import logging
import os
import random
import sqlite3
import subprocess
from contextlib import closing, suppress

import pytest
from mlflow.store.model_registry import sqlalchemy_store as registry_store
from mlflow.store.tracking import sqlalchemy_store as tracking_store

from flows import cli
from flows.doctor import servers
from flows.doctor.findings import run_check
from levy_core.base.errors import LevyError
from tasks.registry import database, promotions, tracking
from tests.support.registered import NAME


@pytest.fixture
def file(registry, monkeypatch, tmp_path):
    """A copy of it of its own, in a folder that stands for the root of a repository."""
    (tmp_path / "dvc.yaml").touch()
    copy = tmp_path / "mlflow.db"
    copy.write_bytes((registry[0] / "mlflow.db").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copy}")
    return copy


def forget(file):
    """Closes what MLflow keeps open of the database in this process, as at its end."""
    for store in (tracking_store.SqlAlchemyStore, registry_store.SqlAlchemyStore):
        if engine := store._engine_map.get(f"sqlite:///{file}"):
            engine.dispose()


def levy(monkeypatch, *arguments):
    """What the command ends with."""
    monkeypatch.setattr("sys.argv", ["levy", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.dispatch()
    return end.value.code


READING = (["lookup"], ["history", NAME], ["sample", "out", "--model", f"models:/{NAME}/1"])
WRITING = (["promote", NAME, "1"], ["rollback", NAME])


def break_header(file):
    with file.open("r+b") as stream:
        stream.write(b"\0" * 40)


def break_pages(file):
    with file.open("r+b") as stream:
        for page in range(1, file.stat().st_size // 4096):
            stream.seek(4096 * page)
            stream.write(b"\xff" * 64)


def cut(file):
    os.truncate(file, file.stat().st_size // 3)


def empty(file):
    os.truncate(file, 0)


@pytest.mark.parametrize("damage", [break_header, break_pages, cut, empty])
def test_a_damaged_database_is_one_line_and_the_command_in_it_restores(file, monkeypatch, capsys, damage):
    promotions.move(tracking.connect().MlflowClient(), NAME, "champion", "1", "a test")
    good = rows(file)
    forget(file)
    damage(file)
    for command in (*READING, *WRITING):
        said = levy(monkeypatch, *command)
        assert said.startswith(f"error: {file} is damaged (")
        assert said.endswith("`levy restore mlflow.db` puts the last backup in its place")
        assert "\n" not in said
    (finding,) = run_check(servers.mlflow_server, 60)
    assert (finding.state, "`levy restore mlflow.db`" in finding.found) == ("wrong", True)
    forget(file)
    remains = file.read_bytes()
    assert levy(monkeypatch, "restore", "mlflow.db") in (0, None)
    assert "is as it was on 20" in capsys.readouterr().out
    assert rows(file) == good
    (kept,) = file.parent.glob("mlflow.db.damaged-*")
    assert kept.read_bytes() == remains
    assert all(finding.state == "ok" for finding in run_check(servers.mlflow_server, 60))
    assert promotions.version_of(tracking.connect().MlflowClient(), NAME, "champion") == "1"


def rows(file):
    """All that a database holds."""
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.iterdump())


def test_single_bits_of_the_structure_never_end_in_a_traceback(file, monkeypatch):
    draws, content = random.Random(1), file.read_bytes()
    for _ in range(60):
        bit = draws.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with suppress(LevyError):  # a bit of the contents is a bit of the contents
            database.check(file, writing=True)


def test_a_database_that_is_gone_is_restored_and_a_whole_one_is_left_alone(file, monkeypatch):
    assert "is whole, so nothing was restored" in levy(monkeypatch, "restore", "mlflow.db")
    database.back_up(file)
    file.unlink()
    for command in (*READING, *WRITING):
        assert f"{file} is gone: `levy restore mlflow.db`" in levy(monkeypatch, *command)
    assert not file.exists()
    (finding,) = run_check(servers.mlflow_server, 60)
    assert (finding.state, finding.advice) == ("wrong", "levy restore mlflow.db")
    assert levy(monkeypatch, *finding.advice.split()[1:]) in (0, None)
    database.check(file, writing=True, whole=True)


def test_a_journal_of_the_damaged_database_is_not_played_into_the_restored_one(file):
    database.back_up(file)
    good = rows(file)
    break_header(file)
    file.with_name("mlflow.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0" * 600)
    database.restore(file)
    assert not file.with_name("mlflow.db-journal").exists()
    assert rows(file) == good


def test_without_a_whole_backup_the_damaged_database_stays_where_it_is(file, monkeypatch):
    database.back_up(file)
    for copy in database.backups(file):
        break_header(copy)
    break_pages(file)
    remains = file.read_bytes()
    assert "there is no whole backup" in levy(monkeypatch, "restore", "mlflow.db")
    assert file.read_bytes() == remains


def test_the_last_backups_are_kept_and_an_unchanged_database_is_copied_once(file):
    for number in range(database.KEPT + 3):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(f"PRAGMA user_version = {number}")
            connection.commit()
        database.back_up(file)
        database.back_up(file)
        assert len(database.backups(file)) == min(number + 1, database.KEPT)
    newest = database.backups(file)[0]
    assert rows(newest) == rows(file)


def test_a_damaged_database_takes_no_backup_out(file, caplog):
    database.back_up(file)
    (kept,) = database.backups(file)
    break_pages(file)
    with caplog.at_level(logging.WARNING, "levy"):
        database.back_up(file)
    assert database.backups(file) == [kept]
    assert "no backup of" in caplog.text
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_a_backup_is_whole_while_others_write(file):
    """A writer that commits pairs is never seen between the two."""
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE pairs (a, b)")
        for number in itertools.count():
            writer.execute("BEGIN")
            writer.execute("INSERT INTO pairs VALUES (?, ?)", (number, number))
            database.back_up(file)
            writer.execute("INSERT INTO pairs VALUES (?, ?)", (number, number))
            writer.execute("COMMIT")
            if number == 3:
                break
    with closing(sqlite3.connect(database.backups(file)[0])) as copy:
        assert copy.execute("SELECT count(*) FROM pairs").fetchone()[0] % 2 == 0


def test_a_backup_of_the_database_of_an_earlier_mlflow_is_made_before_it_is_migrated(file):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")  # MLflow 1.0's
        connection.commit()
    before = rows(file)
    tracking.connect()
    assert rows(database.backups(file)[0]) == before
    (finding,) = run_check(servers.mlflow_server, 60)
    assert finding.state == "wrong"
    assert f"mlflow db upgrade sqlite:///{file}" in finding.advice
    tracking.connect()
    assert len(database.backups(file)) == 1


@pytest.fixture
def small(file, tmp_path, monkeypatch):
    """The database on a small file system of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (not root)")
    copy = folder / "mlflow.db"
    copy.write_bytes(file.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copy}")
    yield copy
    forget(copy)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_one_line(small, monkeypatch, capfd):
    tracking.connect()
    with pytest.raises(OSError, match="No space left"):
        (small.parent / "filler").write_bytes(b"\0" * 2**23)
    said = levy(monkeypatch, "promote", NAME, "1")
    assert said.startswith("error: the disk of")
    assert "free some space" in said
    assert "Traceback" not in capfd.readouterr().err


def test_a_read_only_database_is_one_line_and_can_be_read(small, monkeypatch, capfd):
    subprocess.run(["mount", "-o", "remount,ro", str(small.parent)], check=True)
    for command in WRITING:
        assert levy(monkeypatch, *command).startswith(f"error: {small} cannot be written (attempt to write a readonly")
    assert levy(monkeypatch, "lookup") in (0, None)
    assert "Traceback" not in capfd.readouterr().err
