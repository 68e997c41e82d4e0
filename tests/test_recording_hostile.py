"""Foreign, damaged and hostile recordings are refused with one line."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.data_stream import RecordBuilder
from mcap.records import Chunk
from mcap.writer import Writer

from app.messages import Message
from app.recording.durable_file import DurableFile
from app.recording.reader import Recording
from app.recording.recover import recover
from app.recording.writer import RecordingWriter
from app.topics import Topic
from engines.errors import UserError
from tests.recordings import read_take, take_head, take_messages, write_take
from tests.staged_run import ROOT


def _mcap(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"\x89MCAP0\r\n" + b"".join(parts))
    return path


def _record_bytes(opcode: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<BQ", opcode, len(content) if length is None else length) + content


def _chunk(data: bytes, claimed: int, compression: str) -> bytes:
    builder = RecordBuilder()
    Chunk(
        compression=compression,
        data=data,
        message_end_time=0,
        message_start_time=0,
        uncompressed_crc=0,
        uncompressed_size=claimed,
    ).write(builder)
    return bytes(builder.end())


def _own_head(recorded: Path) -> bytes:
    """Everything of a good recording before its first chunk, without the signature."""
    data = recorded.read_bytes()
    at = 8
    while data[at] != 6:
        at += 9 + int(struct.unpack_from("<Q", data, at + 1)[0])
    return data[8:at]


def test_foreign_and_hostile_files_are_refused_with_one_line(
    tmp_path: Path, recorded: tuple[Path, list[tuple[Topic, Message]]]
) -> None:
    path, _ = recorded
    head = _own_head(path)
    foreign = tmp_path / "foreign.mcap"
    with foreign.open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.finish()
    video = tmp_path / "video.mp4"
    video.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(100))
    (tmp_path / "empty.mcap").write_bytes(b"")
    wrong = head.replace(b'"mode":"live"', b'"mode":"evil"')
    newer = head.replace(b"format\x01\x00\x00\x001", b"format\x01\x00\x00\x009")
    assert wrong != head and newer != head
    cases = {
        tmp_path / "missing.mcap": "cannot be read",
        tmp_path: "cannot be read",
        tmp_path / "empty.mcap": "not a recording",
        video: "not a recording",
        foreign: "not recorded by this software",
        _mcap(tmp_path / "a.mcap", _record_bytes(0x0C, b"x", 1 << 62)): "damaged recording",
        _mcap(tmp_path / "b.mcap", _record_bytes(0x0C, b"\xff\xff\xff\xff")): "damaged recording",
        _mcap(tmp_path / "c.mcap", wrong): "head of the recording is damaged",
        _mcap(tmp_path / "d.mcap", newer): "recording format '9'",
    }
    for file_path, told in cases.items():
        with pytest.raises(UserError) as caught:
            Recording(file_path)
        assert told in str(caught.value) and "\n" not in str(caught.value)
        assert str(file_path) in str(caught.value)


BOMBS = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from app.recording.reader import Recording
for name in sys.argv[1:]:
    recording = Recording(Path(name))
    print(sum(1 for _ in recording.messages()), recording.damage)
"""


def test_bombs_take_no_memory(
    tmp_path: Path, recorded: tuple[Path, list[tuple[Topic, Message]]]
) -> None:
    import lz4.frame  # type: ignore[import-untyped]

    head = _own_head(recorded[0])
    zeros = bytes(1 << 20)
    bomb = zstandard.ZstdCompressor().compressobj(size=40 << 30)
    huge = bomb.compress(zeros) + bomb.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(zeros * 64)
    cases = {
        "size": _chunk(zstandard.compress(b"x"), 40 << 30, "zstd"),
        "frame": _chunk(huge, 99, "zstd"),
        "unknown": _chunk(unknown, 1000, "zstd"),
        "lz4": _chunk(lz4.frame.compress(zeros * 64), 1000, "lz4"),
        "kind": _chunk(b"abc", 3, "rar"),
        "record": _chunk(_record_bytes(5, b"", 1 << 40), 9, ""),
    }
    files = [_mcap(tmp_path / f"{name}.mcap", head, chunk) for name, chunk in cases.items()]
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, *map(str, files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-300:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(cases)
    for name, line in zip(cases, lines, strict=True):
        assert line.startswith("0 a ") or line.startswith("0 cut off"), f"{name}: {line}"


def test_a_message_that_makes_no_sense_is_one_line(tmp_path: Path) -> None:
    path, head = tmp_path / "take.mcap", take_head(tmp_path)
    for bad in (b'{"type":"pose"}', b"[" * 100_000, b"\xff\xfe", b'{"type":"pose","schema":9}'):
        path.unlink(missing_ok=True)
        file = DurableFile(path)
        writer = RecordingWriter(file, head)
        writer._add(writer._channels[Topic.POSES], bad, head.anchor.wall_ns)
        writer.finish()
        file.close()
        with pytest.raises(UserError) as caught:
            list(Recording(path).messages())
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1), byte=st.integers(0, 255), count=st.integers(1, 40))
def test_a_spoiled_file_is_read_or_refused_but_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, place: float, byte: int, count: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "spoiled"
    folder.mkdir(exist_ok=True)
    good, bad = folder / "good.mcap", folder / "bad.mcap"
    if not good.exists():
        write_take(good, take_head(folder), take_messages(15))
    data = bytearray(good.read_bytes())
    at = int(place * (len(data) - count))
    data[at : at + count] = bytes([byte]) * count
    bad.write_bytes(data)
    known = read_take(good)
    try:
        found = read_take(bad)
        assert all(item in known for item in found), "a check sum let a spoiled message through"
    except UserError as error:
        assert "\n" not in str(error)
    target = folder / "out.mcap"
    target.unlink(missing_ok=True)
    try:
        recover(bad, target)
    except UserError as error:
        assert "\n" not in str(error)
