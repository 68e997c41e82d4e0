"""Shows rendered sequences to the 2D pose network as the live front end would.

The region looked at follows the joints found in the picture before, as it does live
(``engines/front_ends/yolo_cpn``); only where a track begins, or is lost, the true box, jittered,
stands in for the detector's. Joints and context come from the front end's own code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.tracks import to_half_widths
from engines.backends.base import DescribedBackend
from engines.errors import UserError
from engines.front_ends.base import View2D
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.joint_finder import JointFinder, without_guesses
from engines.front_ends.yolo_cpn.network_facts import pose_facts
from engines.front_ends.yolo_cpn.operations import Operations
from engines.front_ends.yolo_cpn.tensor_operations import TensorOperations
from engines.skeleton import JOINT_COUNT
from tools.studio.shards import Scene
from tools.training.boards import BoardedScene, boards_of
from tools.training.even_rate import at_full_rate, step_of
from tools.training.feature_scenes import FeatureScene
from tools.training.scene_track import MOST_LAG, SceneTrack

Floats = npt.NDArray[np.float32]
_Context = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found in a scene of T instants and V cameras.

    Attributes:
        place: (T, V) the number of each picture, -1 where there is none.
        keypoints: (T, V, 17, 3) joints in pixels of the whole picture.
        context: (T, V, 17, C).
        crop: (T, V) height of the crop in pixels of the whole picture; 0 where none was looked at.
    """

    place: npt.NDArray[np.intp]
    keypoints: Floats
    context: _Context
    crop: Floats


class FeaturePass:
    """Finds joints and context in rendered sequences.

    Args:
        backend: runs the pose network.
        boards: Share of sequences whose person stands behind a board (``tools.training.boards``).

    Raises:
        UserError: it is no pose network, or its file does not say which weights it holds.
    """

    def __init__(self, backend: DescribedBackend, boards: float = 0.0) -> None:
        self._boards = boards
        self._operations: Operations = (
            HostOperations() if backend.device == "cpu" else TensorOperations(backend.device)
        )
        self._finder = JointFinder(backend, self._operations, "sampled")
        facts = pose_facts(backend)
        if not facts.by_joint:
            raise UserError(
                "features: the pose network tells nothing of joints beside their places; "
                "take a light CPN of python -m tools.train pose2d"
            )
        if not facts.weights:
            raise UserError(
                "features: the pose network's file does not say which weights it holds; "
                "export it again with python -m tools.train pose2d"
            )
        self.digest = facts.weights

    def see(self, scene: Scene) -> FeatureScene:
        """Looks at every picture of a scene of crops.

        Args:
            scene: consecutive instants of one person.

        Returns:
            What was found.
        """
        shown = BoardedScene(scene, boards_of(scene, self._boards))
        return self._scene(shown, self._look_through(shown))

    def _look_through(self, boarded: BoardedScene) -> _Found:
        scene = boarded.scene
        random = np.random.default_rng([scene.seed, 0])
        width, height = (int(size) for size in scene.picture_size)
        instants, views = len(scene.instant_times_s), len(scene.camera_R)
        place = np.full((instants, views), -1)
        place[scene.instant, scene.view] = np.arange(len(scene.instant))
        keypoints = np.zeros((instants, views, JOINT_COUNT, 3), np.float32)
        shape = (instants, views, JOINT_COUNT, self._finder.context_channels)
        context = np.zeros(shape, np.float16)
        crop = np.zeros((instants, views), np.float32)
        lag = int(random.integers(1, MOST_LAG + 1))
        tracks = [SceneTrack() for _ in range(views)]
        boxes, regions = boarded.boxes, scene.regions
        for instant in range(instants):
            pictures = {view: int(n) for view, n in enumerate(place[instant]) if n >= 0}
            shown = {view: _picture(boarded, n) for view, n in pictures.items()}
            waiting, started = list(pictures), set[int]()
            while waiting:
                looked: list[tuple[int, Floats]] = []
                for view in waiting:
                    track, true_box = tracks[view], boxes[pictures[view]]
                    if view not in started and track.needs_start(true_box):
                        track.start(true_box, random)
                        started.add(view)
                    if track.boxes:
                        looked.append((view, track.boxes[0]))
                waiting = []
                answers = self._find(looked, shown, {v: regions[n] for v, n in pictures.items()})
                for (view, _), answer in zip(looked, answers, strict=True):
                    if tracks[view].follow(answer, lag, height, width):
                        keypoints[instant, view] = without_guesses(answer).keypoints
                        assert answer.context is not None
                        context[instant, view] = answer.context
                        crop[instant, view] = answer.box[3] - answer.box[1]
                    elif view not in started:
                        waiting.append(view)
        return _Found(place, keypoints, context, crop)

    def _find(
        self,
        looked: list[tuple[int, Floats]],
        shown: dict[int, npt.NDArray[np.uint8]],
        regions: dict[int, Floats],
    ) -> list[View2D]:
        """Answers in pixels of the whole picture, for boxes there."""
        if not looked:
            return []
        self._operations.take([shown.get(view) for view in range(max(shown) + 1)])
        scales = {view: shown[view].shape[1] / _width(regions[view]) for view, _ in looked}
        # The pictures show a region of the whole, in its proportions: boxes go there and joints
        # come back by the same scale and shift.
        inside = [
            (view, ((box - np.tile(regions[view][:2], 2)) * scales[view]).astype(np.float32))
            for view, box in looked
        ]
        placed = []
        for (view, _), answer in zip(looked, self._finder.find(inside, _unnoted), strict=True):
            keypoints = answer.keypoints.copy()
            keypoints[:, :2] = keypoints[:, :2] / scales[view] + regions[view][:2]
            box = (answer.box / scales[view] + np.tile(regions[view][:2], 2)).astype(np.float32)
            placed.append(View2D(keypoints, box, answer.context))
        return placed

    def _scene(self, boarded: BoardedScene, found: _Found) -> FeatureScene:
        scene, place = boarded.scene, found.place
        width, height = (int(size) for size in scene.picture_size)
        there = place >= 0
        keypoints = to_half_widths(found.keypoints, width, height)
        keypoints[keypoints[..., 2] <= 0] = 0
        offset = np.full(place.shape, np.nan, np.float32)
        instants = np.nonzero(there)[0]
        offset[there] = scene.picture_times_s[place[there]] - scene.instant_times_s[instants]
        seen = np.zeros((len(scene.instant), JOINT_COUNT, 3), np.float32)
        seen[..., :2] = scene.joints_px[:, 0]
        truth = np.full((*place.shape, JOINT_COUNT, 2), np.nan, np.float32)
        truth[there] = to_half_widths(seen, width, height)[place[there], :, :2]
        visibility = np.zeros((*place.shape, JOINT_COUNT), np.uint8)
        visibility[there] = boarded.visibility[place[there]]
        sparse = FeatureScene(
            keypoints=keypoints,
            context=found.context,
            crop=found.crop * np.float32(2 / width),
            offset_s=offset,
            truth=truth,
            visibility=visibility,
            joints_m=np.asarray(scene.joints_m, np.float32),
            rotation=np.asarray(scene.camera_R, np.float32),
            digest=self.digest,
            boards=self._boards,
        )
        return at_full_rate(sparse, step_of(scene.instant_times_s))


def _unnoted(stage: str, seconds: float) -> None:
    """Nobody asks how long it took."""


def _picture(scene: BoardedScene, number: int) -> npt.NDArray[np.uint8]:
    """A picture as front ends want it: BGR."""
    rgb = scene.picture(number)
    return np.ascontiguousarray(rgb[..., ::-1])


def _width(box: Floats) -> float:
    return float(box[2] - box[0])
