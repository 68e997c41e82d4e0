"""Recordings in other programs' formats, read back by other programs' readers."""

from __future__ import annotations

import csv
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import c3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages import Message, Pose
from app.recording.writer import RecordingHead
from app.topics import Topic
from engines.skeleton import JOINT_COUNT, JOINT_NAMES
from recordings import take_head, write_take
from tools.export.even_rate import resample
from tools.export.motion import Motion, read_motion
from tools.export.tables import write_trc

ROOT = Path(__file__).resolve().parents[1]
WRIST = JOINT_NAMES.index("left_wrist")
ANKLES = [JOINT_NAMES.index("right_ankle"), JOINT_NAMES.index("left_ankle")]
POSES = 40
FIRST_IN_ROOT = 5


def place_at(time_s: float) -> np.ndarray:
    """(17, 3) metres about the pelvis: every joint moves at a speed of its own, the pelvis not."""
    joint = np.arange(JOINT_COUNT)[:, None]
    return np.asarray(joint * np.array([0.05, -0.02, 0.08]) * (1 + 0.1 * time_s))


def instant(index: int) -> int:
    """Nanoseconds after the first pose: 20 a second, a little uneven."""
    return 50_000_000 * index + (3_000_000 if index % 2 else 0)


@pytest.fixture
def take(tmp_path: Path) -> Path:
    """A recording of 40 poses; the room is known from the sixth on, a wrist is missing twice."""
    head = take_head(tmp_path)
    messages: list[tuple[Topic, Message]] = []
    for index in range(POSES):
        confidence = [0.9] * JOINT_COUNT
        if index in (20, 21) or 25 <= index < 37:
            confidence[WRIST] = 0.0
        joints = place_at(instant(index) * 1e-9).tolist()
        pose = Pose(
            index=index,
            time_ns=head.epoch_ns + instant(index),
            published_ns=head.epoch_ns + instant(index),
            latency_ms=50.0,
            valid=index != 10,
            joints=() if index == 10 else tuple(map(tuple, joints)),
            confidence=() if index == 10 else tuple(confidence),
            root=(1.0, 2.0, 0.9) if index >= FIRST_IN_ROOT else None,
        )
        messages.append((Topic.POSES, pose))
    path = tmp_path / "take.mcap"
    write_take(path, head, messages)
    return path


def pose_of(
    head: RecordingHead,
    index: int,
    joints: np.ndarray,
    root: tuple[float, float, float] | None = None,
    world: int = 0,
) -> Pose:
    """A pose in which all is known, of an instant 50 ms after the one before."""
    time_ns = head.epoch_ns + 50_000_000 * index
    return Pose(
        index=index, time_ns=time_ns, published_ns=time_ns, latency_ms=50.0, valid=True,
        joints=tuple(map(tuple, joints.tolist())), confidence=(1.0,) * JOINT_COUNT,
        root=root, world=world,
    )  # fmt: skip


def export(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.export", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_csv_has_the_very_instants(take: Path, tmp_path: Path) -> None:
    done = export(take, tmp_path / "a.csv", "--place", "pelvis")
    assert done.returncode == 0, done.stderr
    assert "39 instants as recorded" in done.stdout and "relative to the pelvis" in done.stdout
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == POSES - 1  # an instant without a pose is no row
    for row, index in zip(rows, [i for i in range(POSES) if i != 10], strict=True):
        assert float(row["time_s"]) == pytest.approx(instant(index) * 1e-9, abs=1e-6)
        place = [float(row[f"head_{axis}_m"]) for axis in "xyz"]
        expected = place_at(instant(index) * 1e-9)[JOINT_NAMES.index("head")]
        assert place == pytest.approx(expected, abs=1e-5)
        lost = index in (20, 21) or 25 <= index < 37
        assert (row["left_wrist_x_m"] == "") == lost
        assert float(row["left_wrist_confidence"]) == (0 if lost else 0.9)
    began, ended = (datetime.fromisoformat(row["utc"][:-1]) for row in (rows[0], rows[-1]))
    assert (ended - began).total_seconds() == pytest.approx(instant(39) * 1e-9, abs=2e-3)


def test_c3d_is_understood_by_another_reader(take: Path, tmp_path: Path) -> None:
    done = export(take, tmp_path / "a.c3d")
    assert done.returncode == 0, done.stderr
    assert "known from 0.3 s on" in done.stdout
    with (tmp_path / "a.c3d").open("rb") as stream:
        reader = c3d.Reader(stream)
        assert [label.strip() for label in reader.point_labels] == list(JOINT_NAMES)
        assert reader.point_rate == 20
        assert reader.get("POINT:UNITS").string_value.strip() == "mm"
        assert reader.get("POINT:Y_SCREEN").string_value.strip() == "+Z"
        frames = [points for _, points, _ in reader.read_frames()]
    assert len(frames) == POSES  # 0 to 1.953 s at 20 Hz
    for number, points in enumerate(frames):
        time_s = number / 20
        known = points[:, 3] >= 0
        # The wrist is filled in over the short gap and not over the long one.
        lost = instant(24) * 1e-9 < time_s < instant(37) * 1e-9
        assert known[WRIST] == (number > FIRST_IN_ROOT and not lost)
        assert known[0] == (number > FIRST_IN_ROOT)
        expected = 1000 * (place_at(time_s) + np.array([1.0, 2.0, 0.9]))
        assert np.abs(points[known, :3] - expected[known]).max(initial=0) < 0.01


def test_trc_is_y_up_in_millimetres(take: Path, tmp_path: Path) -> None:
    done = export(take, tmp_path / "a.trc", "--rate", "50", "--gap", "0.01", "--place", "room")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "a.trc").read_text().splitlines()
    values = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    assert values["Units"] == "mm" and values["DataRate"] == "50"
    assert values["NumMarkers"] == "17" and int(values["NumFrames"]) == len(lines) - 6
    columns = lines[3].split("\t")
    assert columns[:2] == ["Frame#", "Time"] and [c for c in columns[2:] if c] == list(JOINT_NAMES)
    assert lines[4].split("\t")[2:5] == ["X1", "Y1", "Z1"]
    rows = [line.split("\t") for line in lines[6:]]
    assert {len(row) for row in rows} == {2 + 3 * JOINT_COUNT}
    # With gaps of at most 10 ms only instants that were recorded are left: every 100 ms.
    filled = [row for row in rows if row[2]]
    assert {round(float(row[1]) * 1000) % 100 for row in filled} == {0}
    for row in filled:
        x, y, z = place_at(float(row[1]))[10] + np.array([1.0, 2.0, 0.9])
        head = [float(cell) for cell in row[2 + 30 : 2 + 33]]
        assert head == pytest.approx([1000 * x, 1000 * z, -1000 * y], abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.fbx"], "one of .bvh, .c3d, .csv, .trc"),
        (["there.csv"], "exists already"),
        (["a.csv", "a.csv"], "given twice"),
        (["nowhere/a.c3d"], "cannot be written"),
        (["nowhere/a.trc"], "cannot be written"),
    ],
)
def test_mistakes_are_one_line(take: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "there.csv").write_text("mine")
    done = export(take, *(tmp_path / name for name in arguments))
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [
        ".csv",
        ".mcap",
    ]


@pytest.mark.parametrize("suffix", [".c3d", ".trc", ".bvh", ".csv"])
def test_half_a_file_is_not_left(take: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"a{suffix}"
    command = f"ulimit -f 4; exec {sys.executable} -m tools.export {take} {target}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "cannot be written" in done.stderr and done.stderr.count("\n") == 1
    assert not target.exists()


def test_a_room_that_is_never_known_is_one_line(tmp_path: Path) -> None:
    head = take_head(tmp_path)
    pose = Pose(
        index=0, time_ns=head.epoch_ns, published_ns=head.epoch_ns, latency_ms=1.0, valid=True,
        joints=((0.0, 0.0, 0.0),) * JOINT_COUNT, confidence=(1.0,) * JOINT_COUNT,
    )  # fmt: skip
    write_take(tmp_path / "take.mcap", head, [(Topic.POSES, pose)])
    done = export(tmp_path / "take.mcap", tmp_path / "a.csv", "--place", "room")
    assert done.returncode == 2 and "cameras were not found" in done.stderr
    assert read_motion(tmp_path / "take.mcap").place == "floor"
    done = export(tmp_path / "take.mcap", tmp_path / "a.trc")
    assert done.returncode == 2 and "only .csv can take that" in done.stderr
    write_take(tmp_path / "empty.mcap", head, [])
    done = export(tmp_path / "empty.mcap", tmp_path / "a.csv")
    assert done.returncode == 2 and "nobody was seen" in done.stderr


def test_a_recording_that_was_cut_off_is_exported_and_told(take: Path, tmp_path: Path) -> None:
    content = take.read_bytes()
    (tmp_path / "cut.mcap").write_bytes(content[: len(content) // 2])
    done = export(tmp_path / "cut.mcap", tmp_path / "a.csv")
    assert done.returncode == 0
    assert done.stderr.startswith(f"{tmp_path / 'cut.mcap'}: ")
    assert "what came before is exported" in done.stderr and done.stderr.count("\n") == 1
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 19  # the first chunk
    assert export(take, tmp_path / "b.csv").stderr == ""


def test_a_table_needs_an_even_rate(take: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even rate"):
        write_trc(read_motion(take), tmp_path / "a.trc")


@given(
    steps=st.lists(st.floats(0.01, 1.2), min_size=1, max_size=40),
    rate=st.floats(1, 120),
    gap=st.floats(0, 1.5),
    hidden=st.sets(st.integers(0, 40)),
)
def test_resampling_is_exact_for_steady_motion_and_never_bridges_gaps(
    steps: list[float], rate: float, gap: float, hidden: set[int]
) -> None:
    times = np.concatenate(([0.0], np.cumsum(steps)))
    joints = np.stack([place_at(time) for time in times])
    seen = np.array([number not in hidden for number in range(len(times))])
    joints[~seen] = np.nan
    confidence = np.where(seen[:, None], 0.5, 0.0) * np.ones(JOINT_COUNT)
    still, axes = np.zeros((len(times), 3)), np.zeros(len(times), np.int64)
    even = resample(Motion(0, times, joints, confidence, still, axes, "room"), rate, gap)
    assert even.rate_hz == rate and np.allclose(np.diff(even.times_s), 1 / rate)
    assert even.times_s[-1] <= times[-1] + 1e-5
    assert np.array_equal(np.isfinite(even.joints[..., 0]), even.confidence > 0)
    expected = np.stack([place_at(time) for time in even.times_s])
    assert np.nanmax(np.abs(even.joints - expected), initial=0) < 1e-9
    known = times[seen]
    assert np.abs(np.nan_to_num(even.root)).max() == 0
    some = np.isfinite(even.joints[..., 0]).any(axis=1)
    for time, row in zip(even.times_s, some, strict=True):
        before, after = known[known <= time + 1e-9], known[known >= time - 1e-9]
        if not row:
            # Nothing is left out that could be told, but for rounding at the very limit.
            assert not len(before) or not len(after) or after[0] - before[-1] > gap - 1e-9
        else:
            assert len(before) and len(after) and after[0] - before[-1] <= gap + 1e-9


def test_without_a_room_the_feet_are_on_the_floor(tmp_path: Path) -> None:
    head = take_head(tmp_path)
    poses: list[tuple[Topic, Message]] = []
    for index in range(20):
        joints = np.zeros((JOINT_COUNT, 3))
        joints[ANKLES] = [[0.1, 0, -0.8], [-0.1, 0, -0.8 + 0.03 * index]]  # one foot is lifted
        poses.append((Topic.POSES, pose_of(head, index, joints)))
    write_take(tmp_path / "take.mcap", head, poses)
    done = export(tmp_path / "take.mcap", tmp_path / "a.csv")
    assert "on the floor, not moving about" in done.stdout
    with (tmp_path / "a.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            assert float(row["right_ankle_z_m"]) == pytest.approx(0.075, abs=1e-5)
            assert float(row["pelvis_z_m"]) == pytest.approx(0.875, abs=1e-5)


def test_axes_that_were_set_anew_are_not_joined(tmp_path: Path) -> None:
    """The person is taken to the new origin, and did not run there."""
    head = take_head(tmp_path)
    joints = np.zeros((JOINT_COUNT, 3))
    poses: list[tuple[Topic, Message]] = [
        (Topic.POSES, pose_of(head, index, joints, root=(0.0, 4.0 if index < 10 else 0.0, 0.9),
                              world=int(index >= 10)))
        for index in range(20)
    ]  # fmt: skip
    write_take(tmp_path / "take.mcap", head, poses)
    done = export(tmp_path / "take.mcap", tmp_path / "a.csv", "--rate", "100")
    assert "at 0.475 s the axes were set anew" in done.stdout
    with (tmp_path / "a.csv").open(newline="") as stream:
        places = [row["pelvis_y_m"] for row in csv.DictReader(stream)]
    assert set(places) == {"4.00000", "", "0.00000"}
    assert places.count("") == 4  # 0.46 to 0.49 s
    done = export(tmp_path / "take.mcap", tmp_path / "b.csv", "--from", "0.475", "--to", "0.8")
    assert done.returncode == 0 and "the axes" not in done.stdout
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 1 + 7
    done = export(tmp_path / "take.mcap", tmp_path / "d.csv", "--to", "0.475")
    assert len((tmp_path / "d.csv").read_text().splitlines()) == 1 + 10
    done = export(tmp_path / "take.mcap", tmp_path / "e.csv", "--from", "0.3")
    assert "at 0.475 s the axes were set anew" in done.stdout
    done = export(tmp_path / "take.mcap", tmp_path / "c.csv", "--from", "5")
    assert done.returncode == 2 and "no pose in the seconds" in done.stderr


def test_names_are_those_of_other_marker_sets(take: Path, tmp_path: Path) -> None:
    done = export(take, tmp_path / "a.trc", tmp_path / "a.c3d", "--names", "pose2sim")
    assert done.returncode == 0, done.stderr
    columns = (tmp_path / "a.trc").read_text().splitlines()[3].split("\t")
    with (tmp_path / "a.c3d").open("rb") as stream:
        labels = [label.strip() for label in c3d.Reader(stream).point_labels]
    assert [cell for cell in columns[2:] if cell] == labels
    assert {"Hip", "RKnee", "LWrist", "Neck"} <= set(labels) and len(set(labels)) == JOINT_COUNT
