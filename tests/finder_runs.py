"""A finder of rigs, fed with scenes on a clock of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from app.config import AppConfig, CalibrationConfig, CameraConfig, FrontEndConfig, SyntheticSource
from app.messages import Evidence, RigUpdate, ViewEvidence
from app.rig_finder import RigFinder
from engines.rig.exchange import save_rig
from engines.rig.rig_file import rig_from_json
from engines.rig.rotations import angle_deg, exponential
from engines.rig.types import Observation, Rig
from tests.rig_scenes import STATURE_M, UNIT_M, Scene, SceneOptions, make_scene

START_NS = 10_000_000_000


class Run:
    """A finder fed with a scene, ten sets a second, on the scene's own clock."""

    def __init__(
        self,
        scene: Scene,
        calibration: CalibrationConfig,
        rig: Path | None,
        save_to: Path | None = None,
    ) -> None:
        self.now_ns = START_NS
        self.sizes = scene.sizes
        self.config = AppConfig(
            cameras=[
                CameraConfig(id=name, source=SyntheticSource(kind="synthetic"))
                for name in scene.ids
            ],
            calibration=calibration,
            body_height_m=STATURE_M,
            front_end=FrontEndConfig(kind="yolo_cpn"),
        )
        self.worked_ns = 0
        self.finder = RigFinder(
            self.config, rig, save_to, lambda: self.now_ns, lambda: self.worked_ns
        )
        self.said: list[RigUpdate] = []

    def feed(self, observations: list[Observation], step: int = 3) -> None:
        """Shows it some sets and lets it work whenever it wants to."""
        for observation in observations[::step]:
            self.now_ns = START_NS + round(observation.time_s * 1e9)
            self.finder.add(evidence_of(observation, self.sizes, self.now_ns))
            self.finder.work()
            if not self.said or self.said[-1] is not self.finder.update:
                self.said.append(self.finder.update)

    @property
    def rig(self) -> Rig:
        """The rig in use."""
        return rig_from_json(self.finder.update.rig.encode(), "rig")


def evidence_of(observation: Observation, sizes: list[tuple[int, int]], time_ns: int) -> Evidence:
    """The message that the pipeline would have sent."""
    assert observation.lifted is not None and observation.lifted_sigma is not None
    views: list[ViewEvidence | None] = []
    for v, (width, height) in enumerate(sizes):
        if not (observation.keypoints[v, :, 2] > 0).any():
            views.append(None)
            continue
        views.append(
            ViewEvidence(
                capture_ns=time_ns,
                width=width,
                height=height,
                keypoints=tuple((x, y, c) for x, y, c in observation.keypoints[v].tolist()),
                lifted=tuple((x, y, z) for x, y, z in observation.lifted[v].tolist()),
                sigma=tuple(observation.lifted_sigma[v].tolist()),
            )
        )
    return Evidence(index=0, time_ns=time_ns, body_unit_m=UNIT_M, views=tuple(views))


def start(
    scene: Scene,
    rig: Path | None = None,
    calibration: CalibrationConfig | None = None,
    save_to: Path | None = None,
) -> Run:
    """A run of a scene that has not begun yet."""
    return Run(scene, calibration or CalibrationConfig(every_s=3), rig, save_to)


def bumped(scene: Scene, view: int, from_s: float, turn_deg: float = 6.0) -> Scene:
    """The scene with one camera turned from some moment on."""
    other = make_scene(SceneOptions(seed=3, seconds=float(scene.times[-1]) + 1))
    assert np.array_equal(other.rotations, scene.rotations)
    turn = exponential(np.radians(turn_deg) * np.array([0.5, 0.7, 0.5]))
    rotations = scene.rotations.copy()
    rotations[view] = turn @ rotations[view]
    # A turned camera sees every ray turned: distortion is small enough to be left out here.
    keypoints = scene.keypoints.copy()
    later = scene.times >= from_s
    rays = np.concatenate(
        [keypoints[later, view, :, :2] / scene.focal[view], np.ones((later.sum(), 17, 1))], -1
    )
    rays = rays @ turn.T
    keypoints[later, view, :, :2] = scene.focal[view] * rays[..., :2] / rays[..., 2:]
    return replace(scene, keypoints=keypoints, rotations=rotations)


def scene_of(seconds: float) -> Scene:
    """A scene without distortion or wrong clocks."""
    return make_scene(SceneOptions(seed=3, seconds=seconds, k1=0.0, offset_s=0.0))


def saved(scene: Scene, path: Path, rig: Rig | None = None) -> Path:
    """The scene's true rig as a file."""
    save_rig(rig or scene.rig(), path)
    return path


def turn_between(rig: Rig, scene: Scene, a: int, b: int) -> float:
    """Error of the rotation between two cameras, degrees."""
    first, second = rig.cameras[a], rig.cameras[b]
    assert first is not None and second is not None
    found = first.rotation @ second.rotation.T
    return float(angle_deg(found @ (scene.rotations[a] @ scene.rotations[b].T).T))


def facing(rig: Rig, scene: Scene, joints: np.ndarray) -> np.ndarray:
    """Where the person of the true world faces, in the rig's world."""
    camera = rig.cameras[0]
    assert camera is not None
    turn = camera.rotation.T @ scene.rotations[0]
    left = turn @ (joints[4] - joints[1] + joints[11] - joints[14])
    front = np.cross(left, [0.0, 0, 1.0])
    return np.asarray(front / np.linalg.norm(front))


def without(observation: Observation, view: int) -> Observation:
    keypoints = observation.keypoints.copy()
    keypoints[view] = 0.0
    return replace(observation, keypoints=keypoints)
