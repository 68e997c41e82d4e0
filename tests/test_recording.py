"""Recordings as files: what is written is read back, foreign and damaged files are refused."""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.data_stream import RecordBuilder
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.stream_reader import StreamReader
from mcap.writer import Writer

from app.clock import now_ns, take_anchor
from app.messages import CameraStatus, Health, Joints2D, Message, Pose, ProcessHealth
from app.recording.durable_file import DurableFile
from app.recording.foxglove_scene import SceneUpdate, scene_update
from app.recording.layout import RECORDED_TOPICS, SCENE_CHANNEL, channel_name
from app.recording.reader import Recording, read_run_spec
from app.recording.recover import inspect, recover, seal
from app.recording.schemas import encode, foxglove_schema
from app.recording.writer import RecordingHead, RecordingWriter
from app.run_spec import RunSpec
from app.topics import Topic
from app.version import VERSION
from engines.errors import UserError
from engines.skeleton import JOINT_COUNT
from tests.staged_run import ROOT, STANDING, config, joints2d, pose, status


def _head(tmp_path: Path) -> RecordingHead:
    return RecordingHead(
        RunSpec(mode="live", config=config(tmp_path)), take_anchor(), now_ns() - 1_000_000
    )


def _messages(count: int) -> list[tuple[Topic, Message]]:
    made: list[tuple[Topic, Message]] = []
    for index in range(count):
        made.append((Topic.JOINTS2D, joints2d(index)))
        made.append((Topic.POSES, pose(index, missing=(13,) if index % 3 else ())))
        if index % 5 == 0:
            made.append((Topic.PIPELINE_STATUS, status(index)))
            camera = CameraStatus(camera="cam0", state="lost", detail="unplugged", at_ns=index)
            made.append((Topic.CAMERA_STATUS, camera))
            row = ProcessHealth(
                process="viewer", module="viz", running=True, state="ready", restarts=0
            )
            made.append((Topic.HEALTH, Health(at_ns=index, processes=(row,))))
    return made


def _record(
    path: Path, head: RecordingHead, messages: list[tuple[Topic, Message]], *, finish: bool = True
) -> None:
    file = DurableFile(path)
    writer = RecordingWriter(file, head)
    for number, (topic, message) in enumerate(messages):
        writer.add(topic, message, head.epoch_ns + number * 10_000_000)
        if number % 20 == 19:
            writer.commit()
    writer.finish() if finish else writer.commit()
    file.close()


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, list[tuple[Topic, Message]]]:
    path, messages = tmp_path / "take.mcap", _messages(60)
    _record(path, _head(tmp_path), messages)
    return path, messages


def _read(path: Path) -> list[tuple[Topic, Message]]:
    return [(item.topic, item.message) for item in Recording(path).messages()]


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    path, messages, head = tmp_path / "take.mcap", _messages(60), _head(tmp_path)
    _record(path, head, messages)
    recording = Recording(path)
    assert recording.head == head
    assert recording.version == VERSION
    items = list(recording.messages())
    assert [(item.topic, item.message) for item in items] == messages
    assert recording.ended and not recording.damage
    assert [item.log_ns for item in items] == [
        head.wall_ns(head.epoch_ns + number * 10_000_000) for number in range(len(messages))
    ]
    assert read_run_spec(path) == head.spec
    poses = [m for t, m in messages if t is Topic.POSES]
    assert [item.message for item in recording.messages([Topic.POSES])] == poses


def test_the_files_are_good_mcap_with_an_index(
    recorded: tuple[Path, list[tuple[Topic, Message]]],
) -> None:
    path, messages = recorded
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None and summary.statistics is not None
        poses = sum(topic is Topic.POSES for topic, _ in messages)
        assert summary.statistics.message_count == len(messages) + poses  # each with its scene
        names = {channel.topic for channel in summary.channels.values()}
        assert names == {channel_name(topic) for topic in RECORDED_TOPICS} | {SCENE_CHANNEL}
        found = list(reader.iter_messages(topics=[channel_name(Topic.POSES)]))
        assert len(found) == poses
        times = [message.log_time for _, _, message in found]
        assert times == sorted(times)
        metadata = {entry.name: entry.metadata for entry in reader.iter_metadata()}
        assert len(json.loads(metadata["dsvt.skeleton"]["joints"])) == JOINT_COUNT
    with path.open("rb") as file:
        assert list(StreamReader(file, validate_crcs=True).records)


def test_messages_obey_their_schemas_and_foxglove_can_read_these(
    recorded: tuple[Path, list[tuple[Topic, Message]]],
) -> None:
    path, _ = recorded
    checked = 0
    validators: dict[int, jsonschema.Draft202012Validator] = {}
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            assert schema is not None and schema.encoding == "jsonschema"
            assert channel.message_encoding == "json"
            if schema.id not in validators:
                described = json.loads(schema.data)
                jsonschema.Draft202012Validator.check_schema(described)
                validators[schema.id] = jsonschema.Draft202012Validator(described)
            validators[schema.id].validate(json.loads(message.data))
            checked += 1
    assert checked > 100
    for topic in RECORDED_TOPICS:
        _assert_foxglove(foxglove_schema(topic.info.message))
    scene = foxglove_schema(SceneUpdate)
    _assert_foxglove(scene)
    entity = scene["properties"]["entities"]["items"]["properties"]
    assert {"timestamp", "frame_id", "id", "lifetime", "spheres", "lines"} <= entity.keys()


def _assert_foxglove(schema: dict[str, Any]) -> None:
    """Foxglove's rules: objects, scalars, and arrays of either; a type everywhere."""
    assert schema["type"] == "object"
    for name, field in schema["properties"].items():
        assert not {"$ref", "anyOf", "oneOf", "allOf"} & field.keys(), name
        inner = field["items"] if field["type"] == "array" else field
        assert inner["type"] in ("object", "boolean", "string", "number", "integer"), name
        if inner["type"] == "object":
            _assert_foxglove(inner)


def test_nones_are_left_out_and_come_back() -> None:
    rootless = pose(0)
    data = encode(rootless)
    assert rootless.root is None and b"null" not in data and b"root" not in data
    assert msgspec.json.decode(data, type=Pose) == rootless
    sparse = joints2d(4)
    assert sparse.views[-1] is None
    assert msgspec.json.decode(encode(sparse), type=Joints2D) == sparse


def test_the_scene_holds_known_joints_only() -> None:
    confidence = np.ones(JOINT_COUNT)
    confidence[[15, 16]] = 0.0
    scene = scene_update(STANDING, confidence, 5_000_000_123)
    (entity,) = scene.entities
    assert len(entity.spheres) == JOINT_COUNT - 2
    assert sum(len(line.points) for line in entity.lines) == 2 * (16 - 2)
    assert (entity.timestamp.sec, entity.timestamp.nsec) == (5, 123)
    nobody = scene_update(STANDING, np.zeros(JOINT_COUNT), 1)
    assert not nobody.entities and nobody.deletions[0].type == 1


def test_an_existing_file_is_never_written_to(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        DurableFile(path)
    assert path.read_bytes() == b"precious"


def test_a_file_cut_anywhere_gives_whole_messages_only(tmp_path: Path) -> None:
    path, messages = tmp_path / "take.mcap", _messages(40)
    _record(path, _head(tmp_path), messages)
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
    path, messages = tmp_path / "take.mcap", _messages(40)
    _record(path, _head(tmp_path), messages, finish=False)
    with path.open("ab") as file:
        file.write(b"\x06\x00\x10\x00\x00\x00\x00\x00\x00half a chunk")
    before = path.read_bytes()
    target = tmp_path / "whole.mcap"
    salvage = recover(path, target)
    assert path.read_bytes() == before, "the damaged file was touched"
    assert salvage.lost > 0 and not salvage.whole
    assert _read(target) == messages
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
    path, messages = tmp_path / "take.mcap", _messages(30)
    _record(path, _head(tmp_path), messages)
    data = path.read_bytes()
    for number, length in enumerate(range(len(data) // 3, len(data), 977)):
        cut, target = tmp_path / f"{number}.cut", tmp_path / f"{number}.mcap"
        cut.write_bytes(data[:length])
        recover(cut, target)
        found = _read(target)
        assert found == messages[: len(found)]
        with target.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            poses = sum(topic is Topic.POSES for topic, _ in found)
            indexed = reader.iter_messages(topics=[channel_name(Topic.POSES)])
            assert sum(1 for _ in indexed) == poses, "the index misses messages"


def test_sealing_in_place_keeps_what_is_whole(tmp_path: Path) -> None:
    path, messages = tmp_path / "take.mcap", _messages(40)
    _record(path, _head(tmp_path), messages, finish=False)
    with path.open("ab") as file:
        file.write(b"\x06\x00")
    assert seal(path).messages > 0
    assert inspect(path).whole and _read(path) == messages
    size = path.stat().st_size
    assert seal(path).whole and path.stat().st_size == size


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
    path, head = tmp_path / "take.mcap", _head(tmp_path)
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
        _record(good, _head(folder), _messages(15))
    data = bytearray(good.read_bytes())
    at = int(place * (len(data) - count))
    data[at : at + count] = bytes([byte]) * count
    bad.write_bytes(data)
    known = _read(good)
    try:
        found = _read(bad)
        assert all(item in known for item in found), "a check sum let a spoiled message through"
    except UserError as error:
        assert "\n" not in str(error)
    target = folder / "out.mcap"
    target.unlink(missing_ok=True)
    try:
        recover(bad, target)
    except UserError as error:
        assert "\n" not in str(error)


def test_the_tool_recovers_and_says_what_it_kept(tmp_path: Path) -> None:
    path, messages = tmp_path / "take.mcap", _messages(20)
    _record(path, _head(tmp_path), messages, finish=False)

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
    assert _read(tmp_path / "take-recovered.mcap") == messages
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
from tests.test_recording import _head, _messages, _record
from app.recording.recover import seal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
path = Path(sys.argv[1])
try:
    _record(path, _head(path.parent), _messages(400))
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
    found = _read(path)
    assert len(found) > 40
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_the_version_is_that_of_the_project() -> None:
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()
