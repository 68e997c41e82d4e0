"""Takes foreign weights in: reads each format safely, checks all of it, keeps it as our own."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from engines.errors import UserError
from engines.export import export_half, note_source, save_onnx, to_onnx
from engines.networks.catalog import NAMES, build_named, darknet_detector, fill, save_network
from engines.networks.checkpoint import read_checkpoint
from engines.networks.darknet_cfg import parse_cfg, read_cfg
from engines.networks.darknet_weights import load_darknet
from engines.networks.dsvtformer import load_official
from engines.networks.engine_network import EngineNetwork
from engines.weights_cache import cache_folder
from tools.weights_registry import ModelEntry, sha256_of

Report = Callable[[str], None]


def import_model(name: str, entry: ModelEntry, files: Sequence[Path], report: Report) -> Path:
    """Checks files of foreign weights and keeps them as a network file and ONNX.

    Nothing is kept unless everything is right.

    Args:
        name: what the model will be called.
        entry: what the registry says of it.
        files: the files, in any order; a Darknet cfg may be left out where it is built in.
        report: told what is being done.

    Returns:
        The ``.onnx`` file.

    Raises:
        UserError: a file is missing, wrong, truncated or hostile.
    """
    _check_hashes(entry, files)
    report(f"reading {', '.join(path.name for path in files)}")
    network = _read(entry, files)
    facts = {**network.info.facts, "name": name}
    network.info = dataclasses.replace(network.info, facts=facts)
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".import-") as scratch:
            made = _write(name, network, Path(scratch), report)
            sources = {path.name: sha256_of(path) for path in files}
            note = {
                "files": {path.name: sha256_of(path) for path in made},
                "sources": sources,
                "origin": entry.origin,
                "licence": entry.licence,
            }
            text = json.dumps(note, indent=1) + "\n"
            (Path(scratch) / f"{name}.json").write_text(text, encoding="utf-8")
            for path in (*made, Path(scratch) / f"{name}.json"):
                shutil.move(path, folder / path.name)
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror}") from error
    return folder / f"{name}.onnx"


def _write(name: str, network: EngineNetwork, folder: Path, report: Report) -> list[Path]:
    """Writes the network file and both exports; returns them."""
    weights = folder / f"{name}.safetensors"
    save_network(network, weights)
    report("exporting ONNX")
    model = to_onnx(network)
    note_source(model, weights)
    single, half = folder / f"{name}.onnx", folder / f"{name}.fp16.onnx"
    save_onnx(model, single)
    export_half(single, half)
    return [single, half, weights]


def _check_hashes(entry: ModelEntry, files: Sequence[Path]) -> None:
    """Compares each file with the registry's entry for its kind, where that gives a hash."""
    for path in files:
        if not path.is_file():
            raise UserError(f"file not found: {path}")
        for known in entry.files:
            same_kind = Path(known.name).suffix == path.suffix
            if same_kind and known.sha256 is not None and sha256_of(path) != known.sha256:
                raise UserError(
                    f"{path} is not {known.name}: it has {path.stat().st_size} bytes and another "
                    f"SHA-256 than the registry's {known.sha256[:16]}…; get it again"
                )


def _read(entry: ModelEntry, files: Sequence[Path]) -> EngineNetwork:
    if entry.format == "darknet":
        return _read_darknet(entry, files)
    if len(files) != 1:
        raise UserError(f"give exactly one file: {entry.files[0].name}")
    if entry.format == "cpn":
        return _read_cpn(entry, files[0])
    if entry.format == "dsvtformer":
        official = load_official(files[0])
        network = build_named("dsvtformer")
        network.inner = official
        return network
    raise UserError(f"weights of format {entry.format} cannot be imported")


def _read_darknet(entry: ModelEntry, files: Sequence[Path]) -> EngineNetwork:
    by_suffix = {path.suffix: path for path in files}
    if ".weights" not in by_suffix or len(by_suffix) != len(files):
        raise UserError("give one .weights file, and its .cfg where the structure is not built in")
    weights, cfg = by_suffix[".weights"], by_suffix.get(".cfg")
    if cfg is not None:
        read_cfg(cfg)  # says what is wrong with it before its text is taken
        text = cfg.read_text(encoding="utf-8")
        return darknet_detector(load_darknet(cfg, weights), text)
    if entry.network is None:
        raise UserError(f"give the .cfg file too: {weights.name} does not hold the structure")
    text = str(NAMES[entry.network][1]["cfg"])
    parse_cfg(text, entry.network)
    with tempfile.TemporaryDirectory() as scratch:
        built_in = Path(scratch) / f"{entry.network}.cfg"
        built_in.write_text(text, encoding="utf-8")
        return darknet_detector(load_darknet(built_in, weights), text)


def _read_cpn(entry: ModelEntry, path: Path) -> EngineNetwork:
    """Reads a public CPN checkpoint, without running anything that may be hidden in it."""
    tensors = read_checkpoint(path, ("state_dict",))
    assert entry.network is not None
    network = build_named(entry.network)
    fill(network, tensors, path)  # which checks shapes before it copies anything
    return network
