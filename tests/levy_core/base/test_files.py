"""Folders that are made before long work: what cannot be written to stops it, and what it leaves empty goes again."""

import pytest

from levy_core.base.errors import LevyError
from levy_core.base.files import ready


def fail_in(folder, *names):
    with ready(folder):
        for name in names:
            (folder / name).touch(exist_ok=False)
        raise ValueError("the work failed")


def test_a_folder_that_stayed_empty_goes_again_and_others_stay(tmp_path):
    (tmp_path / "kept").mkdir()
    for folder, left in (("new/deep", ["kept"]), ("kept/new", ["kept"])):
        with pytest.raises(ValueError, match="the work failed"):
            fail_in(tmp_path / folder)
        assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == left
    with pytest.raises(ValueError, match="the work failed"):
        fail_in(tmp_path / "half/done", "file")
    assert (tmp_path / "half/done/file").exists()
    with ready(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").is_dir()


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(tmp_path, folder):
    (tmp_path / "file").touch()
    with (
        pytest.raises(LevyError, match=r"file.* cannot be written to \(.*\): give another folder"),
        ready(tmp_path / folder),
    ):
        pytest.fail("the work began")
    assert (tmp_path / "file").is_file()
