"""The sqlite file of MLflow: whether it is whole and can be written, backups of it, and its errors in one line.

A backup is made before MLflow migrates the tables and after an alias has moved; the last few are kept in a folder beside the file.
"""

import logging
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from levy_core.base.errors import LevyError
from levy_core.base.files import replacing

KEPT = 5  # backups
SECONDS = 20.0  # to wait for another process's lock, as MLflow does
READ_WHOLE = 64 * 2**20  # bytes up to which every page is looked at before each use
BESIDE = ("-journal", "-wal", "-shm")  # what sqlite keeps of unfinished writes
TIME = "%Y%m%dT%H%M%S.%fZ"


class DamagedDatabaseError(LevyError):
    """The database holds something else than what was written."""


def check(database: Path, writing: bool = False, whole: bool = False) -> None:
    """Refuses a database that MLflow could not use, which would end in its traceback, and one that was lost, which it would make anew.

    Args:
        database: an absolute path. writing: whether it also has to be writable. whole: look at every page, however many there are.

    Raises:
        LevyError: in one line, with what to do.
    """
    if not database.exists():
        if kept := backups(database):
            raise DamagedDatabaseError(
                f"{database} is gone: `levy restore mlflow.db` puts the last backup in its place; to begin a new record, move "
                f"{kept[0].parent} away"
            )
        return  # MLflow makes a new one
    try:
        with closing(_open(database)) as connection:
            _look(connection, whole or database.stat().st_size <= READ_WHOLE, writing)
    except sqlite3.Error as error:
        raise explain(error, database) or error from error
    except UnicodeDecodeError as error:  # damaged names are quoted in what sqlite says
        raise _damaged(database, str(error)) from error


def _open(database: Path) -> sqlite3.Connection:
    """Of a file that is there: none is made."""
    return sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=SECONDS, isolation_level=None)


def _look(connection: sqlite3.Connection, whole: bool, writing: bool) -> None:
    if whole:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(f"database disk image is malformed: {said}")
    connection.execute("SELECT version_num FROM alembic_version").fetchall()
    if writing:
        (number,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA user_version = {number}")  # writes a page, and takes it back
        connection.rollback()


def explain(error: BaseException, database: Path) -> LevyError | None:
    """What an error of sqlite, also one that MLflow has wrapped, means for people; None for any other error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    name, said = getattr(cause, "sqlite_errorname", ""), " ".join(str(cause).split())[:200]
    if name.startswith("SQLITE_FULL"):
        return LevyError(f"the disk of {database} is full ({said}): free some space and run the same command again")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return LevyError(
            f"{database} cannot be written ({said}): let this account write it and its folder, and run the same command again"
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LevyError(f"another process uses {database} ({said}): wait for it, and run the same command again")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "malformed" in said or "no such table" in said:
        return _damaged(database, said)
    return LevyError(f"{database} cannot be used ({said}): `levy doctor` looks at it")


def _damaged(database: Path, said: str) -> DamagedDatabaseError:
    return DamagedDatabaseError(
        f"{database} is damaged ({said}): `levy restore mlflow.db` puts the last backup in its place"
    )


def back_up(database: Path) -> None:
    """Keeps a copy of a database, which others may use meanwhile, unless the last copy has all that is in it.

    One that is damaged, or for which there is no room, is not copied: that is logged, and earlier copies stay.
    """
    written = database.stat().st_mtime_ns
    last = next(iter(backups(database)), None)
    if last and last.stat().st_mtime_ns == written:
        return
    path = _folder(database) / f"{datetime.now(UTC).strftime(TIME)}.db"
    try:
        with replacing(path) as temporary:
            with closing(_open(database)) as source, closing(sqlite3.connect(temporary)) as copy:
                source.backup(copy)
            check(temporary, whole=True)
        os.utime(path, ns=(written, written))
    except (OSError, sqlite3.Error, LevyError) as error:
        logging.getLogger("levy").warning("no backup of %s was made: %s", database, error)
        return
    for older in backups(database)[KEPT:]:
        older.unlink(missing_ok=True)


def back_up_before_migration(database: Path) -> None:
    """Keeps a copy of a database that an earlier MLflow made: where a table is missing in it, this one migrates it without asking."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    with closing(_open(database)) as connection:
        revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    if revisions != [(_get_latest_schema_revision(),)]:
        back_up(database)


def backups(database: Path) -> list[Path]:
    """The copies of a database, the newest first."""
    return sorted(_folder(database).glob("[!.]*.db"), reverse=True)


def _folder(database: Path) -> Path:
    return database.with_name(f"{database.name}.backups")


def restore(database: Path) -> str:
    """Puts the newest backup that is whole in place of a database that is damaged or gone, which is kept; says what was done.

    Raises:
        LevyError: the database is whole, or is none of the two for want of rights or room; or there is no backup.
    """
    if database.exists() and _is_whole(database):
        raise LevyError(f"{database} is whole, so nothing was restored: to go back to a backup, move it away first")
    chosen = next((copy for copy in backups(database) if _is_whole(copy)), None)
    if chosen is None:
        raise LevyError(
            f"there is no whole backup of {database} in {_folder(database)}: move what is left of it away, and `levy run` makes "
            "a new one and records what is in outputs/"
        )
    remains = database.with_name(f"{database.name}.damaged-{datetime.now(UTC).strftime(TIME)}")
    try:
        for ending in (*BESIDE, ""):  # a journal of the damaged one would be played back into the restored one
            with suppress(FileNotFoundError):
                os.replace(f"{database}{ending}", f"{remains}{ending}")
        with replacing(database) as temporary:
            shutil.copyfile(chosen, temporary)
    except OSError as error:
        raise LevyError(f"{chosen} could not take the place of {database}: {error}") from error
    when = datetime.strptime(chosen.stem, TIME)
    return (
        f"{database} is as it was on {when:%Y-%m-%d at %H:%M:%S} UTC; what was in its place is kept as {remains.name}. `levy run` records "
        "again what is in outputs/, and `levy history` shows where aliases stand"
    )


def _is_whole(database: Path) -> bool:
    """Raises LevyError where that cannot be told."""
    try:
        check(database, whole=True)
    except DamagedDatabaseError:
        return False
    return True
