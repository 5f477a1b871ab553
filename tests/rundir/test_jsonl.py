"""Lines written at once and read by offset, whatever happens in between."""

import json
import math
import os
import subprocess
import sys

import pytest

from tuiwb import rundir
from tuiwb.rundir import JsonlTail, MetricsWriter


@pytest.fixture
def file(tmp_path):
    return tmp_path / "parts" / "1-sft" / "metrics.jsonl"


def test_a_line_is_in_the_file_when_write_returns(file):
    writer = MetricsWriter(file)
    assert writer.write({"loss": 0.5})
    assert file.read_bytes() == b'{"loss": 0.5}\n'


def test_each_line_is_one_write(file, monkeypatch):
    writes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: writes.append(data) or real(handle, data))
    writer = MetricsWriter(file)
    writer.write({"a": 1})
    writer.write({"b": 2})
    assert writes == [b'{"a": 1}\n', b'{"b": 2}\n']


def test_numbers_that_json_lacks_come_back(file):
    writer = MetricsWriter(file)
    writer.write({"loss": math.nan, "grad_norm": math.inf, "x": -math.inf, "deep": {"y": [math.nan]}})
    line = json.loads(file.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert line == {"loss": "NaN", "grad_norm": "Infinity", "x": "-Infinity", "deep": {"y": ["NaN"]}}
    (value,) = JsonlTail(file).read()
    assert math.isnan(value["loss"])
    assert (value["grad_norm"], value["x"]) == (math.inf, -math.inf)


def test_numbers_of_numpy_are_numbers(file):
    import numpy as np

    MetricsWriter(file).write({"loss": np.float32(0.5), "steps": np.int64(3), "bad": np.float32("nan")})
    (value,) = JsonlTail(file).read()
    assert (value["loss"], value["steps"]) == (0.5, 3)
    assert math.isnan(value["bad"])


def test_what_did_not_fit_goes_out_later_and_whole(file, monkeypatch):
    writer = MetricsWriter(file)
    real, room = os.write, [4]

    def full(handle, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = real(handle, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", full)
    assert not writer.write({"step": 1})
    assert not writer.write({"step": 2})
    assert JsonlTail(file).read() == []
    room[0] = 1000
    assert writer.write({"step": 3})
    tail = JsonlTail(file)
    assert [value["step"] for value in tail.read()] == [1, 2, 3]
    assert tail.skipped == 0


def test_a_folder_that_cannot_be_made_kills_nobody(tmp_path):
    (tmp_path / "file").touch()
    writer = MetricsWriter(tmp_path / "file" / "metrics.jsonl")
    assert writer.write({"step": 1}) is False
    (tmp_path / "file").unlink()
    assert writer.write({"step": 2}) is True
    assert [value["step"] for value in rundir.read_all(writer.path)] == [1, 2]


def test_a_torn_line_of_an_earlier_attempt_is_ended_first(file):
    MetricsWriter(file).write({"step": 1})
    os.truncate(file, file.stat().st_size - 4)
    MetricsWriter(file).write({"step": 2})
    tail = JsonlTail(file)
    assert [value["step"] for value in tail.read()] == [2]
    assert tail.skipped == 1


def test_a_torn_last_line_waits_for_its_end(file):
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"step": 1}\n{"ste')
    tail = JsonlTail(file)
    assert tail.read() == [{"step": 1}]
    assert tail.read() == []
    assert tail.more
    with file.open("ab") as appended:
        appended.write(b'p": 2}\n')
    assert tail.read() == [{"step": 2}]
    assert (tail.skipped, tail.restarts, tail.more) == (0, 0, False)


def test_broken_lines_are_skipped_and_counted(file):
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"step": 1}\nnonsense\n\xff\xfe\n[1]\n\n{"step": 2}\n')
    tail = JsonlTail(file)
    assert tail.read() == [{"step": 1}, {"step": 2}]
    assert tail.skipped == 3


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_that_was_truncated_or_replaced_is_read_anew(file, replace):
    writer = MetricsWriter(file)
    for step in range(5):
        writer.write({"step": step})
    tail = JsonlTail(file)
    assert len(tail.read()) == 5
    longer = b"".join(b'{"other": %d}\n' % number for number in range(9))
    if replace:
        other = file.with_name("other")
        other.write_bytes(longer)
        other.replace(file)
    else:
        file.write_bytes(longer)  # the same file, longer than before
    assert [value["other"] for value in tail.read()] == list(range(9))
    assert tail.restarts == 1


def test_a_file_that_became_shorter_is_read_anew(file):
    MetricsWriter(file).write({"step": 100_000})
    tail = JsonlTail(file)
    tail.read()
    file.write_bytes(b'{"s": 1}\n')
    assert tail.read() == [{"s": 1}]
    assert tail.restarts == 1


def test_a_file_that_is_not_there_yet(file):
    tail = JsonlTail(file)
    assert tail.read() == []
    MetricsWriter(file).write({"step": 1})
    assert tail.read() == [{"step": 1}]
    assert tail.restarts == 0


def test_a_new_tail_goes_on_at_an_offset(file):
    writer = MetricsWriter(file)
    writer.write({"step": 1})
    first = JsonlTail(file)
    first.read()
    writer.write({"step": 2})
    assert JsonlTail(file, first.offset).read() == [{"step": 2}]


def test_reading_can_be_portioned(file):
    writer = MetricsWriter(file)
    for step in range(1000):
        writer.write({"step": step})
    tail, portions = JsonlTail(file), []
    while tail.more:
        portions.append(tail.read(max_bytes=1000))
    assert [value["step"] for portion in portions for value in portion] == list(range(1000))
    assert len(portions) > 10


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 5000])
def test_the_last_lines_are_found_from_the_end(file, count):
    writer = MetricsWriter(file)
    for step in range(1000):
        writer.write({"step": step, "filler": "x" * 100})
    with file.open("ab") as appended:
        appended.write(b'{"torn')
    steps = list(range(1000))
    assert [value["step"] for value in JsonlTail(file, rundir.offset_of_last(file, count)).read()] == (
        steps[-count:] if count else []
    )


def test_the_newest_sound_line(file):
    assert rundir.last_line(file) is None
    writer = MetricsWriter(file)
    writer.write({"step": 1})
    with file.open("ab") as appended:
        appended.write(b"broken\n{torn")
    assert rundir.last_line(file) == {"step": 1}


def test_many_writers_of_one_file_never_mix_their_lines(tmp_path):
    file = tmp_path / "events.jsonl"
    script = (
        "import sys; from pathlib import Path; from tuiwb import rundir\n"
        "for n in range(300): rundir.append_line(Path(sys.argv[1]), {'who': sys.argv[2], 'n': n, 'x': 'y' * 500})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(file), str(who)]) for who in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    tail = JsonlTail(file)
    values = tail.read()
    assert tail.skipped == 0
    for who in "012":
        assert [value["n"] for value in values if value["who"] == who] == list(range(300))


def test_an_event_for_a_folder_that_is_gone_kills_nobody(tmp_path):
    assert rundir.append_event(rundir.RunDir(tmp_path / "gone"), "alarm") is False
