"""Weights that people bring: taken in, or refused without a trace."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from engines.backends.onnxruntime_backend import OnnxRuntimeBackend
from engines.backends.select import open_backend
from engines.errors import UserError
from engines.model_files import SOURCE_KEY, export_of, find_model
from engines.networks.cpn import Cpn, CpnSize
from tests.weight_files import entry_of, save_marker, sha256
from tools.build_engines import exported_file
from tools.weights_import import import_model
from tools.weights_registry import FileEntry, ModelEntry, condition, read_registry


@pytest.fixture
def marker(tmp_path: Path) -> tuple[Path, Path]:
    return save_marker(tmp_path)


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
    assert exported_file("cpn50-256x192", "fp16") == (path, False)  # both know what they are of
    assert OnnxRuntimeBackend(half, 1).metadata[SOURCE_KEY] == sha256(path.read_bytes())
    single = OnnxRuntimeBackend(path, 1)
    assert single.metadata[SOURCE_KEY] == sha256(path.with_suffix(".safetensors").read_bytes())
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
