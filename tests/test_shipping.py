"""Networks written to ship, and what the live chain makes of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from engines.backends.select import EngineName, open_backend
from engines.errors import UserError
from engines.front_ends.yolo_cpn.front_end import open_yolo_cpn
from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS
from engines.lifter import ContextWindow, Lifter, read_card
from engines.model_files import check_shipped
from engines.networks.catalog import build, darknet_detector, load_network, save_network
from engines.networks.darknet import Darknet
from engines.networks.darknet_cfg import parse_cfg
from engines.networks.joint_context import JOINT_CHANNELS
from engines.networks.rig_lifter import RigLifter, RigLifterConfig
from engines.shipping import ship_lifter, ship_network, weights_digest
from marker_networks import DETECTOR_CFG
from tools.bench.sample_networks import enliven
from tools.train import app

FRAMES, VIEWS = 3, 2
CHANNELS = JOINT_CHANNELS + RIVAL_CHANNELS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector, a pose network and a lifter with its image stream, all with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    detector = darknet_detector(Darknet(parse_cfg(DETECTOR_CFG, "marker")), DETECTOR_CFG)
    ship_network(detector, folder, "detector", name="small detector", training={"steps": 1})
    options = {
        "height": 64, "width": 48, "pyramid": 8, "blocks": [1, 1, 2, 1], "mixers": [1, 1],
    }  # fmt: skip
    pose = enliven(build("light_cpn", options))
    ship_network(pose, folder, "pose2d", name="small CPN", training={})
    lifter = _lifter()
    ship_lifter(
        lifter, folder, stature_body_units=1.7, training={}, context_of=weights_digest(pose)
    )
    return folder


@pytest.fixture(scope="module")
def streamless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lifter without an image stream of anybody's."""
    folder = tmp_path_factory.mktemp("streamless")
    ship_lifter(_lifter(), folder, stature_body_units=1.7, training={})
    return folder


def _lifter() -> RigLifter:
    network = RigLifter(
        RigLifterConfig(frames=FRAMES, width=32, depth=1, context_channels=CHANNELS)
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # also those that start silent
    return network


def test_each_network_is_three_files_that_belong_together(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{stem}.{suffix}"
        for stem in ("detector", "pose2d", "lifter")
        for suffix in ("onnx", "safetensors", "json")
    )
    for stem in ("detector", "pose2d", "lifter"):
        card = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        onnx = (folder / f"{stem}.onnx").read_bytes()
        assert card["sha256"] == hashlib.sha256(onnx).hexdigest()
        check_shipped(folder / f"{stem}.onnx")
        check_shipped(folder / f"{stem}.safetensors")


@pytest.mark.parametrize("stem", ["detector", "pose2d", "lifter"])
def test_matrices_are_stored_in_half_precision_without_loss(folder: Path, stem: str) -> None:
    stored = load_file(folder / f"{stem}.safetensors")
    for name, value in stored.items():
        assert value.dtype == (torch.float16 if value.dim() > 1 else torch.float32), name
    path = folder / f"{stem}.safetensors"
    network = load_network(path)
    card = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
    assert weights_digest(network) == card["weights_digest"]
    assert all(value.dtype == torch.float32 for value in network.parameters())


@pytest.mark.parametrize("stem", ["detector", "pose2d", "lifter"])
def test_both_files_give_the_same_and_say_the_same(folder: Path, stem: str) -> None:
    engines: tuple[EngineName, ...] = ("onnxruntime", "torch")
    backends = [open_backend(folder / f"{stem}.onnx", engine, 1) for engine in engines]
    generator = np.random.default_rng(0)
    inputs = {
        spec.name: generator.uniform(0, 1, [size or VIEWS for size in spec.shape]).astype("f4")
        for spec in backends[0].inputs
    }
    one, other = (backend.run(inputs) for backend in backends)
    for name, value in one.items():
        assert float(np.abs(np.subtract(value, other[name])).max()) < 1e-3
    for key in ("dsvt.weights", "dsvt.name", "dsvt.kind"):
        assert backends[0].metadata[key] == backends[1].metadata[key] != ""


def test_the_lifter_reads_the_context_of_its_own_pose_network(folder: Path) -> None:
    lifter = Lifter(
        open_backend(folder / "lifter.onnx", "onnxruntime", 1), read_card(folder / "lifter.onnx")
    )
    front_end = open_yolo_cpn(
        VIEWS, folder / "detector.onnx", folder / "pose2d.onnx", "onnxruntime", 1
    )
    assert lifter.context_channels == front_end.context_channels == CHANNELS
    assert lifter.reads(front_end.context_channels, front_end.context_source)
    assert not lifter.reads(CHANNELS, "0123456789abcdef")
    assert not lifter.reads(CHANNELS + 1, front_end.context_source)
    assert not lifter.reads(0, "")


def test_it_adopts_another_pose_network(folder: Path, tmp_path: Path) -> None:
    both = tmp_path / "weights"
    shutil.copytree(folder, both)
    trained_with = read_card(both / "lifter.onnx").context_of
    pose = enliven(build("light_cpn", json.loads((both / "pose2d.json").read_text())["options"]))
    ship_network(pose, both, "pose2d", name="trained further", training={})
    digest = weights_digest(pose)
    assert digest != trained_with
    result = CliRunner().invoke(app, ["adopt", "--folder", str(both)])
    assert result.exit_code == 0, result.output
    assert digest in result.output and trained_with in result.output
    assert read_card(both / "lifter.onnx").context_of == digest
    assert json.loads((both / "lifter.json").read_text())["context_trained_with"] == trained_with
    again = CliRunner().invoke(app, ["adopt", "--folder", str(both)])
    assert again.exit_code == 0 and "already" in again.output
    # Back to the one it was trained with: then there is nothing to tell apart.
    for path in folder.glob("pose2d.*"):
        shutil.copy(path, both)
    assert CliRunner().invoke(app, ["adopt", "--folder", str(both)]).exit_code == 0
    assert (both / "lifter.json").read_text() == (folder / "lifter.json").read_text()


def test_torch_takes_no_other_weights_than_those_described(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("lifter.*"):
        shutil.copy(path, tmp_path)
    tensors = load_file(tmp_path / "lifter.safetensors")
    network = load_network(tmp_path / "lifter.safetensors")
    network.inner.load_state_dict({k: v * 0 for k, v in tensors.items()}, strict=False)
    save_network(network, tmp_path / "lifter.safetensors")
    with pytest.raises(UserError, match="not the weights that"):
        open_backend(tmp_path / "lifter.onnx", "torch", 1)


def test_who_has_no_stream_adopts_nobody(folder: Path, streamless: Path, tmp_path: Path) -> None:
    for path in (*folder.glob("pose2d.*"), *streamless.glob("lifter.*")):
        shutil.copy(path, tmp_path)
    result = CliRunner().invoke(app, ["adopt", "--folder", str(tmp_path)])
    assert result.exit_code == 2 and "has no image stream" in result.output
    (tmp_path / "lifter.json").unlink()
    result = CliRunner().invoke(app, ["adopt", "--folder", str(tmp_path)])
    assert result.exit_code == 2 and "missing beside the weights" in result.output


def test_masked_context_changes_nothing_and_context_does(folder: Path) -> None:
    lifter = Lifter(
        open_backend(folder / "lifter.onnx", "onnxruntime", 1), read_card(folder / "lifter.onnx")
    )
    generator = np.random.default_rng(1)
    keypoints = generator.uniform(0.1, 0.9, (FRAMES, VIEWS, 17, 3)).astype(np.float32)
    features = generator.normal(0, 1, (FRAMES, VIEWS, 17, CHANNELS)).astype(np.float32)
    views = np.ones(VIEWS, bool)
    bare = lifter.lift(keypoints, views)
    nothing = ContextWindow(features, np.zeros((FRAMES, VIEWS), np.float32))
    everything = ContextWindow(features, np.ones((FRAMES, VIEWS), np.float32))
    assert np.abs(lifter.lift(keypoints, views, nothing).joints - bare.joints).max() < 1e-6
    assert np.abs(lifter.lift(keypoints, views, everything).joints - bare.joints).max() > 1e-2


def test_a_lifter_without_the_stream_ignores_context(streamless: Path) -> None:
    card = read_card(streamless / "lifter.onnx")
    lifter = Lifter(open_backend(streamless / "lifter.onnx", "onnxruntime", 1), card)
    assert lifter.context_channels == 0
    assert not lifter.reads(CHANNELS, card.context_of)
    keypoints = np.full((FRAMES, VIEWS, 17, 3), 0.5, np.float32)
    context = ContextWindow(
        np.ones((FRAMES, VIEWS, 17, CHANNELS), np.float32), np.ones((FRAMES, VIEWS), np.float32)
    )
    with_it = lifter.lift(keypoints, np.ones(VIEWS, bool), context)
    np.testing.assert_array_equal(
        with_it.joints, lifter.lift(keypoints, np.ones(VIEWS, bool)).joints
    )


def test_a_changed_file_is_refused(folder: Path, tmp_path: Path) -> None:
    for suffix in ("onnx", "json"):
        (tmp_path / f"detector.{suffix}").write_bytes((folder / f"detector.{suffix}").read_bytes())
    with (tmp_path / "detector.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match="not the weights that"):
        check_shipped(tmp_path / "detector.onnx")
    (tmp_path / "detector.json").unlink()
    with pytest.raises(UserError, match="missing beside the weights"):
        check_shipped(tmp_path / "detector.onnx")


def test_the_digest_follows_the_weights_only() -> None:
    torch.manual_seed(0)
    network = build("light_cpn", {"height": 64, "width": 48, "pyramid": 8})
    digest = weights_digest(network)
    assert digest == weights_digest(network.inner) == weights_digest(network.double().float())
    with torch.no_grad():
        next(network.parameters()).add_(1e-3)
    assert weights_digest(network) != digest
