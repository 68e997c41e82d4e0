"""The report of a calibration: reprojection by camera, what is expected, a picture of the rig."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.rig.rotations import angle_deg
from engines.rig.triangulation import cameras_of, seen_at
from engines.rig.types import Floats, Rig, RigCamera, RigResult
from engines.skeleton import LIMB_JOINTS
from tools.rig.plots import draw_rig
from tools.rig.skeletons import keypoints_together, poses
from tools.rig.takes import SeenTake

_MIN_CONFIDENCE = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Reprojection:
    """How well a rig explains what was seen.

    Attributes:
        median_px: (V,) of the limb joints' reprojection errors, pixels; NaN where nothing was seen.
        within: (V,) share of limb joints within 5 % of the person's height of a picture side.
        path_m: (N, 3) the pelvis.
        bone_variation: coefficient of variation of the limb bones' lengths, median over bones.
    """

    median_px: Floats
    within: Floats
    path_m: Floats
    bone_variation: float


def reproject(rig: Rig, take: SeenTake) -> Reprojection:
    """Triangulates a take with a rig alone, without the lifter, and looks back."""
    cameras = cameras_of(rig)
    seen = keypoints_together(rig, take)
    errors: list[list[Floats]] = [[] for _ in take.ids]
    joints = []
    for keypoints, pose in zip(seen, poses(rig, take, seen), strict=True):
        if pose is None:
            continue
        joints.append(np.where(pose.known[:, None], pose.joints, np.nan))
        predicted = seen_at(cameras, pose.joints)
        for v in rig.known:
            limbs = list(LIMB_JOINTS)
            use = (keypoints[v, limbs, 2] > _MIN_CONFIDENCE) & pose.known[limbs]
            miss = np.linalg.norm(predicted[v, limbs] - keypoints[v, limbs, :2], axis=-1)[use]
            errors[v].append(miss * take.sizes[v][0] / 2)
    flat = [np.concatenate(e) if e else np.zeros(0) for e in errors]
    limit = [0.05 * max(size) for size in take.sizes]
    skeletons = np.stack(joints) if joints else np.zeros((0, 17, 3))
    return Reprojection(
        median_px=np.array([np.median(e) if len(e) else np.nan for e in flat]),
        within=np.array(
            [(e < most).mean() if len(e) else np.nan for e, most in zip(flat, limit, strict=True)]
        ),
        path_m=skeletons[:, 0][np.isfinite(skeletons[:, 0]).all(-1)],
        bone_variation=_bone_variation(skeletons),
    )


def _bone_variation(skeletons: Floats) -> float:
    limbs = [(1, 2), (2, 3), (4, 5), (5, 6), (11, 12), (12, 13), (14, 15), (15, 16)]
    values = []
    for a, b in limbs:
        length = np.linalg.norm(skeletons[:, a] - skeletons[:, b], axis=-1)
        length = length[np.isfinite(length)]
        if len(length) > 2:
            values.append(float(length.std() / max(float(length.mean()), 1e-6)))
    return float(np.median(values)) if values else float("nan")


def report_lines(
    result: RigResult, take: SeenTake, looked: Reprojection, *, fixed: bool = False
) -> list[str]:
    """The report as lines of Markdown.

    Args:
        result: with a rig.
        take: what was seen.
        looked: how well the rig fits it.
        fixed: whether places of cameras that were given tell the scale.
    """
    rig = result.rig
    assert rig is not None
    scale = "fixed cameras" if fixed else f"a body height of {rig.body_height_m:.2f} m"
    level = "z is up, the floor is at z = 0"
    if not rig.levelled:
        level = "not levelled (nobody stood upright for long enough)"
    lines = [
        "# Calibration",
        "",
        f"Quality: **{rig.quality}**. Expected joint error {rig.expected_error_mm:.0f} mm, of "
        f"which the rig itself makes {rig.rig_error_mm:.0f} mm.",
        f"From {result.keyframes} instants of {result.seconds:.1f} s; {level}; scale from {scale}.",
        f"Limb bones vary by {100 * looked.bone_variation:.1f} % (triangulated one set at a time).",
        "",
        "| camera | position (m) | field of view | k1 | time offset | reprojection, median | "
        "2D noise |",
        "|---|---|---|---|---|---|---|",
    ]
    for v, camera in enumerate(rig.cameras):
        if camera is None:
            lines.append(f"| {take.ids[v]} | not found | | | | | |")
        else:
            lines.append(_row(camera, looked.median_px[v]))
    lines += ["", *_pair_lines(rig)]
    lines += [f"- {warning}" for warning in result.warnings]
    if result.reason:
        lines.append(f"- {result.reason}")
    return lines


def _row(camera: RigCamera, median_px: float) -> str:
    x, y, z = camera.position
    model = camera.model
    fov = model.horizontal_fov_deg
    fov_sigma = np.degrees(2 * camera.focal_sigma * model.focal / (1 + model.focal**2))
    return (
        f"| {camera.id} | {x:.2f}, {y:.2f}, {z:.2f} ± {camera.position_sigma_m:.2f} "
        f"| {fov:.1f}° ± {fov_sigma:.1f} | {model.k1:+.3f} "
        f"| {1e3 * camera.time_offset_s:+.1f} ± {1e3 * camera.time_sigma_s:.1f} ms "
        f"| {median_px:.1f} px | {100 * camera.noise:.1f} % of the person |"
    )


def _pair_lines(rig: Rig) -> list[str]:
    known = [c for c in rig.cameras if c is not None]
    pairs = [
        f"{a.id}–{b.id} {float(angle_deg(a.rotation @ b.rotation.T)):.0f}°"
        for i, a in enumerate(known)
        for b in known[i + 1 :]
    ]
    return ["Rotations between cameras: " + ", ".join(pairs) + ".", ""]


def write_report(
    folder: Path, result: RigResult, take: SeenTake, looked: Reprojection, *, fixed: bool = False
) -> tuple[Path, Path]:
    """Writes ``report.md`` and ``rig.png`` into a folder; see ``report_lines``."""
    assert result.rig is not None
    folder.mkdir(parents=True, exist_ok=True)
    text, picture = folder / "report.md", folder / "rig.png"
    draw_rig(picture, result.rig, looked.path_m)
    lines = [*report_lines(result, take, looked, fixed=fixed), "", "![the rig](rig.png)"]
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return text, picture
