"""The configuration: its schema, and the reader of YAML files."""

from app.config.loader import load_config
from app.config.schema import (
    AppConfig,
    CalibrationConfig,
    CameraConfig,
    FileSource,
    FrontEndConfig,
    LifterConfig,
    RecorderConfig,
    StreamSource,
    SynchronizerConfig,
    SyntheticSource,
    Turn,
    ViewerConfig,
    WebcamSource,
)

__all__ = [
    "AppConfig",
    "CalibrationConfig",
    "CameraConfig",
    "FileSource",
    "FrontEndConfig",
    "LifterConfig",
    "RecorderConfig",
    "StreamSource",
    "SynchronizerConfig",
    "SyntheticSource",
    "Turn",
    "ViewerConfig",
    "WebcamSource",
    "load_config",
]
