"""``python -m tools.calibrate``: from a recording to a rig file, a report and a picture."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from app.clock import now_ns, take_anchor
from app.config import AppConfig, CameraConfig, FrontEndConfig, SyntheticSource
from app.messages import Joints2D, View
from app.recording.durable_file import DurableFile
from app.recording.writer import RecordingHead, RecordingWriter
from app.run_spec import RunSpec
from app.topics import Topic
from engines.errors import UserError
from engines.rig.exchange import load_rig, match_cameras, save_rig
from engines.rig.priors import focal_of_fov
from engines.rig.rotations import exponential
from engines.rig.types import Rig
from engines.rig.world import move_rig
from tests.rig_scenes import STATURE_M, Scene, SceneOptions, make_scene
from tools.calibrate import main
from tools.rig.compare import compare_joints, compare_rigs
from tools.rig.given import given_cameras
from tools.rig.takes import SeenTake, read_recording

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "capture" / "clips" / "walk"


def _record(scene: Scene, path: Path) -> Path:
    """What the live application would have recorded of a scene."""
    config = AppConfig(
        cameras=[
            CameraConfig(id=name, source=SyntheticSource(kind="synthetic")) for name in scene.ids
        ],
        body_height_m=STATURE_M,
        front_end=FrontEndConfig(kind="yolo_cpn"),
    )
    head = RecordingHead(RunSpec(mode="live", config=config), take_anchor(), now_ns())
    file = DurableFile(path)
    writer = RecordingWriter(file, head)
    for row in range(0, len(scene.times), 2):
        time_ns = head.epoch_ns + round(float(scene.times[row]) * 1e9)
        message = Joints2D(index=row, time_ns=time_ns, views=_views(scene, row, time_ns))
        writer.add(Topic.JOINTS2D, message, time_ns)
    writer.finish()
    file.close()
    return path


def _views(scene: Scene, row: int, time_ns: int) -> tuple[View | None, ...]:
    views: list[View | None] = []
    for v, (width, height) in enumerate(scene.sizes):
        seen = scene.keypoints[row, v]
        if not (seen[:, 2] > 0).any():
            views.append(None)
            continue
        pixels = (seen[:, :2] + [1.0, height / width]) * width / 2
        views.append(
            View(
                camera=scene.ids[v],
                sequence=row,
                capture_ns=time_ns,
                skew_ms=0.0,
                width=width,
                height=height,
                keypoints=tuple(
                    (float(x), float(y), float(c))
                    for (x, y), c in zip(pixels, seen[:, 2], strict=True)
                ),
            )
        )
    return tuple(views)


def _calibrate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.calibrate", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(SceneOptions(seed=1, seconds=9, k1=0.02))


@pytest.fixture(scope="module")
def take(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _record(scene, tmp_path_factory.mktemp("take") / "take.mcap")


def _named(scene: Scene, path: Path) -> Rig:
    return match_cameras(load_rig(path)[0], scene.ids, str(path))


def test_a_recording_gives_a_rig_a_report_and_a_picture(
    scene: Scene, take: Path, tmp_path: Path
) -> None:
    truth = tmp_path / "truth.json"
    save_rig(scene.rig(), truth)
    out, folder = tmp_path / "Calib.toml", tmp_path / "report"
    done = _calibrate(take, "--out", out, "--report", folder, "--compare", truth)
    assert done.returncode == 0, done.stderr
    assert "Quality: **" in done.stdout and "| cam3 |" in done.stdout
    assert f"Against {truth}" in done.stdout
    assert "Limb joints from the same 2D joints" in done.stdout
    difference = compare_rigs(_named(scene, out), scene.rig())
    assert len(difference.ids) == 4
    assert np.median(difference.rotation_deg) < 1.5
    assert np.median(np.abs(difference.focal)) < 0.06
    assert "| camera |" in (folder / "report.md").read_text()
    picture = cv2.imread(str(folder / "rig.png"))
    assert picture is not None and picture.shape[1] > 400


def test_fixed_cameras_keep_their_places(scene: Scene, take: Path, tmp_path: Path) -> None:
    fixed, out = tmp_path / "fixed.json", tmp_path / "rig.json"
    rig = scene.rig()
    save_rig(
        Rig(
            cameras=(rig.cameras[0], None, rig.cameras[2], None),
            expected_error_mm=20.0,
            quality="good",
            levelled=True,
            body_height_m=STATURE_M,
            bone_lengths=rig.bone_lengths,
        ),
        fixed,
    )
    done = _calibrate(take, "--out", out, "--fixed", fixed)
    assert done.returncode == 0, done.stderr
    found = _named(scene, out)
    for v, camera in enumerate(found.cameras):
        assert camera is not None
        off = float(np.linalg.norm(camera.position - scene.positions[v]))
        assert off < (1e-6 if v in (0, 2) else 0.3)


def test_what_is_given_of_a_camera_comes_together(scene: Scene, tmp_path: Path) -> None:
    """A field of view beside fixed places replaces the lens alone; files keep their own level."""
    rig = scene.rig()
    sideways = exponential(np.array([np.pi / 2, 0, 0]))
    fixed, lenses = tmp_path / "fixed.yml", tmp_path / "lenses.json"
    save_rig(move_rig(rig, sideways, np.zeros(3)), fixed)
    save_rig(rig, lenses)
    take = SeenTake(
        *(tuple(scene.ids), tuple(scene.sizes), scene.times, scene.times[:, None], scene.keypoints),
        body_height_m=None,
        front_end="yolo_cpn",
    )
    given = given_cameras(take, ["63"], lenses, fixed)
    assert not given.levelled and given.tells_scale
    for camera in given.cameras:
        assert camera.position is not None and camera.rotation is not None
        assert camera.focal == pytest.approx(focal_of_fov(63))
    only_lenses = given_cameras(take, [], lenses, None)
    assert only_lenses.levelled and not only_lenses.tells_scale
    with pytest.raises(UserError, match="no such file"):
        given_cameras(take, [], tmp_path / "nothing.json", fixed)


def test_videos_give_a_rig_even_of_a_camera_on_its_side(tmp_path: Path) -> None:
    """With the networks that ship; the cameras of the built-in clip are known."""
    side = _on_its_side(CLIP / "camera3.mp4", tmp_path / "camera3.mp4")
    videos = [*(CLIP / f"camera{v}.mp4" for v in range(3)), side]
    looks = ("--front-end", "yolo_cpn", "--seconds", "6", "--rate", "10", "--body-height", "1.76")
    turned = ("--rotate", "camera3=270")
    done = _calibrate(*videos, "--out", tmp_path / "rig.json", *looks, *turned)
    assert done.returncode == 0, done.stderr
    rig, _ = load_rig(tmp_path / "rig.json")
    assert [camera.id for camera in rig.cameras if camera] == [f"camera{v}" for v in range(4)]
    with np.load(CLIP / "truth.npz", allow_pickle=False) as truth:
        turns, lenses = truth["camera_R"], truth["camera_K"]
    first = rig.cameras[0]
    for v, camera in enumerate(rig.cameras):
        assert first is not None and camera is not None
        assert (camera.model.width, camera.model.height) == (640, 480)
        assert camera.model.focal == pytest.approx(lenses[v, 0, 0] / 320, rel=0.15)
        off = camera.rotation @ first.rotation.T @ turns[0] @ turns[v].T
        assert np.degrees(Rotation.from_matrix(off).magnitude()) < 3


def _on_its_side(path: Path, out: Path) -> Path:
    """The video as a camera would have taken it that stands a quarter turn clockwise."""
    video = cv2.VideoCapture(str(path))
    fps = video.get(cv2.CAP_PROP_FPS)
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), fps, (480, 640))
    for _ in range(round(7 * fps)):
        good, picture = video.read()
        if good:
            writer.write(cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE))
    writer.release()
    video.release()
    return out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.mcap"], "no such recording or video"),
        (["TAKE", "--fov", "900"], "give degrees between 10 and 170"),
        (["TAKE", "--fov", "left=63"], "no camera left"),
        (["TAKE", "--fixed", "nothing.json"], "no such file"),
        (["TAKE", "--body-height", "176"], "body height 176 m is not a person's"),
        (["TAKE", "TAKE"], "give one recording, or videos"),
        (["TAKE", "--rate", "nan"], "--rate nan: must be above 0"),
        (["TAKE", "--rate", "20"], "--rate: is for videos"),
        (["TAKE", "--compare", "nothing.json"], "no such file"),
        (["TAKE", "--out", "rig.foo"], "rig.foo"),
        (["TAKE", "--report", "FILE/report"], "no folder"),
        (["TAKE", "--out", "FILE"], "exists already"),
        (["TAKE", "--rotate", "90"], "--rotate: is for videos"),
        (["CLIP", "CLIP", "--rotate", "45"], "give 90, 180 or 270"),
        (["CLIP", "CLIP", "--rotate", "left=90"], "no camera left; there are cam1, cam2"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    words: str,
    take: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = tmp_path / "there.json"
    there.write_text("a rig")
    named = {"TAKE": str(take), "CLIP": str(CLIP / "camera0.mp4"), "FILE": str(there)}
    given = [named.get(a, a.replace("FILE", str(there))) for a in arguments]
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "rig.json")]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["calibrate", *given, *out])
    assert main() == 2
    said = capsys.readouterr().err
    assert there.read_text() == "a rig"
    assert said.startswith("error: ")
    assert words in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "rig.json").exists()


def test_comparing_does_not_depend_on_the_world(scene: Scene) -> None:
    rig = scene.rig()
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    same = compare_rigs(move_rig(rig, quarter, np.array([1.0, 2, 3]), 0.5), rig)
    assert same.rotation_deg.max() < 1e-4 and same.position_m.max() < 1e-9
    assert same.scale == pytest.approx(2.0)
    lonely = Rig((rig.cameras[0], None, None, None), 20.0, "good", True, 1.7, rig.bone_lengths)
    with pytest.raises(UserError, match="fewer than two"):
        compare_rigs(lonely, rig)


def test_joints_are_compared_whatever_the_world(scene: Scene, take: Path) -> None:
    seen, rig = read_recording(take), scene.rig()
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    same = compare_joints(move_rig(rig, quarter, np.array([1.0, 2, 3]), 1.0), rig, seen)
    assert same.poses > 50 and same.worst_mm < 1.0 and same.take_mm < 1.0
    assert rig.cameras[0] is not None
    turn = exponential(np.radians(3) * np.array([0.6, 0.8, 0.0]))
    off = replace(rig.cameras[0], rotation=turn @ rig.cameras[0].rotation)
    wrong = compare_joints(replace(rig, cameras=(off, *rig.cameras[1:])), rig, seen)
    assert wrong.each_mm > 3.0 and wrong.take_mm > 3.0
    lonely = Rig((rig.cameras[0], None, None, None), 20.0, "good", True, 1.7, rig.bone_lengths)
    with pytest.raises(UserError, match="fewer than two poses"):
        compare_joints(lonely, rig, seen)
