"""The back ends that a network is measured on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch

from engines.backends.base import Array, DescribedBackend
from engines.backends.device import find_gpu, tensorrt_obstacle, torch_obstacle
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend, available_providers
from engines.backends.torch_backend import TorchBackend
from engines.errors import UserError
from engines.export import export_half, save_onnx, to_onnx
from engines.model_files import SHIPPED_FOLDER, check_shipped
from engines.networks.engine_network import EngineNetwork
from engines.shipping import weights_digest
from engines.weights_cache import cache_folder
from tools.bench.sample_networks import make_sample


@dataclass(frozen=True, slots=True)
class Candidate:
    """A back end under measurement, and by how much opening it made memory grow."""

    backend: DescribedBackend
    memory_mb: float


def open_all(
    name: str,
    network: EngineNetwork,
    inputs: dict[str, Array],
    threads: int,
    note: Callable[[str], None],
) -> tuple[list[Candidate], list[str]]:
    """Opens every back end that is present.

    Args:
        name: of the network.
        network: with its weights.
        inputs: of a run.
        threads: CPU threads.
        note: told what is being done.

    Returns:
        Plain torch eager first, then everything else; and what should be there and does not open,
        each with the reason, in one line.
    """
    single, half = exports(name, network)
    found = [_opened(lambda: TorchBackend(network, threads, channels_last=False), inputs)]
    missing: list[str] = []
    for title, make in _makers(name, single, half, threads, note):
        try:
            found.append(_opened(make, inputs))
        except UserError as error:  # of one engine; the others are measured all the same
            missing.append(f"{title} with {name} ({error})")
    return found, missing


Maker = Callable[[], DescribedBackend]


def _makers(
    name: str, single: Path, half: Path, threads: int, note: Callable[[str], None]
) -> Iterator[tuple[str, Maker]]:
    """What is listed as present besides plain torch eager, by title; opening it may fail."""
    copy = make_sample(name)  # not part of what opening takes, as with the first
    yield "torch", partial(TorchBackend, copy, threads)
    yield "ONNX Runtime", partial(OnnxRuntimeBackend, single, threads)
    if find_gpu() is None:
        # A CPU only converts half precision back; it is run for the sake of the difference.
        yield "ONNX Runtime, fp16,", partial(OnnxRuntimeBackend, half, threads)
        return
    if torch_obstacle() is None:
        for fp16 in (False, True):
            yield "torch on a GPU", partial(_torch_on_gpu, name, threads, fp16)
    for provider in available_providers():
        if provider != "cpu":
            for path in (single, half):
                title = f"ONNX Runtime's {provider} provider"
                yield title, partial(OnnxRuntimeBackend, path, threads, provider)
    if tensorrt_obstacle() is None:
        for path in (single, half):
            yield "tensorrt", partial(_built, name, path, note)


def _torch_on_gpu(name: str, threads: int, half: bool) -> DescribedBackend:
    return TorchBackend(make_sample(name), threads, "cuda:0", half)


def _built(name: str, path: Path, note: Callable[[str], None]) -> DescribedBackend:
    from engines.backends.tensorrt_backend import TensorRtBackend
    from engines.backends.tensorrt_build import build_engine

    build_engine(path, lambda phase, share: note(f"{name}: {phase} {share:.0%}"))
    return TensorRtBackend(path)


def _opened(make: Callable[[], DescribedBackend], inputs: dict[str, Array]) -> Candidate:
    process = psutil.Process()
    on_gpu = torch.cuda.is_available()
    before = torch.cuda.mem_get_info()[0] if on_gpu else process.memory_info().rss
    backend = make()
    backend.run(inputs)
    if backend.device == "cpu":
        grown = process.memory_info().rss - before if not on_gpu else 0
    else:
        grown = before - torch.cuda.mem_get_info()[0]
    return Candidate(backend, max(0, grown) / 2**20)


def exports(name: str, network: EngineNetwork) -> tuple[Path, Path]:
    """Both exports: what ships as it ships, else kept in the cache while code and weights stay.

    Args:
        name: in the catalogue, or of what ships.
        network: that one, or another in its place.

    Returns:
        The ``.onnx`` files in single and in half precision.
    """
    digest = hashlib.sha256()
    sources = Path(__file__).resolve().parents[2] / "engines"
    for source in sorted((*(sources / "networks").glob("*.py"), sources / "export.py")):
        digest.update(source.read_bytes())
    weights = weights_digest(network)
    digest.update(weights.encode())
    folder = cache_folder().parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{digest.hexdigest()[:12]}"
    half = folder / f"{stem}.fp16.onnx"
    single = _shipped(name, weights) or folder / f"{stem}.onnx"
    if not (single.is_file() and half.is_file()):
        for old in folder.glob(f"{name}-????????????.*onnx"):
            if old != single:
                old.unlink()
        if not single.is_file():  # which takes torch half a minute
            save_onnx(to_onnx(network), single)
        export_half(single, half)
    return single, half


def _shipped(name: str, weights: str) -> Path | None:
    """The file that ships under a name, if it holds these weights."""
    path = SHIPPED_FOLDER / f"{name}.onnx"
    if not path.is_file():
        return None
    check_shipped(path)
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return path if card.get("weights_digest") == weights else None


def sample_inputs(network: EngineNetwork, views: int, seed: int = 0) -> dict[str, Array]:
    """Random inputs between 0 and 1, masks all 1; always the same for a seed."""
    generator = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for port in network.info.inputs:
        value = generator.uniform(0, 1, port.sized(views)).astype(np.float32)
        inputs[port.name] = np.ones_like(value) if port.name.endswith("mask") else value
    return inputs
