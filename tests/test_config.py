"""Every mistake in a configuration is one line that names its place and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from app.config import (
    AppConfig,
    CameraConfig,
    FileSource,
    StreamSource,
    WebcamSource,
    load_config,
)
from app.config.stream_address import check_address, without_secrets
from engines.errors import UserError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
GOOD = """\
body_height_m: 1.8
cameras:
  - id: left
    source: {kind: webcam, device: 0}
  - id: right
    source:
      kind: file
      path: clip.mp4
front_end:
  kind: blazepose
"""


def _load(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    load_config(path)


def _error(tmp_path: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        _load(tmp_path, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_file_is_read_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD)
    config = load_config(path)
    assert [c.id for c in config.cameras] == ["left", "right"]
    source = config.cameras[1].source
    assert source.kind == "file"
    assert source.path == tmp_path / "clip.mp4"
    assert config.lifter.weights.name == "lifter.onnx"
    assert config.lifter.weights.is_absolute()


def test_networks_are_names_or_files_beside_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD)
    default = load_config(path).front_end
    assert (default.detector, default.pose) == ("shipped", "shipped")
    chosen_ones = "kind: yolo_cpn\n  detector: yolov3\n  pose: mine/cpn.onnx"
    path.write_text(GOOD.replace("kind: blazepose", chosen_ones))
    chosen = load_config(path).front_end
    assert chosen.detector == "yolov3"
    assert chosen.pose == str(tmp_path / "mine" / "cpn.onnx")
    shipped = "kind: yolo_cpn\n  pose: weights/pose2d.onnx"
    path.write_text(GOOD.replace("kind: blazepose", shipped))
    assert load_config(path).front_end.pose == str(CONFIGS.parent / "weights" / "pose2d.onnx")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("body_height_m: 1.8", "body_hight_m: 1.8", ["c.yaml:1", "did you mean 'body_height_m'"]),
        ("body_height_m: 1.8", "body_height_m: tall", ["c.yaml:1", "body_height_m", "'tall'"]),
        ("body_height_m: 1.8", "body_height_m: 18", ["c.yaml:1", "body_height_m", "less than"]),
        ("device: 0", "devise: 0", ["c.yaml:4", "cameras[0].source.de"]),
        ("device: 0", "device: 0, width: -5", ["c.yaml:4", "cameras[0].source.width", "-5"]),
        ("device: 0", "device: [1]", ["c.yaml:4", "cameras[0].source.device"]),
        ("kind: webcam", "kind: webcan", ["c.yaml:4", "did you mean 'webcam'"]),
        ("kind: webcam, ", "", ["c.yaml:4", "kind"]),
        ("id: right", "id: left", ["two cameras are called 'left'"]),
        ("id: right", "id: a/b", ["c.yaml:5", "cameras[1].id"]),
        ("kind: blazepose", "kind: blazpose", ["c.yaml:10", "front_end.kind", "blazepose"]),
        ("kind: blazepose", "knd: blazepose", ["c.yaml:10", "did you mean 'kind'"]),
        ("cameras:", "cams:", ["did you mean 'cameras'"]),
        ("      path: clip.mp4\n", "", ["cameras[1].source.path", "missing"]),
        ("path: clip.mp4", "path: clip.mp4\n      pace: fast", ["c.yaml:9", "pace", "'fast'"]),
        ("path: clip.mp4", "path: clip.mp4\n      pace: as_consumed", ["for all cameras or for"]),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in GOOD
    message = _error(tmp_path, GOOD.replace(old, new, 1))
    for word in words:
        assert word in message


def test_too_many_cameras_are_refused(tmp_path: Path) -> None:
    cameras = "".join(f"  - {{id: c{k}, source: {{kind: synthetic}}}}\n" for k in range(9))
    assert "cameras" in _error(tmp_path, "cameras:\n" + cameras)


@pytest.mark.parametrize(
    "text", ["", "- 1\n", "cameras: [\n", "a: b: c\n", "cameras: !!python/object:os.system x\n"]
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    assert "c.yaml" in _error(tmp_path, text)


def test_a_missing_file_a_folder_and_a_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such configuration file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_config(tmp_path)
    picture = tmp_path / "p.yaml"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(UserError, match="not a text file"):
        load_config(picture)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    assert "nested too deeply" in _error(tmp_path, "[" * 20000)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        load_config(path)
    except UserError as error:
        assert "\n" not in str(error).replace(str(path), "")


@pytest.mark.parametrize("name", sorted(p.name for p in CONFIGS.glob("*.yaml")))
def test_the_configurations_that_ship_are_valid(name: str) -> None:
    load_config(CONFIGS / name)


def test_the_demo_starts_each_video_at_its_own_phase() -> None:
    clip = yaml.safe_load((CONFIGS.parent / "capture" / "clips" / "walk" / "clip.yaml").read_text())
    starts = {camera["file"]: camera["start_s"] for camera in clip["cameras"]}
    config = load_config(CONFIGS / "demo.yaml")
    assert config.body_height_m == pytest.approx(clip["stature_m"])
    for camera in config.cameras:
        assert camera.source.kind == "file"
        # A file's own times begin at 0; a negative start puts them where they were on the clock.
        assert -camera.source.start_s == pytest.approx(starts[camera.source.path.name], abs=1e-6)


CAMERA = "cameras: [{{id: door, source: {{kind: stream, url: '{url}'}}}}]\n"


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://192.168.1.2:99999/stream",
        "rtsp://admin:pa#s3cret@192.168.1.2/stream",
        "rtsp://admin:s3cret/x@192.168.1.2/stream",
        "rtsp://",
        "rtp://admin:s3cret@192.168.1.2/stream",
    ],
)
def test_a_wrong_address_is_one_line_that_tells_no_password(tmp_path: Path, url: str) -> None:
    line = _error(tmp_path, CAMERA.format(url=url))
    assert "cameras[0].source.url" in line
    assert "s3cret" not in line and "admin" not in line


@given(
    user=st.text("abc%40", max_size=5),
    host=st.from_regex(r"[a-z][a-z0-9-]{0,8}(\.[a-z]{2,3})?", fullmatch=True),
    port=st.none() | st.integers(1, 65535),
    path=st.from_regex(r"(/[a-z0-9_.]{0,6}){0,3}", fullmatch=True),
)
def test_addresses_are_told_without_user_password_and_query(
    user: str, host: str, port: int | None, path: str
) -> None:
    place = f"{host}:{port}" if port else host
    url = check_address(f"rtsp://{user}:S3CRET@{place}{path}?token=S3CRET")
    assert without_secrets(url) == f"rtsp://{place}{path}"


def test_own_folders_come_before_those_of_the_program(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD.replace("clip.mp4", "capture/clips/walk/camera0.mp4"))

    def source() -> Path:
        found = load_config(path).cameras[1].source
        assert found.kind == "file"
        return found.path

    own = tmp_path / "capture" / "clips" / "walk" / "camera0.mp4"
    assert source() == CONFIGS.parent / "capture" / "clips" / "walk" / "camera0.mp4"
    own.parent.mkdir(parents=True)
    own.touch()
    assert source() == own
    path.write_text(GOOD.replace("clip.mp4", "capture/mine.mp4"))
    assert source() == tmp_path / "capture" / "mine.mp4"  # where the user looks for it


def _documented() -> dict[str, tuple[str, str]]:
    """Keys of docs/settings.md under their section, with what holds if they are left out."""
    rows: dict[str, tuple[str, str]] = {}
    section = ""
    for line in (CONFIGS.parent / "docs" / "settings.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) < 3 or set(cells[0]) == {"-"} or cells[1] in ("if left out", "key"):
            continue
        if cells[0].startswith("**"):
            section = cells[0].strip("*").split("`")[1]
            continue
        if len(cells) == 4:  # a source
            section = cells[0].strip("`") or section
            cells = cells[1:]
        keys = [key.strip("` ") for key in cells[0].split(",")]
        values = [value.strip("` ") for value in cells[1].split(",")]
        for number, key in enumerate(keys):
            rows[f"{section}.{key}"] = (section, values[number % len(values)])
    return rows


def test_every_setting_is_documented_with_its_default() -> None:
    documented = _documented()
    sections: dict[str, type[BaseModel]] = {
        "": AppConfig,
        "cameras": CameraConfig,
        "webcam": WebcamSource,
        "file": FileSource,
        "stream": StreamSource,
    }
    for name, field in AppConfig.model_fields.items():
        if isinstance(field.default, BaseModel):
            sections[name] = type(field.default)
    there = set()
    for section, model in sections.items():
        for name, field in model.model_fields.items():
            if name in sections or (name == "kind" and section in ("webcam", "file", "stream")):
                continue
            there.add(f"{section}.{name}")
            said = documented[f"{section}.{name}"][1]
            if field.is_required():
                assert said == "must be given", name
            elif field.default is None:
                assert said == "–", name
            else:
                shown = str(field.default)
                shown = shown.lower() if isinstance(field.default, bool) else shown or '""'
                assert said == shown, f"{section}.{name}"
    assert {key for key in documented if not key.startswith("synthetic")} == there


@pytest.mark.parametrize(
    ("cameras", "text", "says"),
    [
        (1, "calibration: {fixed: rig.json}", "'calibration.fixed' does nothing with a single"),
        (2, "calibration: {enabled: false, lenses: rig.toml}", "calibration.enabled: false"),
        (2, "front_end: {kind: blazepose, detector: yolov3}", "'front_end.detector' is for"),
        (2, "front_end:\n  kind: blazepose\n  flip_test: true", "'front_end.flip_test' is for"),
    ],
)
def test_what_would_be_ignored_is_told(tmp_path: Path, cameras: int, text: str, says: str) -> None:
    lines = ["cameras:"]
    lines += [f"  - {{id: c{n}, source: {{kind: webcam, device: {n}}}}}" for n in range(cameras)]
    error = _error(tmp_path, "\n".join([*lines, text]))
    assert says in error
    line = len(lines) + text.count("\n") + 1
    assert error.startswith(f"{tmp_path / 'c.yaml'}:{line}: ")
