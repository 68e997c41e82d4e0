"""Lifter weights in whichever file they come, as something to call."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engines.errors import UserError
from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS
from engines.networks.rig_lifter import RigLifter, RigLifterConfig
from tools.training.checkpoints import load_checkpoint

CONTEXT_STREAM = "context_stream."
"""Parameters of the image stream begin like this."""

_EMBEDDING = "context_stream.embed.weight"
_POINTED = "context_stream.embed_pointed.weight"


class Network(Protocol):
    """Keypoints and view mask in, perhaps context and its mask; joints and log sigma out."""

    def __call__(
        self,
        keypoints: Tensor,
        view_mask: Tensor,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See ``RigLifter.forward``."""
        ...


def load_lifter(path: Path, config: RigLifterConfig) -> Network:
    """Loads weights to evaluate.

    Args:
        path: ``.onnx``, ``.safetensors`` or a training checkpoint ``.pt``.
        config: The network's size, for the latter two.

    Returns:
        The network.

    Raises:
        UserError: The file is missing, damaged or of another network.
    """
    if path.suffix == ".onnx":
        return _onnx_network(_existing(path))
    network = RigLifter(config).eval()
    fill_lifter(network, path)
    return network


def fill_lifter(network: RigLifter, path: Path) -> bool:
    """Fills a network from ``.safetensors`` or a training checkpoint ``.pt``.

    Returns:
        Whether the file has an image stream; without one, the network's stays as it is.

    Raises:
        UserError: The file is missing, damaged or of another network.
    """
    _existing(path)
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = dict(load_checkpoint(path)["average"])
        load_pose_stream(network, state)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise UserError(f"weights: {path} does not fit the preset's network ({first})") from error
    return any(name.startswith(CONTEXT_STREAM) for name in state)


def load_pose_stream(network: RigLifter, state: dict[str, Tensor]) -> None:
    """Fills a network; the image stream may be absent as a whole, and then stays as it is.

    Weights of a stream that was told fewer numbers of each joint fit, too: the new ones come after
    those, before the rivals, and are not listened to at first.

    Raises:
        RuntimeError: A parameter is missing, unknown or of another shape.
    """
    own = network.state_dict()
    if not any(name.startswith(CONTEXT_STREAM) for name in state):
        kept = {name: own[name] for name in own if name.startswith(CONTEXT_STREAM)}
        state = {**state, **kept}
    elif (known := state[_EMBEDDING]).shape[1] < own[_EMBEDDING].shape[1]:
        width, merge = len(known), network.config.merge
        known = known.reshape(width, merge, -1)
        told = known.shape[-1] - RIVAL_CHANNELS
        wider = torch.zeros_like(own[_EMBEDDING]).reshape(width, merge, -1)
        wider[..., :told] = known[..., :told]
        wider[..., -RIVAL_CHANNELS:] = known[..., told:]
        # Such weights knew nothing of joints that are pointed to, either.
        state = {_POINTED: torch.zeros_like(own[_POINTED]), **state}
        state[_EMBEDDING] = wider.reshape(width, -1)
    network.load_state_dict(state)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"weights: {path} not found; give .onnx, .safetensors or checkpoint.pt")
    return path


def _onnx_network(path: Path) -> Network:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime's own kinds are not public
        raise UserError(f"weights: {path} is no readable ONNX model") from error
    ports = {port.name: port.shape for port in session.get_inputs()}
    if set(ports) not in (
        {"keypoints", "view_mask"},
        {"keypoints", "view_mask", "context", "context_mask"},
    ):
        raise UserError(f"weights: {path} is no lifter (its inputs are {', '.join(sorted(ports))})")
    one_by_one = ports["keypoints"][0] == 1

    def run(
        keypoints: Tensor,
        view_mask: Tensor,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        given = {"keypoints": keypoints, "view_mask": view_mask}
        if "context" in ports:
            shape = keypoints.shape[:4]
            if context is None or context_mask is None:
                context = keypoints.new_zeros((*shape, int(ports["context"][4])))
                context_mask = keypoints.new_zeros(shape[:3])
            given |= {"context": context, "context_mask": context_mask}
        feed = {name: value.numpy() for name, value in given.items()}
        size = 1 if one_by_one else len(keypoints)
        answers = [
            session.run(
                ["joints", "log_sigma"], {name: v[k : k + size] for name, v in feed.items()}
            )
            for k in range(0, len(keypoints), size)
        ]
        joints, log_sigma = (
            torch.from_numpy(np.concatenate([answer[n] for answer in answers])) for n in range(2)
        )
        return joints, log_sigma

    return run
