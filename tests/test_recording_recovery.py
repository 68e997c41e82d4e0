"""Recordings that were cut off: nothing whole is lost."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader

from app.recording.layout import channel_name
from app.recording.reader import Recording
from app.recording.recover import inspect, recover, seal
from app.topics import Topic
from engines.errors import UserError
from tests.recordings import read_take, take_head, take_messages, write_take
from tests.staged_run import ROOT


def test_a_file_cut_anywhere_gives_whole_messages_only(tmp_path: Path) -> None:
    path, messages = tmp_path / "take.mcap", take_messages(40)
    write_take(path, take_head(tmp_path), messages)
    data = path.read_bytes()
    cut = tmp_path / "cut.mcap"
    kept = []
    for length in range(len(data) // 20, len(data), len(data) // 23):
        cut.write_bytes(data[:length])
        try:
            recording = Recording(cut)
        except UserError as error:
            assert "damaged" in str(error) or "not recorded" in str(error)
            continue
        found = [(item.topic, item.message) for item in recording.messages()]
        assert found == messages[: len(found)]
        kept.append(len(found))
    assert kept == sorted(kept) and kept[-1] == len(messages) and len(set(kept)) > 3


def test_recovery_keeps_every_whole_chunk_and_gives_a_proper_file(tmp_path: Path) -> None:
    path, messages = tmp_path / "take.mcap", take_messages(40)
    write_take(path, take_head(tmp_path), messages, finish=False)
    with path.open("ab") as file:
        file.write(b"\x06\x00\x10\x00\x00\x00\x00\x00\x00half a chunk")
    before = path.read_bytes()
    target = tmp_path / "whole.mcap"
    salvage = recover(path, target)
    assert path.read_bytes() == before, "the damaged file was touched"
    assert salvage.lost > 0 and not salvage.whole
    assert read_take(target) == messages
    with target.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None and summary.statistics is not None
        assert summary.statistics.message_count == salvage.messages
        assert sum(1 for _ in reader.iter_messages()) == salvage.messages
        assert len(list(reader.iter_metadata())) == 4
    with target.open("rb") as file:
        assert list(StreamReader(file, validate_crcs=True).records)
    assert inspect(target).whole
    with pytest.raises(UserError, match="exists already"):
        recover(path, target)


def test_recovery_works_wherever_the_file_was_cut(tmp_path: Path) -> None:
    path, messages = tmp_path / "take.mcap", take_messages(30)
    write_take(path, take_head(tmp_path), messages)
    data = path.read_bytes()
    for number, length in enumerate(range(len(data) // 3, len(data), 977)):
        cut, target = tmp_path / f"{number}.cut", tmp_path / f"{number}.mcap"
        cut.write_bytes(data[:length])
        recover(cut, target)
        found = read_take(target)
        assert found == messages[: len(found)]
        with target.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            poses = sum(topic is Topic.POSES for topic, _ in found)
            indexed = reader.iter_messages(topics=[channel_name(Topic.POSES)])
            assert sum(1 for _ in indexed) == poses, "the index misses messages"


def test_sealing_in_place_keeps_what_is_whole(tmp_path: Path) -> None:
    path, messages = tmp_path / "take.mcap", take_messages(40)
    write_take(path, take_head(tmp_path), messages, finish=False)
    with path.open("ab") as file:
        file.write(b"\x06\x00")
    assert seal(path).messages > 0
    assert inspect(path).whole and read_take(path) == messages
    size = path.stat().st_size
    assert seal(path).whole and path.stat().st_size == size


def test_the_tool_recovers_and_says_what_it_kept(tmp_path: Path) -> None:
    path, messages = tmp_path / "take.mcap", take_messages(20)
    write_take(path, take_head(tmp_path), messages, finish=False)

    def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tools.recover", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    done = tool(str(path))
    assert done.returncode == 0 and "messages kept" in done.stdout
    assert read_take(tmp_path / "take-recovered.mcap") == messages
    again = tool(str(path))
    assert again.returncode == 2 and again.stderr.count("\n") == 1
    assert "exists already" in again.stderr
    assert tool("--in-place", str(path)).returncode == 0
    assert "nothing to do" in tool(str(path)).stdout
    foreign = tmp_path / "x.mcap"
    foreign.write_bytes(b"no")
    refused = tool(str(foreign))
    assert refused.returncode == 2 and "not a recording" in refused.stderr


def test_a_limited_file_size_is_an_error_that_is_survived(tmp_path: Path) -> None:
    """EFBIG stands for a full disk: the file is cut to its last whole chunk and ended."""
    script = f"""
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.recordings import take_head, take_messages, write_take
from app.recording.recover import seal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
path = Path(sys.argv[1])
try:
    write_take(path, take_head(path.parent), take_messages(400))
except OSError as error:
    print(error.strerror)
print(seal(path).messages)
"""
    path = tmp_path / "take.mcap"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout
    assert inspect(path).whole
    found = read_take(path)
    assert len(found) > 40
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
