"""The TensorRT code: every name exists in TensorRT 10 and 11; nothing is touched without a GPU.

The code annotates each TensorRT object (``builder: trt.Builder``), so that this test can look up
each attribute that is used of it in the lists of documented names.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engines.backends import tensorrt_cache
from engines.backends.device import find_gpu, tensorrt_obstacle
from engines.backends.select import open_backend
from engines.backends.tensorrt_backend import output_shape
from engines.backends.tensorrt_build import keep_timing
from engines.backends.tensorrt_cache import EngineKey
from engines.errors import UserError

BACKENDS = Path(__file__).resolve().parents[1] / "engines" / "backends"
SOURCES = sorted(BACKENDS.glob("tensorrt_*.py"))
MODULE_NAMES = ("trt", "tensorrt")


class _Names(ast.NodeVisitor):
    """Collects ``Class.attribute`` for every use of a TensorRT name in a file."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self._classes: dict[str, str] = {}

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._note(ast.unparse(node.target), node.annotation)
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation is not None:
            self._note(node.arg, node.annotation)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = ast.unparse(node.value)
        head, _, rest = owner.partition(".")
        if node.attr.startswith("__"):  # Python's own
            pass
        elif head in MODULE_NAMES:
            self.used.add(f"{rest}.{node.attr}" if rest else node.attr)
        elif owner in self._classes:
            self.used.add(f"{self._classes[owner]}.{node.attr}")
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """What a subclass of TensorRT's overrides must exist there, or is never called."""
        for base in node.bases:
            owner, _, name = ast.unparse(base).partition(".")
            if owner in MODULE_NAMES:
                methods = (item.name for item in node.body if isinstance(item, ast.FunctionDef))
                self.used |= {f"{name}.{m}" for m in methods if not m.startswith("_")}
        self.generic_visit(node)

    def _note(self, name: str, annotation: ast.expr) -> None:
        for part in ast.walk(annotation):
            if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "trt":
                self._classes[name] = part.attr


def _used() -> set[str]:
    used: set[str] = set()
    for source in SOURCES:
        names = _Names()
        names.visit(ast.parse(source.read_text(encoding="utf-8")))
        used |= names.used
    return used


def test_the_check_sees_the_calls() -> None:
    used = _used()
    assert {
        "Builder.create_network",
        "OnnxParser.parse",
        "ParserError.desc",
        "IBuilderConfig.set_memory_pool_limit",
        "IOptimizationProfile.set_shape",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.create_execution_context",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_tensor_address",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "ITimingCache.serialize",
        "ILogger.log",
        "IProgressMonitor.step_complete",
    } <= used


@pytest.mark.parametrize("version", ["10", "11"])
def test_every_name_is_in_the_documented_api(shared_dir: Path, version: str) -> None:
    listing = shared_dir / "reference" / "tensorrt_api" / f"api{version}.json"
    documented = set(json.loads(listing.read_text(encoding="utf-8")))
    assert _used() - documented == set()


def test_no_undocumented_object_is_called_into() -> None:
    """Objects that TensorRT calls return are annotated, or their attributes would go unchecked."""
    for source in SOURCES:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                called = ast.unparse(node.value.func)
                makes_object = called.partition(".")[0] in MODULE_NAMES or ".create_" in called
                assert not makes_object, f"{source.name}:{node.lineno}: annotate {called}"


def test_without_a_gpu_tensorrt_is_never_imported(tmp_path: Path) -> None:
    """A stand-in package that kills the process on import proves that nobody imports it."""
    if find_gpu() is not None:
        pytest.skip("this machine has a GPU")
    for name in ("tensorrt", "tensorrt_rtx"):
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text("import os\nos._exit(77)\n", encoding="utf-8")
    script = (
        "from pathlib import Path\n"
        "from engines.backends.select import open_backend\n"
        "from engines.backends.tensorrt_build import build_engine\n"
        "from engines.errors import UserError\n"
        "for call in (lambda: open_backend(Path('x.onnx'), 'tensorrt'),\n"
        "             lambda: open_backend(Path('x.onnx'), 'auto'),\n"
        "             lambda: build_engine(Path('x.onnx'))):\n"
        "    try:\n"
        "        call()\n"
        "    except UserError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PYTHONPATH": f"{tmp_path}:{BACKENDS.parents[1]}", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert "engine 'tensorrt' cannot run here: no NVIDIA GPU" in lines[0]
    assert "network not found: x.onnx" in lines[1]
    assert "no NVIDIA GPU" in lines[2]


def test_a_requested_but_missing_tensorrt_is_an_error(tmp_path: Path) -> None:
    if tensorrt_obstacle() is None:
        pytest.skip("TensorRT can run here")
    with pytest.raises(UserError, match="engine 'tensorrt' cannot run here"):
        open_backend(tmp_path / "any.onnx", "tensorrt")


@pytest.mark.parametrize(
    ("shape", "right"), [((4, 17, 64, 48), True), ((), True), ((-1, 6300, 4), False)]
)
def test_an_output_of_unknown_shape_gets_no_memory(shape: tuple[int, ...], right: bool) -> None:
    """-1 is how TensorRT says that it does not know a size yet."""

    class Context:
        """Stands in for TensorRT's, which takes a GPU."""

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return shape if name == "boxes" else ()

    context: Any = Context()
    if right:
        assert output_shape(context, "boxes") == shape
    else:
        with pytest.raises(RuntimeError, match="output 'boxes' is not fixed"):
            output_shape(context, "boxes")


# --- the engine cache, which needs no TensorRT -------------------------------------------------

KEY = EngineKey("ab" * 32, "11.4.0.106", "RTX", "8.9", "Linux x86_64", "4;1-4-8", "fp16")


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSVT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cpn.onnx"


def test_our_own_engine_is_found_again(network: Path) -> None:
    path = tensorrt_cache.store(network, KEY, b"plan", {"dsvt.kind": "pose2d"})
    stored = tensorrt_cache.find(network, KEY)
    assert stored is not None
    assert stored.plan == b"plan"
    assert stored.metadata == {"dsvt.kind": "pose2d"}
    assert path.stat().st_mode & 0o077 == 0


def test_kernels_are_kept_beside_it(network: Path) -> None:
    engine = tensorrt_cache.store(network, KEY, b"plan", {"dsvt.kind": "pose2d"})
    assert tensorrt_cache.find(network, KEY, "kernels") is None
    kernels = tensorrt_cache.store(network, KEY, b"kernels", {}, "kernels")
    assert kernels.parent == engine.parent and kernels.stem == engine.stem
    for kind, content in (("engine", b"plan"), ("kernels", b"kernels")):
        stored = tensorrt_cache.find(network, KEY, kind)  # type: ignore[arg-type]
        assert stored is not None and stored.plan == content
    kernels.write_bytes(b"foreign")
    assert tensorrt_cache.find(network, KEY, "kernels") is None
    assert tensorrt_cache.find(network, KEY) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"onnx_sha256": "cd" * 32},
        {"tensorrt": "10.16.1.11"},
        {"gpu": "H100"},
        {"capability": "9.0"},
        {"platform": "Windows AMD64"},
        {"views": "4"},
        {"precision": "fp32"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_engine_for_anything_else_is_not(network: Path, change: dict[str, str]) -> None:
    import dataclasses

    tensorrt_cache.store(network, KEY, b"plan", {})
    other = dataclasses.replace(KEY, **change)
    assert tensorrt_cache.find(network, other) is None
    # not even under the other one's name
    tensorrt_cache.engine_path(network, other).write_bytes(b"plan")
    note = tensorrt_cache.engine_path(network, KEY).with_suffix(".engine.json")
    foreign = tensorrt_cache.engine_path(network, other).with_suffix(".engine.json")
    foreign.write_bytes(note.read_bytes())
    for path in (tensorrt_cache.engine_path(network, other), foreign):
        path.chmod(0o600)
    assert tensorrt_cache.find(network, other) is None


def test_a_changed_engine_is_not_trusted(network: Path) -> None:
    path = tensorrt_cache.store(network, KEY, b"plan", {})
    path.write_bytes(b"evil")
    assert tensorrt_cache.find(network, KEY) is None
    path.write_bytes(b"plan")
    assert tensorrt_cache.find(network, KEY) is not None
    path.with_suffix(".engine.json").unlink()
    assert tensorrt_cache.find(network, KEY) is None


def test_an_engine_that_others_may_write_is_not_trusted(network: Path) -> None:
    path = tensorrt_cache.store(network, KEY, b"plan", {})
    path.chmod(0o666)
    assert tensorrt_cache.find(network, KEY) is None


def test_a_link_is_not_trusted(network: Path, tmp_path: Path) -> None:
    path = tensorrt_cache.store(network, KEY, b"plan", {})
    elsewhere = tmp_path / "elsewhere.engine"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert tensorrt_cache.find(network, KEY) is None


@pytest.mark.parametrize("note", [b"", b"[]", b"{", b'{"key": 3}', b"\xff\xfe"])
def test_a_broken_note_is_not_trusted(network: Path, note: bytes) -> None:
    path = tensorrt_cache.store(network, KEY, b"plan", {})
    path.with_suffix(".engine.json").write_bytes(note)
    assert tensorrt_cache.find(network, KEY) is None


def test_only_our_own_measurements_are_read(network: Path, tmp_path: Path) -> None:
    assert tensorrt_cache.find_timing() == b""
    tensorrt_cache.store_timing(b"times")
    assert tensorrt_cache.find_timing() == b"times"
    file = tensorrt_cache.engine_folder() / "timing.cache"
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(b"evil!")
    assert tensorrt_cache.find_timing() == b""
    tensorrt_cache.store_timing(b"times")
    file.chmod(0o666)
    assert tensorrt_cache.find_timing() == b""
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert tensorrt_cache.find_timing() == b""
    tensorrt_cache.store_timing(b"again")  # in the link's place
    assert tensorrt_cache.find_timing() == b"again"
    assert (tmp_path / "elsewhere").read_bytes() == b"times"
    file.with_name("timing.cache.json").unlink()
    assert tensorrt_cache.find_timing() == b""


def test_a_full_disk_loses_no_engine(network: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Measurements that cannot be kept are told; an engine that cannot be is one line."""
    (tensorrt_cache.engine_folder() / "timing.cache").mkdir()  # as little to be written
    keep_timing(b"times")
    (message,) = caplog.messages
    assert "cannot write" in message and "times its kernels again" in message
    tensorrt_cache.engine_path(network, KEY).mkdir()
    with pytest.raises(UserError, match="cannot write"):
        tensorrt_cache.store(network, KEY, b"plan", {})
