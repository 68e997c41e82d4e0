"""How far a found rig is from the true one, and its joints from the true joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engines.procrustes import align_similarity, nearest_rotation
from engines.rig.fusion import pose_with_rig
from engines.rig.rotations import angle_deg
from engines.rig.triangulation import cameras_of
from engines.rig.types import Floats, Rig
from tools.rig.lifting import resample_views
from tools.rig.simulation import Take
from tools.training.metrics import triangulate as linear_triangulation
from tools.training.rigs import Rig as TrueRig

_EDGE_S = 0.3
_EVERY = 3


@dataclass(frozen=True, slots=True, eq=False)
class RigErrors:
    """Errors of the cameras that were found, one entry each.

    Attributes:
        rotation_deg: after the rotation that fits all cameras best.
        focal: relative.
        position: after the similarity that fits the positions best, as a share of the distance to
            the person.
        offset_ms: of the time offset relative to the first camera that was found.
        tilt_deg: of the world's z, one number.
    """

    rotation_deg: Floats
    focal: Floats
    position: Floats
    offset_ms: Floats
    tilt_deg: float


def rig_errors(rig: Rig, take: Take) -> RigErrors:
    """Compares a rig with the true cameras of a take."""
    found = [(camera, take.cameras[i]) for i, camera in enumerate(rig.cameras) if camera]
    rotations = np.stack([a.rotation for a, _ in found])
    true = np.stack([b.rotation for _, b in found])
    # Each found rotation is the true one times the turn from the found to the true world.
    turn = nearest_rotation(np.einsum("vij,vik->jk", rotations, true))
    angles = angle_deg(rotations @ turn @ np.swapaxes(true, 1, 2))
    places = np.stack([b.position for _, b in found])
    own = np.stack([a.position for a, _ in found]) @ turn
    own, centred = own - own.mean(0), places - places.mean(0)
    scale = (own * centred).sum() / max(float((own**2).sum()), 1e-9)
    distance = np.linalg.norm(places - take.joints[:, 0].mean(0), axis=-1)
    offsets = np.array([a.time_offset_s - b.time_offset_s for a, b in found])
    upright = float((turn @ np.array([0.0, 0.0, 1.0]))[2])
    return RigErrors(
        rotation_deg=angles,
        focal=np.array([abs(a.model.focal / b.focal - 1) for a, b in found]),
        position=np.linalg.norm(scale * own - centred, axis=-1) / distance,
        offset_ms=np.abs(offsets - offsets[0])[1:] * 1e3,
        tilt_deg=float(np.degrees(np.arccos(np.clip(upright, -1, 1)))),
    )


@dataclass(frozen=True, slots=True)
class JointErrors:
    """Mean joint errors over a take, millimetres.

    Attributes:
        fused_pa: rig and lifter together, after the best similarity of each pose.
        triangulated_pa: the rig alone.
        true_dlt_pa: linear triangulation with the true cameras on the same 2D.
        lifter_pa: the lifter alone, its views joined with the true rotations.
        fused_take: rig and lifter, after one similarity for the whole take.
        expected: what the system itself expects, mean over joints and instants.
    """

    fused_pa: float
    triangulated_pa: float
    true_dlt_pa: float
    lifter_pa: float
    fused_take: float
    expected: float


def joint_errors(
    rig: Rig, take: Take, lifted: Floats, lifted_sigma: Floats, body_unit_m: float
) -> JointErrors:
    """Uses a rig on a take as the live application does, and measures.

    Args:
        rig: one entry a view.
        take: what was seen.
        lifted: (T, V, 17, 3) the lifter's answers, body units.
        lifted_sigma: (T, V, 17).
        body_unit_m: metres.

    Returns:
        The errors, over every third set but the first and last third of a second.
    """
    cameras = cameras_of(rig)
    aspects = np.array([camera.aspect for camera in take.cameras])
    inside = (take.times_s > _EDGE_S) & (take.times_s < take.times_s[-1] - _EDGE_S)
    rows = np.flatnonzero(inside)[::_EVERY]
    times = take.times_s[rows]
    seen = resample_views(take.view_times_s + cameras.offsets, take.keypoints, times)
    fused, alone, expected = [], [], []
    for row, keypoints in zip(rows, seen, strict=True):
        pose = pose_with_rig(
            cameras,
            keypoints,
            aspects,
            rig.rig_error_mm * 1e-3,
            lifted[row] * body_unit_m,
            lifted_sigma[row] * body_unit_m,
        )
        bare = pose_with_rig(cameras, keypoints, aspects, rig.rig_error_mm * 1e-3)
        missing = np.full((17, 3), np.nan)
        fused.append(missing if pose is None else pose.joints)
        alone.append(missing if bare is None else bare.joints)
        expected.append(np.nan if pose is None else float(pose.sigma.mean()))
    truth = take.joints[rows]
    joints = np.stack(fused)
    known = np.isfinite(joints).all((1, 2))
    flat = align_similarity(joints[known].reshape(-1, 3), truth[known].reshape(-1, 3))
    whole = np.linalg.norm(flat - truth[known].reshape(-1, 3), axis=-1).mean()
    return JointErrors(
        fused_pa=_pa(joints, truth),
        triangulated_pa=_pa(np.stack(alone), truth),
        true_dlt_pa=_pa(_with_true_cameras(take, times), truth),
        lifter_pa=_pa(_lifter_alone(take, lifted[rows], lifted_sigma[rows]), truth),
        fused_take=1e3 * float(whole),
        expected=1e3 * float(np.nanmean(expected)),
    )


def _pa(joints: Floats, truth: Floats) -> float:
    known = np.isfinite(joints).all((1, 2))
    aligned = align_similarity(joints[known], truth[known])
    return 1e3 * float(np.linalg.norm(aligned - truth[known], axis=-1).mean())


def _with_true_cameras(take: Take, times: Floats) -> Floats:
    """DLT with the true cameras, the 2D joints read with the true time offsets."""
    offsets = np.array([camera.time_offset_s for camera in take.cameras])
    seen = resample_views(take.view_times_s + offsets, take.keypoints, times)
    rig = TrueRig(
        rotation=torch.tensor(np.stack([c.rotation for c in take.cameras]))[None],
        position=torch.tensor(np.stack([c.position for c in take.cameras]))[None],
        focal=torch.tensor([c.focal for c in take.cameras])[None],
        half_height=torch.zeros(1),
        half_width=torch.zeros(1),
    )
    return np.asarray(linear_triangulation(torch.tensor(seen)[None], rig)[0].numpy())


def _lifter_alone(take: Take, lifted: Floats, sigma: Floats) -> Floats:
    rotations = np.stack([camera.rotation for camera in take.cameras])
    weights = 1 / sigma**2
    turned = np.einsum("vji,tvpj->tvpi", rotations, lifted)
    total = weights.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights[..., None] * turned).sum(1) / total[..., None])
