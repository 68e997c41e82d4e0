"""Entries of the registry of weights, files that fit, and the command that reads it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import torch

from engines.networks.darknet import Darknet
from engines.networks.darknet_cfg import parse_cfg
from engines.networks.darknet_weights import save_darknet
from marker_networks import DETECTOR_CFG
from tools.weights_registry import FileEntry, ModelEntry

REPOSITORY = Path(__file__).resolve().parents[1]


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


def save_marker(folder: Path) -> tuple[Path, Path]:
    """A small detector as a Darknet pair."""
    cfg, weights = folder / "marker.cfg", folder / "marker.weights"
    cfg.write_text(DETECTOR_CFG, encoding="utf-8")
    torch.manual_seed(0)
    save_darknet(Darknet(parse_cfg(DETECTOR_CFG, "marker")), weights)
    return cfg, weights
