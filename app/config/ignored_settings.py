"""Settings that another one makes void: whoever writes them relies on them."""

from __future__ import annotations

from collections.abc import Iterator

from app.config.schema import AppConfig, FrontEndConfig


def ignored_settings(config: AppConfig) -> Iterator[tuple[str, str]]:
    """What would be ignored without a word.

    Not part of the schema, for recordings hold configurations that were once accepted.

    Args:
        config: any.

    Yields:
        The key, and why it would do nothing.
    """
    calibration = config.calibration
    for key in ("fixed", "lenses"):
        if getattr(calibration, key) is None:
            continue
        if not calibration.enabled:
            yield f"calibration.{key}", "does nothing with calibration.enabled: false"
        elif len(config.cameras) < 2:
            yield f"calibration.{key}", "does nothing with a single camera"
    usual = FrontEndConfig()
    if config.front_end.kind == "blazepose":
        for key in ("detector", "pose", "flip_test"):
            if getattr(config.front_end, key) != getattr(usual, key):
                yield f"front_end.{key}", "is for front_end.kind: yolo_cpn"
