"""The two BlazePose networks: which files they are and where they come from.

Model cards: "BlazePose GHUM 3D" and "BlazePose", Google, Apache-2.0.
"""

from __future__ import annotations

from typing import Final

from engines.errors import UserError
from engines.weights_cache import WeightsFile, load
from engines.weights_source import WheelMember

# The last version whose wheel carries the networks; later ones download them at run time.
_DISTRIBUTION: Final = "mediapipe"
_VERSION: Final = "0.10.21"

DETECTOR: Final = WeightsFile(
    name="pose_detection.tflite",
    size=2_959_046,
    sha256="9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    source=WheelMember(
        _DISTRIBUTION, _VERSION, "mediapipe/modules/pose_detection/pose_detection.tflite"
    ),
    licence="Apache-2.0",
)
"""Finds people: where their hips are, how tall they are and which way up."""

LANDMARKS: Final = WeightsFile(
    name="pose_landmark_full.tflite",
    size=6_440_512,
    sha256="e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    source=WheelMember(
        _DISTRIBUTION, _VERSION, "mediapipe/modules/pose_landmark/pose_landmark_full.tflite"
    ),
    licence="Apache-2.0",
)
"""Finds the 33 body landmarks of one person in an upright square crop."""

WEIGHTS: Final = (DETECTOR, LANDMARKS)


def fetched(file: WeightsFile) -> bytes:
    """One of the files, from the cache or downloaded.

    Raises:
        UserError: it cannot be had; the text names the networks that need no download, too.
    """
    try:
        return load(file)
    except UserError as error:
        other = "or use the networks that ship, front_end: {kind: yolo_cpn}"
        raise UserError(f"{error}; {other}") from None
