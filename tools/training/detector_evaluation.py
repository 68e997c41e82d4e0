"""Measures a shipped detector the way the live front end uses it, on pictures of the test."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.backends.select import open_backend
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.person_finder import PersonFinder
from engines.front_ends.yolo_cpn.settings import YoloCpnSettings
from tools.training.detector_metrics import DetectionScore, score_detections
from tools.training.detector_samples import (
    CLEAR_SHARE,
    IGNORED,
    PERSON,
    DetectorSample,
    graded,
    share_in_sight,
)
from tools.training.scene_pool import ScenePool

Floats = npt.NDArray[np.float32]

_AT_ONCE: Final = 8
_IN_SIGHT: Final = (0.3, CLEAR_SHARE)
"""Who shows less of the joints than the first is hardly asked for elsewhere."""


def evaluate_detector(weights: Path, data: Path, pictures: int, threads: int) -> DetectionScore:
    """Runs the front end's first stage on whole pictures of the test split, and prints the figures.

    Args:
        weights: The network's file.
        data: Folder of rendered scenes.
        pictures: At most so many pictures.
        threads: CPU threads.

    Raises:
        UserError: The network or the scenes cannot be read.
    """
    settings = YoloCpnSettings()
    operations = HostOperations()
    backend = open_backend(weights, "onnxruntime", threads)
    finder = PersonFinder(backend, operations, settings.score, settings.overlap)
    pool = ScenePool(data, "test", "frames", 100.0)
    found: list[Floats] = []
    samples: list[DetectorSample] = []
    by_sight: dict[float, list[DetectorSample]] = {share: [] for share in _IN_SIGHT}
    for path in pool.paths:
        scene = pool.read(path)
        for start in range(0, len(scene), _AT_ONCE):
            part = range(start, min(start + _AT_ONCE, len(scene)))
            # The front end takes BGR.
            images = [scene.picture(index)[..., ::-1] for index in part]
            operations.take(images)
            for people in finder.find(images, range(len(images))):
                found.append(np.array([p.box for p in people], np.float32).reshape(-1, 4))
            for index, image in zip(part, images, strict=True):
                boxes, kinds = graded(scene, index)
                samples.append(DetectorSample(image, boxes, kinds))
                shares = share_in_sight(scene, index)
                for least, chosen in by_sight.items():
                    hidden = (kinds == PERSON) & (shares < least)
                    chosen.append(DetectorSample(image, boxes, np.where(hidden, IGNORED, kinds)))
        if len(samples) >= pictures:
            break
    backend.close()
    score = score_detections(found, samples)
    print(f"pictures {score.pictures}, empty rooms {score.empty}, people {score.people}")
    print(f"recall at IoU 0.5: {score.recall:.2f} %, mean overlap {score.mean_overlap:.1f} %")
    for least, chosen in by_sight.items():
        part_of = score_detections(found, chosen)
        print(
            f"of the {part_of.people} with {least:.0%} of their joints in sight or more: ", end=""
        )
        print(f"{part_of.recall:.2f} %")
    print(f"false boxes: {score.false_per_empty:.4f} an empty room, ", end="")
    print(f"{score.false_per_picture:.4f} a picture; further boxes on people: ", end="")
    print(f"{score.further_per_picture:.2f} a picture")
    return score
