"""Writes networks that this project trained as files that ship with it.

Each is three files of one stem in ``weights/``: ``.onnx`` for the engines, ``.safetensors`` for
torch, and ``.json`` that describes both and holds their hashes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch
from torch import nn

from engines.compact_onnx import compact
from engines.export import OPSET, save_onnx, to_onnx
from engines.networks.catalog import build, fill, save_network
from engines.networks.engine_network import MAX_VIEWS, EngineNetwork
from engines.networks.rig_lifter import RigLifter
from engines.skeleton import BODY_UNIT_BONE_LENGTH

FORMAT_VERSION: Final = 1
SIZE_LIMIT: Final = 16_000_000
"""No single file may be larger: all that ships is at most 40 MB."""

_LIFTER_RATE_HZ: Final = 30
_CONTEXT: Final = "context_stream."


def weights_digest(network: nn.Module) -> str:
    """What identifies trained weights, in whichever file they are.

    Args:
        network: a network of the catalogue, or the module inside.

    Returns:
        The first 16 hexadecimal digits of a SHA-256 over names, shapes and values.
    """
    module = network.inner if isinstance(network, EngineNetwork) else network
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def ship_network(
    network: EngineNetwork, folder: Path, stem: str, *, name: str, training: Mapping[str, object]
) -> Path:
    """Writes a detector or 2D pose network.

    Args:
        network: with its trained weights; it is put into evaluation mode, and its matrices are
            rounded to half precision, in which the ``.safetensors`` file holds them.
        folder: where to, in the end ``weights/``.
        stem: of the files: ``detector`` or ``pose2d``.
        name: what people call it.
        training: figures to put down; JSON values only.

    Returns:
        The JSON file.

    Raises:
        UserError: the network cannot be exported for every engine.
        ValueError: a file would be too large to ship.
    """
    return _ship(network, folder, stem, name, training, {})


def ship_lifter(
    network: RigLifter,
    folder: Path,
    *,
    stature_body_units: float,
    training: Mapping[str, object],
    context_of: str | None = None,
    stem: str = "lifter",
) -> Path:
    """Writes the rig-agnostic lifter.

    Args:
        network: with its trained weights.
        folder: where to, in the end ``weights/``.
        stature_body_units: how tall a standing body is, in body units.
        training: figures to put down; JSON values only.
        context_of: ``weights_digest`` of the 2D pose network whose features the image stream was
            trained with; None leaves the stream out.
        stem: of the files.

    Returns:
        The JSON file.

    Raises:
        UserError: the network cannot be exported for every engine.
        ValueError: a file would be too large to ship.
    """
    context = context_of is not None
    whole = build("rig_lifter", {**asdict(network.config), "context": context})
    state = {
        name: value.detach().cpu()
        for name, value in network.state_dict().items()
        if context or not name.startswith(_CONTEXT)
    }
    fill(whole, state, folder / f"{stem}.safetensors")
    more: dict[str, object] = {
        "frames": network.config.frames,
        "rate_hz": _LIFTER_RATE_HZ,
        "max_views": MAX_VIEWS,
        "body_unit_bone_length": BODY_UNIT_BONE_LENGTH,
        "stature_body_units": round(stature_body_units, 4),
        # What the lifter is built with stands under its own key, as its readers know it.
        "network": asdict(network.config),
        "context_stream": "trained" if context else "untrained",
        "context_of": context_of,
    }
    return _ship(whole, folder, stem, "rig-agnostic lifter", training, more)


@torch.no_grad()
def _round_matrices(network: nn.Module) -> None:
    """Rounds matrices and kernels to what half precision can hold, as they are stored.

    Scales, offsets and running statistics keep their precision.

    Raises:
        ValueError: a weight is too large.
    """
    for name, value in network.named_parameters():
        if value.dim() > 1:
            value.copy_(value.half())
            if not bool(value.isfinite().all()):
                raise ValueError(f"{name} has a weight beyond half precision")


def _ship(
    network: EngineNetwork,
    folder: Path,
    stem: str,
    name: str,
    training: Mapping[str, object],
    more: Mapping[str, object],
) -> Path:
    network = network.cpu().eval()
    _round_matrices(network)
    digest = weights_digest(network)
    facts = {**network.info.facts, "name": name, "weights": digest}
    network.info = dataclasses.replace(network.info, facts=facts)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{stem}-") as scratch:
        onnx, tensors, card = (
            Path(scratch) / f"{stem}{suffix}" for suffix in (".onnx", ".safetensors", ".json")
        )
        save_onnx(compact(to_onnx(network)), onnx)
        save_network(network, tensors, compact=True)
        tensors.chmod(0o644)  # the library makes it private
        for path in (onnx, tensors):
            size = path.stat().st_size
            if size > SIZE_LIMIT:
                raise ValueError(f"{path.name} has {size} bytes, the limit is {SIZE_LIMIT}")
        described = {
            "name": name,
            "version": FORMAT_VERSION,
            "kind": network.info.kind,
            "network": network.info.network,
            "options": dict(network.info.options),
            "opset": OPSET,
            **more,
            "training": dict(training),
            "weights_digest": digest,
            "sha256": hashlib.sha256(onnx.read_bytes()).hexdigest(),
            "sha256_safetensors": hashlib.sha256(tensors.read_bytes()).hexdigest(),
        }
        card.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        # The description last: without it, or with the old one, the new files are not trusted.
        for path in (onnx, tensors, card):
            shutil.move(path, folder / path.name)
    return folder / card.name
