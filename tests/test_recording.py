"""Recordings as files: what is written is read back, and others can read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader

from app.clock import now_ns, take_anchor
from app.config import CameraConfig, StreamSource
from app.messages import Joints2D, Message, Pose
from app.recording.durable_file import DurableFile
from app.recording.foxglove_scene import SceneUpdate, scene_update
from app.recording.layout import RECORDED_TOPICS, SCENE_CHANNEL, channel_name
from app.recording.reader import Recording, read_run_spec
from app.recording.schemas import encode, foxglove_schema
from app.recording.writer import RecordingHead
from app.run_spec import RunSpec
from app.topics import Topic
from app.version import VERSION
from engines.skeleton import JOINT_COUNT
from tests.recordings import take_head, take_messages, write_take
from tests.staged_run import ROOT, STANDING, config, joints2d, pose


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    path, messages, head = tmp_path / "take.mcap", take_messages(60), take_head(tmp_path)
    write_take(path, head, messages)
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


def test_the_version_is_that_of_the_project() -> None:
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()


def test_passwords_of_cameras_stay_at_home(tmp_path: Path) -> None:
    source = StreamSource(kind="stream", url="rtsp://admin:s3cret@10.0.0.5:554/one?key=s3cret")
    cameras = [CameraConfig(id="cam0", source=source), *config(tmp_path).cameras[1:]]
    settings = config(tmp_path).model_copy(update={"cameras": cameras})
    head = RecordingHead(RunSpec(mode="live", config=settings), take_anchor(), now_ns())
    path = tmp_path / "take.mcap"
    write_take(path, head, take_messages(5))
    assert b"s3cret" not in path.read_bytes()
    told = read_run_spec(path).config.cameras[0].source
    assert told.kind == "stream" and told.url == "rtsp://10.0.0.5:554/one"
