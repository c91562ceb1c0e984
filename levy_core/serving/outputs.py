"""Folders that people ask for files in: what a draw writes comes all at once, in place of what an earlier draw wrote there."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from levy_core.base.errors import LevyError
from levy_core.base.files import ready, write_json

LONGEST = 200  # characters of a file's name
LIST = "levy.json"  # the files of a draw, and by what they were drawn


@contextmanager
def output_folder(folder: Path, drawn: Mapping[str, str]) -> Iterator[Path]:
    """A folder for the block to write to, whose files come to ``folder`` if the block succeeds, with ``levy.json``, which lists them.

    Files on the list that an earlier draw left in ``folder`` go, so that those of two draws are not taken for one. What else lies there stays.
    A folder with files and no list is no draw's: it is left alone. While files change, the list has those of both draws and says of neither by what
    they were drawn: a process that is killed then leaves nothing untrue, and the next draw takes all of them out.

    Args:
        drawn: model, seed, sampler and more, which the list has, too; as it is at the end of the block.

    Raises:
        LevyError: as ``ready``; files lie there without a list, another process writes to the folder, or a file cannot be put there.
    """
    found = [] if (folder / LIST).is_file() or not folder.is_dir() else [path.name for path in folder.iterdir()]
    if found := sorted(name for name in found if not name.startswith(".")):
        raise LevyError(
            f"{folder} holds {', '.join(found[:3])}{' and more' * (len(found) > 3)}, but no {LIST}, the list of an earlier draw's files: "
            "nothing is written over them; give an empty or a new folder"
        )
    with ready(folder), _alone(folder):
        part = folder / ".levy.part"
        _remove(part)  # of a killed process
        part.mkdir()
        try:
            yield part
            names = sorted(path.name for path in part.iterdir())
            _put(part, folder, names, drawn)
        finally:
            _remove(part)


def _put(part: Path, folder: Path, names: list[str], drawn: Mapping[str, str]) -> None:
    earlier = _listed(folder)
    try:
        write_json(folder / LIST, {"files": sorted({*earlier, *names}), "drawn": {}})
        for path in [folder / name for name in earlier if name not in names]:
            if path.is_file() or path.is_symlink():
                path.unlink()
        for name in names:
            os.replace(part / name, folder / name)
        write_json(folder / LIST, {"files": names, "drawn": dict(drawn)})
    except OSError as error:
        raise LevyError(
            f"{error.filename2 or error.filename} cannot be written ({error.strerror}): give an empty or a new folder"
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which goes with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LevyError(f"another draw is writing to {folder}: wait for it, or give another folder") from None
        yield
    finally:
        os.close(descriptor)


def _listed(folder: Path) -> list[str]:
    """Files that an earlier draw wrote to a folder; none where its list is not there, or no list."""
    try:
        names = json.loads((folder / LIST).read_text())["files"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
    plain = lambda name: (
        isinstance(name, str)
        and Path(name).name == name
        and not name.startswith(".")
        and len(name) < LONGEST
        and "\0" not in name
    )
    return [name for name in names if plain(name)] if isinstance(names, list) else []
