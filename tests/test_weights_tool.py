"""``python -m tools.weights``: list, fetch, import, verify, with real files and a real server."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from engines.backends.select import open_backend
from engines.errors import UserError
from engines.front_ends.blazepose.models import WEIGHTS as BLAZEPOSE
from engines.model_files import SHIPPED_FOLDER, export_of, find_model
from engines.networks.cpn import Cpn, CpnSize
from engines.networks.darknet import Darknet
from engines.networks.darknet_cfg import parse_cfg
from engines.networks.darknet_weights import save_darknet
from marker_networks import DETECTOR_CFG
from tools.download import download
from tools.weights_import import import_model
from tools.weights_registry import FileEntry, ModelEntry, condition, read_registry

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class Server:
    """A web server that can break off, lose its ranges, or give web pages instead."""

    content: dict[str, bytes] = field(default_factory=dict)
    break_after: int | None = None
    ranges: bool = True
    kind: str = "application/octet-stream"
    requests: list[str | None] = field(default_factory=list)
    port: int = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.requests.append(wanted)
            content = state.content.get(self.path[1:])
            if content is None:
                self.send_error(404, "Not Found")
                return
            start = 0
            if wanted and state.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", state.kind)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            self.wfile.write(body if state.break_after is None else body[: state.break_after])

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = httpd.server_address[1]
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join(10)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DSVT_CACHE", str(folder))
    return folder


@pytest.fixture
def marker(tmp_path: Path) -> tuple[Path, Path]:
    """A small detector as a Darknet pair."""
    cfg, weights = tmp_path / "marker.cfg", tmp_path / "marker.weights"
    cfg.write_text(DETECTOR_CFG, encoding="utf-8")
    torch.manual_seed(0)
    save_darknet(Darknet(parse_cfg(DETECTOR_CFG, "marker")), weights)
    return cfg, weights


def entry_of(files: list[FileEntry], format: str = "darknet", **more: str) -> ModelEntry:
    texts = {"purpose": "a test", "origin": "nowhere", "licence": "none"}
    return ModelEntry.model_validate({**texts, "format": format, "files": files, **more})


def tool(cache: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.weights", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "DSVT_CACHE": str(cache), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- download ----------------------------------------------------------------------------------


CONTENT = bytes(range(256)) * 1500


def test_download_brings_the_file(server: Server, tmp_path: Path) -> None:
    server.content["a.weights"] = CONTENT
    path = tmp_path / "a.weights"
    download(server.url("a.weights"), path, len(CONTENT), sha256(CONTENT), Console(quiet=True))
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.content["a.weights"] = CONTENT
    path = tmp_path / "a.weights"
    arguments = (server.url("a.weights"), path, len(CONTENT), sha256(CONTENT))
    server.break_after = 100_000
    with pytest.raises(UserError, match="run the same command again to go on"):
        download(*arguments, Console(quiet=True))
    have = (tmp_path / "a.weights.part").stat().st_size
    assert 0 < have <= 100_000
    server.break_after = None
    download(*arguments, Console(quiet=True))
    assert path.read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={have}-"]


def test_download_starts_over_where_the_server_knows_no_ranges(
    server: Server, tmp_path: Path
) -> None:
    server.content["a.weights"] = CONTENT
    server.ranges = False
    path = tmp_path / "a.weights"
    path.with_name("a.weights.part").write_bytes(CONTENT[:777])
    download(server.url("a.weights"), path, len(CONTENT), sha256(CONTENT), Console(quiet=True))
    assert path.read_bytes() == CONTENT


def test_wrong_content_is_refused_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.content["a.weights"] = CONTENT[::-1]
    with pytest.raises(UserError, match="nothing was kept") as error:
        download(
            server.url("a.weights"),
            tmp_path / "a.weights",
            len(CONTENT),
            sha256(CONTENT),
            Console(quiet=True),
        )
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_web_page_or_another_size_is_refused(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a.weights"
    server.content["a.weights"] = CONTENT
    for kind, size in (("text/html", len(CONTENT)), ("application/octet-stream", 5)):
        server.kind = kind
        with pytest.raises(UserError, match="does not give the file any more"):
            download(server.url("a.weights"), path, size, "0" * 64, Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_unreachable_addresses_are_named(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a.weights"
    with pytest.raises(UserError, match="answers 404"):
        download(server.url("no"), path, 5, "0" * 64, Console(quiet=True))
    with pytest.raises(UserError, match=r"cannot download http://127\.0\.0\.1:1/"):
        download("http://127.0.0.1:1/x", path, 5, "0" * 64, Console(quiet=True))
    with pytest.raises(UserError, match="neither http nor https"):
        download(f"file://{__file__}", path, 5, "0" * 64, Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


# --- the command -------------------------------------------------------------------------------


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


# --- import ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the public format: ``module.`` names, an optimiser beside the weights."""
    torch.manual_seed(0)
    state = Cpn(CpnSize(50, 256, 192)).state_dict()
    renamed = {
        f"module.{name}": value
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }
    path = tmp_path_factory.mktemp("cpn") / "CPN50_256x192.pth.tar"
    torch.save({"state_dict": renamed, "epoch": 32, "optimizer": {"lr": 5e-4}}, path)
    return path


def _cpn() -> ModelEntry:
    return read_registry()["cpn50-256x192"]


def test_a_public_checkpoint_is_taken_in(cache: Path, checkpoint: Path) -> None:
    said: list[str] = []
    path = import_model("cpn50-256x192", _cpn(), [checkpoint], said.append)
    assert path == find_model("cpn50-256x192")
    half = export_of(path, "fp16")
    assert half.name == "cpn50-256x192.fp16.onnx" and half.is_file()
    assert condition("cpn50-256x192", _cpn()).state == "ready"
    backend = open_backend(path, "torch", 1)
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    kept = backend._network.inner.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(kept[name.removeprefix("module.")], weights[name]) for name in weights)
    note = json.loads((cache / "weights" / "cpn50-256x192.json").read_text(encoding="utf-8"))
    assert note["sources"] == {checkpoint.name: sha256(checkpoint.read_bytes())}


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def test_bad_checkpoints_are_refused_and_leave_nothing(
    cache: Path, checkpoint: Path, tmp_path: Path
) -> None:
    good = torch.load(checkpoint, weights_only=True)
    state = good["state_dict"]
    name = "module.resnet.conv1.weight"
    victim = tmp_path / "victim"
    bad = tmp_path / "bad.pth.tar"
    cases: list[tuple[str, object]] = [
        ("no readable checkpoint", checkpoint.read_bytes()[:-20_000]),
        ("no readable checkpoint", b"not a checkpoint at all"),
        ("no readable checkpoint", pickle.dumps({"state_dict": _Bomb(victim)})),
        ("no readable checkpoint", {"state_dict": _Bomb(victim)}),
        ("no table of arrays ('state_dict')", {"state_dict": {"a": 3}}),
        ("no table of arrays ('state_dict')", [1, 2]),
        ("lacks 'resnet.conv1.weight'", {k: v for k, v in state.items() if k != name}),
        ("has unknown 'fc.weight'", {**state, "module.fc.weight": torch.zeros(1)}),
        ("has shape (64, 3, 3, 3)", {**state, name: torch.zeros(64, 3, 3, 3)}),
        ("not finite", {**state, name: state[name] * torch.inf}),
    ]
    for words, content in cases:
        if isinstance(content, bytes):
            bad.write_bytes(content)
        elif isinstance(content, dict) and any(str(k).startswith("module.") for k in content):
            torch.save({"state_dict": content}, bad)
        else:
            torch.save(content, bad)
        with pytest.raises(UserError) as error:
            import_model("cpn50-256x192", _cpn(), [bad], lambda _: None)
        assert words in str(error.value), (words, str(error.value))
        assert "weights_only" not in str(error.value)  # torch's advice is to run the code
        assert "\n" not in str(error.value)
    assert not victim.exists()
    assert not cache.exists() or list(cache.rglob("*")) in ([], [cache / "weights"])


def test_a_wrong_hash_is_refused(cache: Path, marker: tuple[Path, Path]) -> None:
    cfg, weights = marker
    entry = entry_of([FileEntry(name="other.weights", sha256="0" * 64)])
    with pytest.raises(UserError, match=r"marker\.weights is not other\.weights"):
        import_model("marker", entry, [weights, cfg], lambda _: None)
    assert not cache.exists()


def test_a_darknet_file_needs_its_structure(cache: Path, marker: tuple[Path, Path]) -> None:
    cfg, weights = marker
    entry = entry_of([FileEntry(name="any.weights")])
    with pytest.raises(UserError, match=r"give the \.cfg file too"):
        import_model("marker", entry, [weights], lambda _: None)
    with pytest.raises(UserError, match=r"give one \.weights file"):
        import_model("marker", entry, [cfg], lambda _: None)
    built_in = entry_of([FileEntry(name="any.weights")], network="yolov3-tiny")
    with pytest.raises(UserError, match="ends within convolution 1"):
        import_model("marker", built_in, [weights], lambda _: None)
    assert not cache.exists()


# --- the registry ------------------------------------------------------------------------------


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
