"""Ships a trained lifter: ONNX for the engines, safetensors for torch, a JSON beside them."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import onnx
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engines.networks.rig_lifter import BODY_UNIT_BONE_LENGTH, RigLifter
from tools.training.mocap import Mocap, bone_length_sum

EXPORT_VERSION: Final = 1
OPSET: Final = 18
MAX_VIEWS: Final = 8
MAX_BATCH: Final = 64
SIZE_LIMIT: Final = 12_000_000

_ANKLE_HEIGHT: Final = 0.039
"""Height of the ankle over stature (Winter, "Biomechanics and Motor Control of Human Movement")."""


class _PoseOnly(nn.Module):
    """The lifter with its image stream left out of the graph."""

    def __init__(self, network: RigLifter) -> None:
        super().__init__()
        self.network = network

    def forward(self, keypoints: Tensor, view_mask: Tensor) -> tuple[Tensor, Tensor]:
        joints, log_sigma = self.network(keypoints, view_mask)
        return joints, log_sigma


def export_onnx(network: RigLifter, path: Path) -> None:
    """Writes the pose-only graph, batch and views dynamic, weights inside.

    Args:
        network: The lifter.
        path: The file.
    """
    frames = network.config.frames
    example = (torch.rand(2, frames, 3, 17, 3), torch.ones(2, 3))
    batch, views = (
        torch.export.Dim("batch", max=MAX_BATCH),
        torch.export.Dim("views", max=MAX_VIEWS),
    )
    # The exporter reports its own progress and its own deprecations; neither helps anyone here.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _PoseOnly(network).eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=["keypoints", "view_mask"],
            output_names=["joints", "log_sigma"],
            dynamic_shapes=({0: batch, 2: views}, {0: batch, 1: views}),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    temporary = path.with_suffix(".part")
    onnx.save(model, temporary)
    temporary.replace(path)


def stature_in_body_units(mocap: Mocap) -> float:
    """How tall a person of 4.2 body units of bone stands, from head top to floor.

    The height of the head over the lower ankle in the most upright 5 % of frames, plus that of
    the ankle.

    Args:
        mocap: Clips.

    Returns:
        Stature in body units.
    """
    joints = mocap.joints
    ankles = torch.minimum(joints[:, 3, 2], joints[:, 6, 2])
    height = (joints[:, 10, 2] - ankles) / bone_length_sum(joints)
    upright = float(torch.quantile(height, 0.95))
    return BODY_UNIT_BONE_LENGTH * upright / (1.0 - _ANKLE_HEIGHT)


def export_lifter(
    network: RigLifter,
    folder: Path,
    *,
    stature_units: float,
    training: Mapping[str, object],
) -> Path:
    """Writes ``lifter.onnx``, ``lifter.safetensors`` and ``lifter.json``.

    The image stream is left out of both weight files until it is trained.

    Args:
        network: The lifter, on the CPU.
        folder: Where to.
        stature_units: Stature in body units.
        training: Figures to put down.

    Returns:
        The JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = network.eval()
    onnx_path, tensor_path = folder / "lifter.onnx", folder / "lifter.safetensors"
    export_onnx(network, onnx_path)
    state = {
        name: value.contiguous()
        for name, value in network.state_dict().items()
        if not name.startswith("context_stream.")
    }
    save_file(state, tensor_path)
    tensor_path.chmod(0o644)  # the library makes it private
    for path in (onnx_path, tensor_path):
        if path.stat().st_size > SIZE_LIMIT:
            raise ValueError(f"{path} has {path.stat().st_size} bytes, the limit is {SIZE_LIMIT}")
    sidecar = {
        "name": "rig-agnostic lifter",
        "version": EXPORT_VERSION,
        "frames": network.config.frames,
        "rate_hz": 30,
        "max_views": MAX_VIEWS,
        "body_unit_bone_length": BODY_UNIT_BONE_LENGTH,
        "stature_body_units": round(stature_units, 4),
        "opset": OPSET,
        "network": asdict(network.config),
        "context_stream": "untrained",
        "training": dict(training),
        "sha256": sha256(onnx_path),
        "sha256_safetensors": sha256(tensor_path),
    }
    json_path = folder / "lifter.json"
    temporary = json_path.with_suffix(".part")
    temporary.write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")
    temporary.replace(json_path)
    return json_path


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _strip(model: onnx.ModelProto) -> None:
    """Takes out what the exporter notes of the machine it ran on: source paths, stack traces."""
    graph = model.graph
    described = (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (model, graph, *described):
        part.doc_string = ""
        del part.metadata_props[:]
