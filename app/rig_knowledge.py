"""What a configuration, or a rig file, says of the cameras beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from app.config import AppConfig
from engines.rig.exchange import load_rig, match_cameras
from engines.rig.priors import focal_of_fov
from engines.rig.types import KnownCamera, Rig

LENS_SIGMA: Final = 0.005
"""Relative uncertainty of a focal length from a calibration."""


def known_cameras(config: AppConfig) -> list[KnownCamera]:
    """What a configuration says: fields of view, lenses from a file, fixed cameras.

    Raises:
        UserError: a file that it names cannot be used.
    """
    names = [camera.id for camera in config.cameras]
    known = [
        KnownCamera(
            focal=None
            if camera.horizontal_fov_deg is None
            else focal_of_fov(camera.horizontal_fov_deg)
        )
        for camera in config.cameras
    ]
    settings = config.calibration
    for path, places in ((settings.lenses, False), (settings.fixed, True)):
        if path is not None:
            known = from_rig(_load(path, names, config.body_height_m), known, places=places)
    return known


def fixed_world_is_level(config: AppConfig) -> bool:
    """Whether the world of the cameras that are given as fixed has z up; True without any.

    Raises:
        UserError: the file that gives them cannot be used.
    """
    path = config.calibration.fixed
    return path is None or load_rig(path, body_height_m=config.body_height_m)[0].levelled


def _load(path: Path, names: list[str], body_height_m: float) -> Rig:
    return match_cameras(load_rig(path, body_height_m=body_height_m)[0], names, str(path))


def fixed_cameras(rig: Rig, known: list[KnownCamera]) -> list[KnownCamera]:
    """Takes lenses and places of a rig's cameras as given."""
    return from_rig(rig, known, places=True)


def from_rig(rig: Rig, known: list[KnownCamera], *, places: bool) -> list[KnownCamera]:
    """Adds a rig's lenses, and places if wanted, to what is known.

    Args:
        rig: one entry a camera.
        known: what was known before.
        places: whether the cameras also stand where the rig has them.
    """
    out = []
    for camera, before in zip(rig.cameras, known, strict=True):
        if camera is None:
            out.append(before)
            continue
        lens = KnownCamera(
            focal=camera.model.focal,
            focal_sigma=max(LENS_SIGMA, min(camera.focal_sigma, 0.02)),
            k1=camera.model.k1,
            principal=camera.model.principal,
        )
        if places:
            lens = replace(lens, rotation=camera.rotation, position=camera.position)
        out.append(lens)
    return out
