"""What a training writes down while it goes on, and what a watcher reads of it."""

import json

import pytest

from tasks.runtime import live
from tasks.runtime.live import LiveLog, LiveReader


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    return now


def test_points_are_means_over_their_steps_and_say_when_it_will_end(tmp_path, clock):
    path = tmp_path / "resume" / "lim.jsonl"
    log, reader = LiveLog(path, "abc", steps=130, first=0, window=50), LiveReader(path)
    for step in range(1, 131):
        clock[0] += 0.1
        log.add(step, {"loss": float(step), "lr": 0.5, "held out": 7.0 if step == 60 else float("nan")})
    points = reader.read()
    assert reader.about == {"training": "abc", "steps": 130, "first": 0}
    assert [p["step"] for p in points] == [50, 100, 130]
    assert [p["loss"] for p in points] == [25.5, 75.5, 115.5]
    assert [p["lr"] for p in points] == [0.5] * 3
    assert [p["steps_per_second"] for p in points] == pytest.approx([10, 10, 10])
    assert [p["seconds_left"] for p in points] == pytest.approx([8, 3, 0])
    assert [p.get("held out") for p in points] == [None, 7.0, None]
    assert reader.read() == []


def test_slow_steps_are_points_before_a_window_is_full_and_an_earlier_process_does_not_count(tmp_path, clock):
    path = tmp_path / "lim.jsonl"
    log = LiveLog(path, "abc", steps=1000, first=500, window=50)
    for step in range(501, 506):
        clock[0] += 6.0
        log.add(step, {"loss": 1.0})
    points = LiveReader(path).read()
    assert [p["step"] for p in points] == [502, 504]
    assert points[-1]["seconds_left"] == pytest.approx(6 * (1000 - 504))


def test_a_reader_takes_whole_lines_alone_and_waits_for_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "lim.jsonl"
    reader = LiveReader(path)
    assert reader.read() == []
    lines = [
        json.dumps({"training": "abc"}),
        json.dumps({"step": 50, "loss": 1.0}),
        json.dumps({"step": 100, "loss": 2.0}),
    ]
    text = "\n".join(lines) + "\n"
    seen = []
    for end in range(len(text) + 1):
        path.write_text(text[:end])
        seen += reader.read()
    assert reader.about == {"training": "abc"}
    assert [p["step"] for p in seen] == [50, 100]
