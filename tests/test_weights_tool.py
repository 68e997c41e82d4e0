"""``python -m tools.weights``: list, fetch and verify, and the registry itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from engines.backends.select import open_backend
from engines.errors import UserError
from engines.front_ends.blazepose.models import WEIGHTS as BLAZEPOSE
from engines.model_files import SHIPPED_FOLDER, find_model
from tests.web_server import Server
from tests.weight_files import save_marker, sha256, tool
from tools.weights_registry import condition, read_registry


@pytest.fixture
def marker(tmp_path: Path) -> tuple[Path, Path]:
    return save_marker(tmp_path)


def test_fetch_verify_and_run(
    cache: Path, server: Server, marker: tuple[Path, Path], tmp_path: Path
) -> None:
    files = []
    for path in marker:
        content = path.read_bytes()
        server.content[path.name] = content
        files.append(
            {
                "name": path.name,
                "size": len(content),
                "sha256": sha256(content),
                "url": server.url(path.name),
            }
        )
    registry = tmp_path / "registry.yaml"
    text = {"purpose": "a test", "origin": "nowhere", "licence": "none"}
    models = {"marker": {**text, "format": "darknet", "files": files}}
    registry.write_text(yaml.safe_dump({"models": models}), encoding="utf-8")

    listed = tool(cache, "list", "--registry", registry)
    assert listed.returncode == 0, listed.stderr
    assert "marker" in listed.stdout and "fetch it" in listed.stdout

    fetched = tool(cache, "fetch", "marker", "--registry", registry)
    assert fetched.returncode == 0, fetched.stderr
    assert "marker is ready" in fetched.stdout
    names = sorted(path.name for path in (cache / "weights").iterdir())
    expected = ["marker.fp16.onnx", "marker.json", "marker.onnx", "marker.safetensors"]
    assert [name for name in names if not name.startswith(".")] == expected
    assert list((cache / "downloads").iterdir()) == []

    backend = open_backend(cache / "weights" / "marker.onnx", "onnxruntime", 1)
    assert backend.metadata["dsvt.name"] == "marker"
    assert tool(cache, "verify", "marker", "--registry", registry).returncode == 0

    (cache / "weights" / "marker.onnx").write_bytes(b"changed")
    verified = tool(cache, "verify", "--registry", registry)
    assert verified.returncode == 1
    assert "marker: damaged" in verified.stdout


def test_what_has_no_address_is_explained(cache: Path) -> None:
    done = tool(cache, "fetch", "cpn50-256x192")
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    for words in (
        "CPN50_256x192.pth.tar",
        "github.com/GengDavid/pytorch-cpn",
        "tools.weights import",
    ):
        assert words in lines[0]


def test_unknown_names_and_files_are_named(cache: Path, tmp_path: Path) -> None:
    for arguments, words in (
        (("fetch", "yolov9"), "unknown weights 'yolov9' (known: "),
        (("import", "yolov3", tmp_path / "no.weights"), "file not found"),
        (("list", "--registry", tmp_path / "no.yaml"), "cannot read"),
    ):
        done = tool(cache, *arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_a_registry_cannot_name_files_elsewhere(cache: Path, tmp_path: Path) -> None:
    text = {"purpose": "a", "origin": "b", "licence": "c", "format": "darknet"}
    for name, file in (("../evil", "a.weights"), ("good", "../a.weights"), ("/evil", "a.weights")):
        registry = tmp_path / "registry.yaml"
        models = {name: {**text, "files": [{"name": file}]}}
        registry.write_text(yaml.safe_dump({"models": models}), encoding="utf-8")
        done = tool(cache, "list", "--registry", registry)
        assert done.returncode == 2
        assert "is no registry of weights" in done.stderr


def test_the_registry_agrees_with_the_code() -> None:
    registry = read_registry()
    files = {file.name: file for entry in registry.values() for file in entry.files}
    for known in BLAZEPOSE:
        assert files[known.name].size == known.size
        assert files[known.name].sha256 == known.sha256
    for name, entry in registry.items():
        shipped = [SHIPPED_FOLDER / file.name for file in entry.files]
        if entry.format == "shipped" and any(path.exists() for path in shipped):
            assert condition(name, entry).state == "ready", name
        assert entry.format in ("shipped", "tflite") or entry.fetchable or entry.by_hand, name
    assert registry["yolov3"].files[0].size == 20 + 4 * 62_001_757


def test_the_registry_is_right_about_yolo_fastest(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "yolo_fastest"
    for entry in read_registry().values():
        for file in entry.files:
            path = folder / file.name
            if path.is_file():
                assert (file.size, file.sha256) == (path.stat().st_size, sha256(path.read_bytes()))


def test_find_model_says_how_to_get_what_is_not_there(cache: Path) -> None:
    with pytest.raises(UserError, match=r"network 'yolov3' is neither in .*tools\.weights list"):
        find_model("yolov3")
    with pytest.raises(UserError, match="network not found"):
        find_model("some/where.onnx")
    assert find_model("lifter").name == "lifter.onnx"
