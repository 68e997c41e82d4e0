"""All networks by name, and their weights as files that say what they belong to.

A network file is a safetensors file: named float arrays and, as metadata, the network's name and
options. It holds no code, and it is checked to the last name and shape when it is read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from engines.errors import UserError
from engines.networks.checkpoint import check_values
from engines.networks.cpn import JOINTS, Cpn, CpnSize
from engines.networks.darknet import Darknet
from engines.networks.darknet_cfg import parse_cfg
from engines.networks.darknet_reference import yolov3_cfg, yolov3_tiny_cfg
from engines.networks.dsvtformer import DsvtformerConfig
from engines.networks.engine_network import EngineNetwork
from engines.networks.joint_context import JOINT_CHANNELS
from engines.networks.lifter_network import DsvtformerNetwork, RigLifterNetwork
from engines.networks.light_cpn import LightCpn, LightCpnConfig
from engines.networks.light_detector import HEIGHT as LIGHT_HEIGHT
from engines.networks.light_detector import WIDTH as LIGHT_WIDTH
from engines.networks.light_detector import light_detector_cfg
from engines.networks.person_detector import PersonDetector
from engines.networks.pose_network import FeatureMaps, PoseNetwork
from engines.networks.rig_lifter import RigLifterConfig

Options = Mapping[str, Any]

_SAID_OF_WEIGHTS: Final = ("name", "weights")
"""What a file says of its weights, which the network itself cannot know."""

_LIGHT_CPN: Final = {"blocks": [2, 4, 9, 6], "mixers": [2, 2], "context_width": 160}
"""Of the light CPN that ships; `LightCpnConfig`'s own defaults are those that it grew from."""

NAMES: Final[Mapping[str, tuple[str, Options]]] = {
    "yolov3": ("darknet", {"cfg": yolov3_cfg(416), "height": 416, "width": 416}),
    "yolov3-tiny": ("darknet", {"cfg": yolov3_tiny_cfg(416), "height": 416, "width": 416}),
    "light-detector": (
        "darknet",
        {"cfg": light_detector_cfg(), "height": LIGHT_HEIGHT, "width": LIGHT_WIDTH},
    ),
    "cpn50-256x192": ("cpn", {"depth": 50, "height": 256, "width": 192}),
    "cpn50-384x288": ("cpn", {"depth": 50, "height": 384, "width": 288}),
    "cpn101-384x288": ("cpn", {"depth": 101, "height": 384, "width": 288}),
    "light-cpn": ("light_cpn", {"height": 256, "width": 192, **_LIGHT_CPN}),
    "light-cpn-224x160": ("light_cpn", {"height": 224, "width": 160, **_LIGHT_CPN}),
    "dsvtformer": ("dsvtformer", {}),
    "rig-lifter": ("rig_lifter", {"context": False}),
    "rig-lifter-context": ("rig_lifter", {"context": True}),
}
"""Names that people use, and the module and options that each stands for."""


def build_named(name: str) -> EngineNetwork:
    """Builds a network of the catalogue with random weights.

    Raises:
        UserError: there is no such name.
    """
    if name not in NAMES:
        raise UserError(f"unknown network '{name}' (known: {', '.join(NAMES)})")
    module, options = NAMES[name]
    return build(module, options)


def build(module: str, options: Options) -> EngineNetwork:
    """Builds a network with random weights, in evaluation mode.

    Raises:
        UserError: no such module, or options that it cannot be built with.
    """
    if module not in _BUILDERS:
        raise UserError(f"unknown kind of network '{module}' (known: {', '.join(_BUILDERS)})")
    try:
        network = _BUILDERS[module](options)
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        # Options come from files of others: what a network makes of nonsense is not our affair.
        raise UserError(
            f"network '{module}' cannot be built from {dict(options)}: {error}"
        ) from error
    return network.eval()


def save_network(network: EngineNetwork, path: Path, *, compact: bool = False) -> None:
    """Writes a network file; the file appears only once it is whole.

    Args:
        network: with its weights.
        path: the file.
        compact: matrices and kernels in half precision.

    Raises:
        UserError: it cannot be written.
    """
    tensors = {
        name: (value.half() if compact and value.dim() > 1 else value).detach().cpu().contiguous()
        for name, value in network.inner.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    scratch = path.with_name(path.name + ".part")
    try:
        save_file(tensors, scratch, metadata=network.info.metadata())
        scratch.replace(path)
    except (OSError, SafetensorError) as error:  # the latter of a full disk
        raise UserError(f"{path}: cannot be written ({error})") from error
    finally:
        scratch.unlink(missing_ok=True)


def load_network(path: Path) -> EngineNetwork:
    """Reads a network file.

    Returns:
        The network with its weights, in evaluation mode.

    Raises:
        UserError: the file is missing, damaged, not one of ours, or does not fit its network.
    """
    if not path.is_file():
        raise UserError(f"network not found: {path} (check the path, or fetch or import it first)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is no safetensors file or is damaged: {error}") from error
    if "dsvt.network" not in metadata:
        metadata = _lifter_card(path)
    if "dsvt.network" not in metadata:
        raise UserError(
            f"{path} does not say which network it is for: import it with tools.weights"
        )
    try:
        options = json.loads(metadata.get("dsvt.options", ""))
    except ValueError as error:
        raise UserError(f"{path}: its network options are not JSON") from error
    if not isinstance(options, dict):
        raise UserError(f"{path}: its network options are not a table")
    network = build(metadata["dsvt.network"], options)
    fill(network, tensors, path)
    said = {key: metadata[f"dsvt.{key}"] for key in _SAID_OF_WEIGHTS if f"dsvt.{key}" in metadata}
    network.info = dataclasses.replace(network.info, facts={**network.info.facts, **said})
    return network


def _lifter_card(path: Path) -> dict[str, str]:
    """What the JSON file beside a trained lifter says of it; empty where there is none."""
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        options = {**card["network"], "context": card["context_stream"] == "trained"}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {"dsvt.network": "rig_lifter", "dsvt.options": json.dumps(options)}


def fill(network: EngineNetwork, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Loads named weights into a network; ``num_batches_tracked`` may be absent.

    Args:
        network: to be filled.
        tensors: by parameter name.
        path: where they come from, for messages.

    Raises:
        UserError: a name is missing or unknown, or a shape or value is wrong.
    """
    own = network.inner.state_dict()
    wanted = {name for name in own if not name.endswith("num_batches_tracked")}
    given = {name for name in tensors if not name.endswith("num_batches_tracked")}
    for problem, names in (("lacks", wanted - given), ("has unknown", given - wanted)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(
                f"{path} {problem} '{min(names)}'{more}: it is not for {network.info.network} "
                f"{_short(network.info.options)}"
            )
    for name in sorted(wanted):
        if tensors[name].shape != own[name].shape:
            raise UserError(
                f"{path}: '{name}' has shape {tuple(tensors[name].shape)}, "
                f"expected {tuple(own[name].shape)}"
            )
        check_values(path, name, tensors[name])
    network.inner.load_state_dict({name: tensors[name] for name in wanted}, strict=False)


def darknet_detector(network: Darknet, cfg_text: str) -> PersonDetector:
    """Wraps a Darknet network that was read from files, at its cfg's input size."""
    config = network.config
    options = {"cfg": cfg_text, "height": config.height, "width": config.width}
    return PersonDetector(network, config.height, config.width, options)


def _darknet(options: Options) -> EngineNetwork:
    network = Darknet(parse_cfg(str(options["cfg"]), "cfg"))
    return PersonDetector(network, int(options["height"]), int(options["width"]), options)


def _cpn(options: Options) -> EngineNetwork:
    depth, height, width = (int(options[key]) for key in ("depth", "height", "width"))
    if depth not in (50, 101):
        raise ValueError(f"depth {depth} is neither 50 nor 101")
    size = CpnSize(cast(Any, depth), height, width)
    maps = FeatureMaps(256)
    return PoseNetwork(Cpn(size), "cpn", options, height, width, maps, "coco17", peak=255.0)


def _light_cpn(options: Options) -> EngineNetwork:
    known: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
    }
    joints = str(known.pop("joints", "h36m17"))
    config = LightCpnConfig(**known)
    return PoseNetwork(
        LightCpn(config),
        "light_cpn",
        options,
        config.height,
        config.width,
        FeatureMaps(JOINTS * JOINT_CHANNELS, stride=8, by_joint=joints == "h36m17"),
        joints,
        peak=1.0,
    )


def _dsvtformer(options: Options) -> EngineNetwork:
    return DsvtformerNetwork(DsvtformerConfig(**options), options)


def _rig_lifter(options: Options) -> EngineNetwork:
    size = dict(options)
    context = bool(size.pop("context"))
    return RigLifterNetwork(RigLifterConfig(**size), options, context)


_BUILDERS: Final[Mapping[str, Callable[[Options], EngineNetwork]]] = {
    "darknet": _darknet,
    "cpn": _cpn,
    "light_cpn": _light_cpn,
    "dsvtformer": _dsvtformer,
    "rig_lifter": _rig_lifter,
}


def _short(options: Options) -> str:
    return ", ".join(f"{key} {value}" for key, value in options.items() if key != "cfg")
