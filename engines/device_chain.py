"""The described system as one chain that stays on the engine's device.

Pictures go up once; letterbox, crops, networks, decoding, context and the window of the last
frames stay there. What comes down is boxes, 2D joints and the 3D answer. It is how the three
networks are measured together; the same code runs on ``cpu`` in tests. On a CPU the steps around
the networks can be those that the live front end takes there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engines.backends.base import DescribedBackend
from engines.errors import UserError
from engines.front_ends.base import Image
from engines.front_ends.yolo_cpn.joint_finder import LEAST_SURE
from engines.front_ends.yolo_cpn.network_facts import check_kind, input_size, pose_facts
from engines.front_ends.yolo_cpn.operations import (
    FeatureLayout,
    Floats,
    Operations,
    Patch,
    PoseAnswer,
)
from engines.front_ends.yolo_cpn.person_finder import PersonFinder
from engines.front_ends.yolo_cpn.regions import crop_region
from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS, rival_features
from engines.front_ends.yolo_cpn.settings import YoloCpnSettings
from engines.front_ends.yolo_cpn.tensor_operations import TensorOperations
from engines.skeleton import JOINT_COUNT

Note = Callable[[str, float], None]
"""Told a step's name and how many seconds it took."""


@dataclass(frozen=True, slots=True)
class ChainAnswer:
    """What one set of pictures gave.

    Attributes:
        keypoints: (V, 17, 3) H36M-17 joints in pixels of each picture, and confidence.
        joints: (F, 17, 3) root-relative joints of the window, in the lifter's own axes and unit;
            for the rig-agnostic lifter those of the first view.
    """

    keypoints: Floats
    joints: Floats


class DeviceChain:
    """Detector, 2D pose and lifter, one after the other, on one device.

    The detector runs on every set. Where it finds nobody, the whole picture is the person's box.

    Args:
        detector: finds people.
        pose: finds joints in crops, and gives features.
        lifter: the authors' DSVTformer, or the rig-agnostic lifter with or without context.
        views: number of views.
        operations: the steps around the networks; None takes those in torch, on the device.

    Raises:
        UserError: a back end runs the wrong kind of network, or they are on different devices.
    """

    def __init__(
        self,
        detector: DescribedBackend,
        pose: DescribedBackend,
        lifter: DescribedBackend,
        views: int,
        operations: Operations | None = None,
    ) -> None:
        if len({backend.device for backend in (detector, pose, lifter)}) != 1:
            raise UserError("detector, pose network and lifter must run on the same device")
        check_kind(lifter, "lifter")
        self._device = torch.device(pose.device)
        self._operations = TensorOperations(pose.device) if operations is None else operations
        usual = YoloCpnSettings()
        self._people = PersonFinder(detector, self._operations, usual.score, usual.overlap)
        self._pose, self._lifter = pose, lifter
        self._facts = pose_facts(pose)
        self._size = input_size(pose)
        self._layout = FeatureLayout(*self._size, self._facts.by_joint)
        self._authors = lifter.metadata.get("dsvt.network") == "dsvtformer"
        shapes = {spec.name: spec.shape for spec in lifter.inputs}
        frames = cast(int, shapes["joints" if self._authors else "keypoints"][1])
        self._has_context = "context" in shapes
        self._reading = self._facts.reading(flip_test=False, rivals=not self._authors)
        self._keypoints = torch.zeros(frames, views, JOINT_COUNT, 3, device=self._device)
        at_joints = (JOINT_COUNT, self._facts.joint_channels + RIVAL_CHANNELS)
        each = (self._facts.channels,) if self._authors else at_joints
        shape = (frames, views, *each)
        self._context = torch.zeros(shape, device=self._device)
        self._started = False

    @torch.inference_mode()
    def process(self, images: Sequence[Image], note: Note | None = None) -> ChainAnswer:
        """Takes one picture a view.

        Args:
            images: one of each view.
            note: told the seconds that each step took. The device is waited for after each then,
                so that their sum is more than the whole takes otherwise.

        Returns:
            2D joints, and the 3D joints of the window that ends with these pictures.
        """
        laps = _Laps(note, self._device)
        self._operations.take(images)
        laps.end("pictures up")
        views = range(len(images))
        people = self._people.find_surest(images, views)
        laps.end("detection")
        patches: list[Patch] = []
        for view, (person, image) in enumerate(zip(people, images, strict=True)):
            whole = np.array((0, 0, image.shape[1], image.shape[0]), np.float32)
            box = whole if person is None else person.box
            patches.append(Patch(view, crop_region(box, *self._size)))
        answer = self._operations.find_joints(self._pose, patches, self._reading)
        joints, rivals = self._facts.found(answer)
        laps.end("2D pose")
        context = self._context_of(answer, joints[..., :2], rivals)
        keypoints = joints.copy()
        for index, patch in enumerate(patches):
            keypoints[index, :, :2] = patch.region.to_picture(joints[index, :, :2], *self._size)
        if not self._authors:  # theirs knows no missing joints
            guesses = keypoints[..., 2] < LEAST_SURE
            keypoints[guesses] = 0
            # (assigned to what a mask picks, it would wait to learn how much that is)
            context.masked_fill_(torch.from_numpy(guesses).to(self._device)[..., None], 0)
        self._push(torch.from_numpy(_half_widths(keypoints, images)).to(self._device), context)
        laps.end("context and window")
        lifted = self._lift()
        laps.end("lifting")
        return ChainAnswer(keypoints, lifted)

    def _context_of(self, answer: PoseAnswer, places: Floats, rivals: Floats) -> Tensor:
        """(V, C) of each crop for the authors' lifter, (V, 17, C) at the joints for ours."""
        if self._authors:
            return self._pooled(answer)
        told = torch.from_numpy(rival_features(places, rivals, self._size[0])).to(self._device)
        return torch.cat((self._sampled(answer, places), told), 2)

    def _pooled(self, answer: PoseAnswer) -> Tensor:
        if isinstance(self._operations, TensorOperations):
            return self._operations.pool_here(answer)
        return torch.from_numpy(self._operations.pool(answer))

    def _sampled(self, answer: PoseAnswer, places: Floats) -> Tensor:
        if isinstance(self._operations, TensorOperations):
            there = torch.from_numpy(places).to(self._device)
            return self._operations.sample_here(answer.features, there, self._layout)
        return torch.from_numpy(self._operations.sample(answer.features, places, self._layout))

    def _push(self, keypoints: Tensor, context: Tensor) -> None:
        """Moves the window on by one frame; the first frame fills all of it."""
        for window, newest in ((self._keypoints, keypoints), (self._context, context)):
            if self._started:
                window.copy_(torch.roll(window, -1, 0))
                window[-1] = newest
            else:
                window[:] = newest
        self._started = True

    def _lift(self) -> Floats:
        if self._authors:
            inputs = {"joints": self._keypoints[None, ..., :2].contiguous()}
            inputs["context"] = self._context[None]
            answer = self._lifter.run_tensors(inputs)["joints_3d"][0]
        else:
            views = self._keypoints.shape[1]
            mask = torch.ones(1, views, device=self._device)
            inputs = {"keypoints": self._keypoints[None], "view_mask": mask}
            if self._has_context:
                inputs["context"] = self._context[None]
                inputs["context_mask"] = mask[:, None].expand(-1, len(self._keypoints), -1)
                inputs["context_mask"] = inputs["context_mask"].contiguous()
            answer = self._lifter.run_tensors(inputs)["joints"][0, :, 0]
        return cast(Floats, (answer - answer[:, :1]).cpu().numpy())


class _Laps:
    """Times steps one after the other; free where nobody asks."""

    def __init__(self, note: Note | None, device: torch.device) -> None:
        self._note, self._device = note, device
        self._began = time.perf_counter()

    def end(self, step: str) -> None:
        """A step has ended, and the next begins."""
        if self._note is None:
            return
        if self._device.type != "cpu":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._note(step, now - self._began)
        self._began = now


def _half_widths(keypoints: Floats, images: Sequence[npt.NDArray[np.uint8]]) -> Floats:
    """Pixels to half-widths of the picture: x = 2u/w - 1, y = (2v - h)/w."""
    sizes = np.array([image.shape[1::-1] for image in images], np.float32)
    scaled = keypoints.copy()
    scaled[..., :2] = (2 * keypoints[..., :2] - sizes[:, None]) / sizes[:, None, :1]
    return scaled
