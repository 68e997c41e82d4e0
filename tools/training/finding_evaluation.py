"""Whether the front end, shown one picture, finds somebody who is there and nobody who is not.

The detector alone is asked for everybody, however little is seen of them. An application that
follows one person needs less of it, and its pose network looks at what the detector found, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.front_ends.tracking import TrackSettings
from engines.front_ends.yolo_cpn.front_end import open_yolo_cpn
from engines.front_ends.yolo_cpn.settings import YoloCpnSettings
from engines.skeleton import MIRROR
from tools.studio.shards import VISIBLE, Scene
from tools.training.detector_samples import PERSON, graded, in_clear_view, who_is_in
from tools.training.scene_pool import ScenePool

Floats = npt.NDArray[np.float32]

_NEAR: Final = 0.1
"""A joint is right within this share of the longer side of the person's box…"""

_RIGHT_SHARE: Final = 0.6
"""…and a person found with this share of the visible joints right."""


@dataclass(frozen=True, slots=True)
class FindingScore:
    """What the front end made of single pictures.

    Attributes:
        pictures: So many pictures with somebody in clear view.
        found: Of these, in per cent, those where it found a person's joints.
        elsewhere: Those where its joints are on nobody.
        empty: Pictures of empty rooms.
        ghosts: Of these, in per cent, those where it found somebody.
    """

    pictures: int
    found: float
    elsewhere: float
    empty: int
    ghosts: float


def evaluate_finding(detector: Path, pose: Path, data: Path, threads: int) -> FindingScore:
    """Shows the front end each whole picture of the test split alone, and prints the figures.

    Args:
        detector: The detector's file.
        pose: The pose network's file.
        data: Folder of rendered scenes.
        threads: CPU threads.

    Raises:
        UserError: A network or the scenes cannot be read.
    """
    forgetful = YoloCpnSettings(track=TrackSettings(keep_without_picture=0))
    front_end = open_yolo_cpn(1, detector, pose, "onnxruntime", threads, forgetful)
    clear = found = elsewhere = empty = ghosts = 0
    for scene, index in ScenePool(data, "test", "frames", 100.0).pictures():
        people, kinds = graded(scene, index)
        asked = bool(((kinds == PERSON) & in_clear_view(scene, index)).any())
        if len(people) and not asked:
            continue
        front_end.process([None])  # it forgets the picture before
        # The front end takes BGR.
        (seen,) = front_end.process([np.ascontiguousarray(scene.picture(index)[..., ::-1])])
        if not asked:
            empty += 1
            ghosts += seen is not None
            continue
        clear += 1
        if seen is not None:
            right = is_on_somebody(scene, index, seen.keypoints)
            found += right
            elsewhere += not right
    front_end.close()
    score = FindingScore(
        pictures=clear,
        found=100 * found / max(clear, 1),
        elsewhere=100 * elsewhere / max(clear, 1),
        empty=empty,
        ghosts=100 * ghosts / max(empty, 1),
    )
    print(f"somebody in clear view: {clear} pictures, the front end finds them in ", end="")
    print(f"{score.found:.1f} % and is elsewhere in {score.elsewhere:.1f} %")
    print(f"nobody: {empty} pictures, it finds somebody in {score.ghosts:.1f} %")
    return score


def is_on_somebody(scene: Scene, index: int, keypoints: Floats) -> bool:
    """Whether joints are those of somebody in a stored picture, be it with left for right.

    Args:
        scene: The scene.
        index: Of the picture.
        keypoints: (17, 3) in pixels of the stored picture.
    """
    for person, box in zip(*who_is_in(scene, index), strict=True):
        visible = scene.visibility[index, person] == VISIBLE
        if not visible.any():
            continue
        joints = scene.to_stored(scene.joints_px[index, person, visible], index)
        near = _NEAR * float((box[2:] - box[:2]).max())
        for sided in (keypoints, keypoints[list(MIRROR)]):
            away = np.linalg.norm(sided[visible, :2] - joints, axis=1)
            if (away < near).mean() >= _RIGHT_SHARE:
                return True
    return False
