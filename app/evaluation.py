"""Errors of a run against ground truth, for clips that have it.

MPJPE: mean distance of the joints after the pelvis is put on the pelvis, in world axes as
published (z up, heading of the reference camera), so an error in level or heading counts.
PA-MPJPE: the same after the best similarity per pose (Umeyama 1991).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.errors import UserError
from engines.procrustes import align_similarity

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PoseErrors:
    """Mean errors over the poses of a run, in millimetres."""

    mpjpe_mm: float
    pa_mpjpe_mm: float
    poses: int


@dataclass(frozen=True, slots=True)
class CalibratedErrors:
    """Errors from the moment on at which the cameras were found and the change-over was over.

    Attributes:
        found_s: when the first pose was made with the found cameras, seconds of the clip.
        errors: of the poses from a change-over's time later on.
    """

    found_s: float
    errors: PoseErrors


class Truth:
    """The true joints of a clip over time."""

    def __init__(self, path: Path) -> None:
        """Reads a clip's ``truth.npz``.

        Args:
            path: with ``times_s`` (T,), ``joints_m`` (T, 17, 3) world metres, z up, and
                ``camera_R`` (V, 3, 3) world to camera.

        Raises:
            UserError: missing or not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                self._times = np.asarray(data["times_s"], np.float64)
                self._joints = np.asarray(data["joints_m"], np.float64)
                rotation = np.asarray(data["camera_R"], np.float64)[0]
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such ground-truth file") from error
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, IndexError) as error:
            raise UserError(f"{path}: not a ground-truth file of a clip") from error
        if self._joints.shape != (len(self._times), 17, 3) or len(self._times) < 2:
            raise UserError(f"{path}: its joints and times do not belong together")
        forward = rotation[2, :2]  # the reference camera's axis, level
        y = forward / np.linalg.norm(forward)
        self._heading = np.array([[y[1], -y[0], 0.0], [y[0], y[1], 0.0], [0.0, 0.0, 1.0]])

    def at(self, times_s: Floats) -> Floats:
        """(N, 17, 3) joints in metres, root-relative, z up, heading of the reference camera."""
        flat = self._joints.reshape(len(self._times), -1)
        columns = [np.interp(times_s, self._times, flat[:, c]) for c in range(flat.shape[1])]
        joints = np.stack(columns, axis=1).reshape(-1, 17, 3) @ self._heading.T
        return np.asarray(joints - joints[:, :1])

    def covers(self, time_s: float) -> bool:
        """Whether the clip has an answer for this time."""
        return bool(self._times[0] <= time_s <= self._times[-1])


def pose_errors(truth: Truth, times_s: Floats, joints: Floats) -> PoseErrors | None:
    """Compares poses with the truth.

    Args:
        truth: of the clip.
        times_s: (N,) times on the clip's clock.
        joints: (N, 17, 3) metres, as published.

    Returns:
        The errors; None where no pose lies within the clip.
    """
    inside = np.array([truth.covers(t) for t in times_s], bool)
    if not inside.any():
        return None
    wanted = truth.at(times_s[inside])
    got = joints[inside] - joints[inside][:, :1]
    direct = np.linalg.norm(got - wanted, axis=-1).mean()
    aligned = align_similarity(got, wanted)
    pa = np.linalg.norm(aligned - wanted, axis=-1).mean()
    return PoseErrors(float(direct * 1000), float(pa * 1000), int(inside.sum()))
