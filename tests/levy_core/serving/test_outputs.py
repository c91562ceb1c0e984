"""What a draw writes comes all at once, and in place of what an earlier draw wrote: files of two draws are not taken for one."""

import json
import signal
import subprocess
import sys

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
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "levy.json" and path.is_file()}


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
        '{"files": ["../kept", "/etc/kept", "", ".", "..", 3, "a\\u0000b"]}', '{"files": "kept"}', "[1]", "no JSON", '"text"',
        "[" * 100_000, f'{{"files": ["{"x" * 5000}"]}}',
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


@pytest.mark.parametrize("kill_at", [1, 2, 3, 4, 5])
def test_a_kill_while_files_change_leaves_nothing_untrue_and_the_next_draw_takes_all_of_it_out(tmp_path, kill_at):
    out = tmp_path / "out"
    draw(out, "0.png", "1.png", "2.png", "3.png")
    code = f"""
import os
from pathlib import Path
from levy_core.base import files
from levy_core.serving import outputs
put, moves = os.replace, []
def replace(*paths):
    moves.append(paths)
    if len(moves) == {kill_at}:
        os.kill(os.getpid(), 9)
    put(*paths)
os.replace = replace
with outputs.output_folder(Path({str(out)!r}), {{"seed": "1"}}) as part:
    for name in ("0.png", "1.png", "4.png"):
        (part / name).write_text(f"{{name}} of 1")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    listed = json.loads((out / "levy.json").read_text())
    seeds = {text[-1] for name, text in contents(out).items() if not name.startswith(".")}
    assert listed["drawn"] == ({"seed": "0"} if kill_at == 1 else {})
    assert seeds == {"0"} if kill_at == 1 else seeds <= {"0", "1"}
    draw(out, "5.png", seed="2")
    assert contents(out) == {"5.png": "5.png of 2"}


def test_what_cannot_be_replaced_is_named(tmp_path):
    draw(tmp_path, "0.png")
    (tmp_path / "1.png").mkdir()
    with pytest.raises(LevyError, match=r"1.png cannot be written \(Is a directory\): give an empty or a new folder"):
        draw(tmp_path, "1.png")
    (other := tmp_path / "other").mkdir()
    (other / "levy.json").mkdir()
    with pytest.raises(LevyError, match=r"holds levy.json, but no levy.json"):
        draw(other, "0.png")


@pytest.mark.parametrize("left", ["file", "link"])
def test_what_stands_where_files_are_made_is_replaced_and_no_link_is_followed(tmp_path, left):
    (kept := tmp_path / "kept").mkdir()
    (kept / "file").touch()
    (out := tmp_path / "out").mkdir()
    if left == "file":
        (out / ".levy.part").touch()
    else:
        (out / ".levy.part").symlink_to(kept)
    draw(out, "0.png")
    assert contents(out) == {"0.png": "0.png of 0"}
    assert (kept / "file").exists()


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
