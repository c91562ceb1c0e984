"""What a draw writes comes all at once, and in place of what an earlier draw wrote: files of two draws are not taken for one."""

import json

import pytest

from levy_core.base.errors import LevyError
from levy_core.serving.outputs import output_folder


def draw(folder, *names, seed="0"):
    with output_folder(folder, {"seed": seed}) as part:
        for name in names:
            (part / name).write_text(f"{name} of {seed}")


def fail(folder):
    with output_folder(folder, {"seed": "1"}) as part:
        (part / "0.png").write_text("half")
        raise ValueError("the work failed")


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "levy.json"}


def test_files_of_an_earlier_draw_go_and_what_else_lies_there_stays(tmp_path):
    out = tmp_path / "out"
    draw(out, "0.png", "1.png", "2.png")
    (out / "notes.txt").write_text("mine")
    draw(out, "0.png", "event.json", seed="1")
    assert contents(out) == {"0.png": "0.png of 1", "event.json": "event.json of 1", "notes.txt": "mine"}
    assert json.loads((out / "levy.json").read_text()) == {"files": ["0.png", "event.json"], "drawn": {"seed": "1"}}


def test_files_that_no_draw_wrote_are_not_written_over(tmp_path):
    (tmp_path / "0.png").write_text("mine")
    with pytest.raises(
        LevyError,
        match=r" holds 0.png, but no levy.json, .*: nothing is written over them; give an empty or a new folder",
    ):
        draw(tmp_path, "1.png")
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]


def test_a_draw_that_fails_leaves_the_earlier_one(tmp_path):
    out = tmp_path / "out"
    draw(out, "0.png", "1.png")
    with pytest.raises(ValueError, match="the work failed"):
        fail(out)
    assert contents(out) == {"0.png": "0.png of 0", "1.png": "1.png of 0"}
    with pytest.raises(ValueError, match="the work failed"):
        fail(tmp_path / "new/deep")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "listed",
    [
        '{"files": ["../kept", "/etc/kept", "", ".", "..", 3]}', '{"files": "kept"}', "[1]", "no JSON", '"text"',
    ],
)  # fmt: skip
def test_a_list_that_is_none_removes_nothing(tmp_path, listed):
    (out := tmp_path / "out").mkdir()
    for name in ("kept", "out/kept"):
        (tmp_path / name).touch()
    (out / "levy.json").write_text(listed)
    draw(out, "0.png")
    assert (tmp_path / "kept").exists()
    assert set(contents(out)) == {"0.png", "kept"}


def test_two_draws_at_once_do_not_mix(tmp_path):
    with output_folder(tmp_path / "out", {"seed": "0"}) as part:
        (part / "0.png").write_text("0.png of 0")
        with pytest.raises(LevyError, match=r"another draw is writing to .*out: wait for it, or give another folder"):
            draw(tmp_path / "out", "1.png", seed="1")
    assert contents(tmp_path / "out") == {"0.png": "0.png of 0"}


def test_what_a_killed_process_left_is_not_of_the_next_draw(tmp_path):
    (left := tmp_path / ".levy.part").mkdir()
    (left / "7.png").touch()
    draw(tmp_path, "0.png")
    assert contents(tmp_path) == {"0.png": "0.png of 0"}


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LevyError, match="cannot be written to"), output_folder(tmp_path / "file", {}):
        pytest.fail("the work began")
