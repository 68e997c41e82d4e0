"""Rig files: the project's own and other programs', there and back, and hostile ones."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.errors import UserError
from engines.rig.exchange import FORMATS, RigFormat, load_rig, match_cameras, save_rig
from engines.rig.pixel_cameras import to_pixel_cameras
from engines.rig.projection import project
from engines.rig.rig_file import MAX_BYTES, rig_from_json, rig_to_json
from engines.rig.rotations import exponential
from engines.rig.types import CameraModel, Floats, Rig, RigCamera
from tests.rig_scenes import SceneOptions, make_scene

_ENDINGS = {"own": "rig.json", "opencv": "rig.yml", "easymocap": "folder"}


def _rig(seed: int = 0, views: int = 3) -> Rig:
    scene = make_scene(SceneOptions(seed=seed, seconds=1, views=views))
    rig = scene.rig()
    rng = np.random.default_rng(seed)
    cameras = []
    for camera in rig.cameras:
        assert camera is not None
        spread = rng.normal(0, 1e-3, (9, 9))
        model = replace(camera.model, principal=(0.01, -0.02))
        cameras.append(replace(camera, model=model, covariance=spread @ spread.T))
    return replace(rig, cameras=tuple(cameras))


def _path(folder: Path, kind: RigFormat) -> Path:
    return folder / _ENDINGS.get(kind, "Calib.toml")


def _pixels(xy: Floats, model: CameraModel) -> Floats:
    """Half-width units to pixels."""
    middle = np.array([1.0, model.height / model.width])
    return np.asarray((xy + middle) * model.width / 2)


def _same(a: RigCamera | None, b: RigCamera | None, tolerance: float) -> None:
    assert a is not None and b is not None
    assert a.id == b.id
    np.testing.assert_allclose(a.rotation, b.rotation, atol=tolerance)
    np.testing.assert_allclose(a.position, b.position, atol=tolerance)
    assert a.model.focal == pytest.approx(b.model.focal, abs=tolerance)
    assert a.model.k1 == pytest.approx(b.model.k1, abs=tolerance)
    assert a.model.principal == pytest.approx(b.model.principal, abs=tolerance)
    assert (a.model.width, a.model.height) == (b.model.width, b.model.height)


@pytest.mark.parametrize("kind", FORMATS)
def test_there_and_back(kind: RigFormat, tmp_path: Path) -> None:
    rig = _rig()
    written = save_rig(rig, _path(tmp_path, kind), kind)
    assert all(path.is_file() for path in written)
    back, notes = load_rig(_path(tmp_path, kind), kind)
    assert notes == (("lengths are taken as millimetres",) if kind == "freemocap" else ())
    for a, b in zip(rig.cameras, back.cameras, strict=True):
        _same(a, b, 1e-9)


@pytest.mark.parametrize("kind", ["anipose", "pose2sim", "freemocap", "caliscope"])
@pytest.mark.parametrize("levelled", [True, False])
def test_whose_toml_it_is_is_told_from_inside(
    kind: RigFormat, levelled: bool, tmp_path: Path
) -> None:
    """Only some programs' worlds have z up: the others' must not be taken for level."""
    path = tmp_path / "calibration.toml"
    save_rig(replace(_rig(), levelled=levelled), path, kind)
    guessed, told = load_rig(path)[0], load_rig(path, kind)[0]
    assert guessed.levelled == told.levelled
    assert told.levelled == (kind == "pose2sim" or (kind == "freemocap" and levelled))
    assert [c.id for c in guessed.cameras if c] == [c.id for c in told.cameras if c]


@pytest.mark.parametrize("kind", FORMATS)
def test_exported_rigs_triangulate_to_the_same_joints_in_opencv(
    kind: RigFormat, tmp_path: Path
) -> None:
    """Within a millimetre, for every pair of cameras, from pixels."""
    scene = make_scene(SceneOptions(seed=2, seconds=1))
    rig = scene.rig()
    save_rig(rig, _path(tmp_path, kind), kind)
    cameras = to_pixel_cameras(load_rig(_path(tmp_path, kind), kind)[0])
    joints = scene.joints[5]
    seen, matrices = [], []
    for camera, theirs in zip(rig.cameras, cameras, strict=True):
        assert camera is not None
        model = camera.model
        xy = project((joints - camera.position) @ camera.rotation.T, model.focal, model.k1)
        pixels = _pixels(xy, model)
        straight = cv2.undistortPoints(pixels[:, None], theirs.matrix, theirs.distortion)
        seen.append(straight[:, 0].T)
        matrices.append(np.concatenate([theirs.rotation, theirs.translation[:, None]], 1))
    for a in range(4):
        for b in range(a + 1, 4):
            found = cv2.triangulatePoints(matrices[a], matrices[b], seen[a], seen[b])
            error = np.linalg.norm((found[:3] / found[3]).T - joints, axis=-1)
            assert error.max() < 1e-3


def test_own_file_keeps_everything(tmp_path: Path) -> None:
    rig = replace(_rig(), cameras=(*_rig().cameras[:2], None))
    path = tmp_path / "rig.json"
    save_rig(rig, path)
    back, _ = load_rig(path)
    assert back.cameras[2] is None and back.known == (0, 1)
    assert (back.quality, back.levelled, back.body_height_m) == ("good", True, rig.body_height_m)
    assert back.expected_error_mm == rig.expected_error_mm
    assert back.rig_error_mm == rig.rig_error_mm
    np.testing.assert_array_equal(back.bone_lengths, rig.bone_lengths)
    for a, b in zip(rig.cameras[:2], back.cameras[:2], strict=True):
        assert a is not None and b is not None
        np.testing.assert_allclose(a.covariance, b.covariance, atol=1e-15)
        assert (a.time_offset_s, a.noise) == (b.time_offset_s, b.noise)


@settings(max_examples=40)
@given(
    st.floats(0.3, 5),
    st.floats(-0.3, 0.3),
    st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3)),
    st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(-9, 9)),
    st.floats(-0.05, 0.05),
)
def test_own_file_is_exact(
    focal: float,
    k1: float,
    turn: tuple[float, float, float],
    place: tuple[float, float, float],
    offset: float,
) -> None:
    camera = RigCamera(
        id="a",
        model=CameraModel(focal, (0.1, -0.1), k1, 1280, 720),
        rotation=exponential(np.array(turn)),
        position=np.array(place),
        time_offset_s=offset,
        covariance=np.eye(9) * 1e-4,
    )
    rig = Rig((camera,), 12.0, "fair", False, 1.8, np.zeros(0))
    back = rig_from_json(rig_to_json(rig), "x").cameras[0]
    assert back is not None and back.model == camera.model
    np.testing.assert_array_equal(back.rotation, camera.rotation)
    np.testing.assert_array_equal(back.position, camera.position)


def test_opencv_itself_reads_the_yaml(tmp_path: Path) -> None:
    rig = _rig()
    (path,) = save_rig(rig, tmp_path / "rig.yml")
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    cameras = storage.getNode("cameras")
    assert cameras.size() == 3 == int(storage.getNode("camera_count").real())
    first = rig.cameras[1]
    assert first is not None
    node = cameras.at(1)
    assert node.getNode("name").string() == "cam1"
    np.testing.assert_allclose(node.getNode("rotation_matrix").mat(), first.rotation)
    intri, extri = save_rig(rig, tmp_path / "em", "easymocap")
    storage = cv2.FileStorage(str(intri), cv2.FILE_STORAGE_READ)
    assert storage.getNode("K_cam1").mat().shape == (3, 3)
    assert storage.getNode("dist_cam1").mat().shape == (1, 5)
    storage = cv2.FileStorage(str(extri), cv2.FILE_STORAGE_READ)
    vector = storage.getNode("R_cam1").mat()
    np.testing.assert_allclose(cv2.Rodrigues(vector)[0], first.rotation, atol=1e-12)
    np.testing.assert_allclose(
        storage.getNode("T_cam1").mat().ravel(), -first.rotation @ first.position
    )


def _anipose(**changes: object) -> str:
    """A file as Pose2Sim writes it, with made-up numbers."""
    table = {
        "name": "int_cam1_img",
        "size": [1088.0, 1920.0],
        "matrix": [[1600.0, 0.0, 540.0], [0.0, 1602.0, 960.0], [0.0, 0.0, 1.0]],
        "distortions": [-0.04, 0.12, 0.003, -0.002],
        "rotation": [1.2, 0.4, -0.3],
        "translation": [0.1, 0.9, 3.0],
        "fisheye": False,
    }
    second = {**table, "name": "int_cam2_img", "rotation": [1.0, 1.5, -1.0]}
    return tomli_w.dumps(
        {"cam_01": {**table, **changes}, "cam_02": second, "metadata": {"adjusted": False}}
    )


def test_a_foreign_lens_is_simplified_and_said(tmp_path: Path) -> None:
    path = tmp_path / "Calib.toml"
    path.write_text(_anipose())
    rig, notes = load_rig(path)
    assert rig.levelled and rig.quality == "fair"
    assert any("its lens is simplified" in note for note in notes)
    camera = rig.cameras[0]
    assert camera is not None
    # The simplified lens still sees the middle of the picture where the real one does.
    point = np.array([[0.05, 0.08, 1.0]])
    real = cv2.projectPoints(
        point,
        np.zeros(3),
        np.zeros(3),
        np.array([[1600.0, 0, 540], [0, 1602.0, 960], [0, 0, 1]]),
        np.array([-0.04, 0.12, 0.003, -0.002]),
    )[0].ravel()
    model = camera.model
    xy = project(point, model.focal, model.k1)[0] + model.principal
    ours = _pixels(xy, model)
    assert np.abs(ours - real).max() < 3.0


def test_freemocap_millimetres_and_older_caliscope(tmp_path: Path) -> None:
    path = tmp_path / "freemocap_camera_calibration.toml"
    path.write_text(_anipose(translation=[100.0, -900.0, 3000.0]))
    rig, notes = load_rig(path, "freemocap")
    assert notes[0] == "lengths are taken as millimetres"
    assert not rig.levelled
    matrix = exponential(np.array([0.3, 0.2, 0.1])).tolist()
    table = {
        "port": 2,
        "size": [1280, 720],
        "rotation_count": 0,
        "error": 0.2,
        "matrix": [[900.0, 0, 640.0], [0, 900.0, 360.0], [0, 0, 1.0]],
        "distortions": [0.0, 0.0, 0.0, 0.0, 0.0],
        "translation": [0.1, 0.2, 1.5],
        "rotation": matrix,
        "exposure": -6.0,
    }
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps({"cam_2": table, "charuco": {"columns": 4}}))
    rig, _ = load_rig(path, "caliscope")
    camera = rig.cameras[0]
    assert camera is not None and camera.id == "cam_2"
    np.testing.assert_allclose(camera.rotation, matrix, atol=1e-9)
    assert camera.model.focal == pytest.approx(900 / 640)


def test_easymocap_without_picture_sizes(tmp_path: Path) -> None:
    rig = _rig()
    intri, _ = save_rig(rig, tmp_path / "em", "easymocap")
    lines = intri.read_text().splitlines()
    intri.write_text("\n".join(line for line in lines if not line.startswith(("H_", "W_"))))
    _, notes = load_rig(tmp_path / "em" / "extri.yml")
    assert len(notes) == 3 and all("no picture size" in note for note in notes)


_HOSTILE: dict[str, tuple[str, str]] = {
    "empty": ("Calib.toml", ""),
    "not toml": ("Calib.toml", "[cam_0\nname ="),
    "no cameras": ("Calib.toml", "[metadata]\nerror = 0.0\n"),
    "deep toml": ("Calib.toml", "a = " + "[" * 3000 + "]" * 3000),
    "nan": ("Calib.toml", _anipose(translation=[float("nan"), 0.0, 0.0])),
    "infinite focal": (
        "Calib.toml",
        _anipose(matrix=[[float("inf"), 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]),
    ),
    "negative focal": (
        "Calib.toml",
        _anipose(matrix=[[-900.0, 0.0, 1.0], [0.0, -900.0, 1.0], [0.0, 0.0, 1.0]]),
    ),
    "no rotation": ("Calib.toml", _anipose(rotation=[[1.0, 0, 0], [0, 2.0, 0], [0, 0, 1.0]])),
    "mirrored": ("Calib.toml", _anipose(rotation=[[1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0]])),
    "words for numbers": ("Calib.toml", _anipose(translation=["a", "b", "c"])),
    "ragged": ("Calib.toml", _anipose(matrix=[[1.0, 0.0], [0.0], [0.0, 0.0, 1.0]])),
    "fisheye": ("Calib.toml", _anipose(fisheye=True)),
    "huge picture": ("Calib.toml", _anipose(size=[1e9, 1e9])),
    "huge number": ("Calib.toml", "[cam_0]\nmatrix = [" + "9" * 400 + "]\nrotation=[1]\n"),
    "many distortions": ("Calib.toml", _anipose(distortions=[0.0] * 40)),
    "same names": ("Calib.toml", _anipose(name="int_cam2_img")),
    "yaml without cameras": ("rig.yml", "%YAML:1.0\n---\nnames: [a]\n"),
    "yaml tag": ("rig.yml", "%YAML:1.0\n---\ncameras: !!python/object/apply:os.system ['true']\n"),
    "yaml anchors": ("rig.yml", "a: &a [1]\ncameras: [*a, *a]\n"),
    "deep yaml": ("rig.yml", "[" * 5000),
    "yaml list": ("rig.yml", "- 1\n- 2\n"),
    "yaml matrix of nothing": (
        "rig.yml",
        "cameras:\n - camera_matrix: !!opencv-matrix {rows: 3, cols: 3, dt: d, data: []}",
    ),
    "yaml huge matrix": (
        "rig.yml",
        "cameras:\n - camera_matrix: !!opencv-matrix {rows: 99999999, cols: 3, data: [1]}",
    ),
    "yaml matrix tag on a list": ("rig.yml", "cameras: !!opencv-matrix [1, 2]"),
    "json": ("rig.json", "{"),
    "json of something else": ("rig.json", '{"format": "other"}'),
    "json deep": ("rig.json", "[" * 100000),
    "unknown ending": ("rig.bin", "x"),
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_bad_files_get_one_line(name: str, tmp_path: Path) -> None:
    file, text = _HOSTILE[name]
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_rig(path)
    line = str(caught.value)
    assert "\n" not in line and file in line and len(line) < 400


def _broken(changes: dict[str, object], camera: dict[str, object] | None = None) -> bytes:
    data = json.loads(rig_to_json(_rig()))
    data.update(changes)
    data["cameras"][0].update(camera or {})
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_broken({"extra": 1}), "extra"),
        (_broken({"version": 2}), "version"),
        (_broken({"quality": "superb"}), "quality"),
        (_broken({"units": "feet"}), "units"),
        (_broken({"body_height_m": -1}), "body_height_m"),
        (_broken({"bone_lengths": [1, 2]}), "bone_lengths"),
        (_broken({}, {"rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 2]]}), "not a rotation"),
        (_broken({}, {"focal": 0}), "focal"),
        (_broken({}, {"width": 10**9}), "width"),
        (_broken({}, {"focal": 1e-200}), "focal"),
        (_broken({}, {"noise": 1e-300}), "noise"),
        (_broken({}, {"principal": [1e300, 0]}), "principal"),
        (_broken({}, {"covariance": [[1]]}), "covariance"),
        (_broken({}, {"position": [1e9, 0, 0]}), "impossible"),
        (_broken({}, {"id": "cam1"}), "same id"),
        (_broken({}, {"k1": "straight"}), "k1"),
        (b"x" * (MAX_BYTES + 1), "too large"),
        (b"\xff\xfe", "give a rig file"),
    ],
)
def test_own_file_is_checked_strictly(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rig_from_json(data, "rig.json")


@pytest.mark.parametrize("value", [".nan", ".inf", "-5", "0"])
def test_pictures_of_no_possible_size_are_refused(value: str, tmp_path: Path) -> None:
    intri, _ = save_rig(_rig(), tmp_path / "em", "easymocap")
    name = next(c.id for c in _rig().cameras if c is not None)
    intri.write_text(intri.read_text() + f"H_{name}: {value}\nW_{name}: 640\n")
    with pytest.raises(UserError, match="picture size"):
        load_rig(tmp_path / "em")


@pytest.mark.parametrize("centre", [0.0, -320.0])
def test_where_no_size_is_given_the_centre_must_make_one(centre: float, tmp_path: Path) -> None:
    path = tmp_path / "calibration.toml"
    save_rig(_rig(), path, "anipose")
    text = re.sub(r"^size = \[.*?\]\n", "", path.read_text(), flags=re.S | re.M)
    first_row = r"(matrix = \[\s*\[\s*[\d.]+,\s*[\d.]+,\s*)[\d.]+"
    path.write_text(re.sub(first_row, rf"\g<1>{centre}", text))
    with pytest.raises(UserError, match="picture size"):
        load_rig(path)


def test_missing_and_unwritable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_rig(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"no such file"):
        load_rig(tmp_path)  # a folder counts as EasyMocap's
    blocker = tmp_path / "file"
    blocker.write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        save_rig(_rig(), blocker / "rig.json")


def test_saving_over_a_file_leaves_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "rig.json"
    save_rig(_rig(0), path)
    save_rig(_rig(1), path)
    assert [p.name for p in tmp_path.iterdir()] == ["rig.json"]
    _same(load_rig(path)[0].cameras[0], _rig(1).cameras[0], 1e-12)


def test_cameras_are_matched_by_name_then_by_number() -> None:
    rig = _rig()
    turned = match_cameras(rig, ["cam2", "new", "cam0"], "rig.json")
    assert [c.id if c else None for c in turned.cameras] == ["cam2", None, "cam0"]
    renamed = match_cameras(rig, ["left", "right", "top"], "rig.json")
    assert [c.id for c in renamed.cameras if c] == ["left", "right", "top"]
    with pytest.raises(UserError, match="not those of the configuration"):
        match_cameras(rig, ["left", "right"], "rig.json")
