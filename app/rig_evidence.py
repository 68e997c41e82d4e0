"""From the pipeline's messages to what the rig estimator takes."""

from __future__ import annotations

import numpy as np

from app.messages import Evidence
from engines.rig.types import Observation
from engines.skeleton import JOINT_COUNT


def observation_of(evidence: Evidence) -> Observation:
    """The estimator's form of a message; seconds of the monotonic clock."""
    views = evidence.views
    keypoints = np.zeros((len(views), JOINT_COUNT, 3))
    times = np.full(len(views), evidence.time_ns * 1e-9)
    lifted = np.zeros((len(views), JOINT_COUNT, 3))
    sigma = np.full((len(views), JOINT_COUNT), np.inf)
    for v, view in enumerate(views):
        if view is None:
            continue
        times[v] = view.capture_ns * 1e-9
        keypoints[v] = view.keypoints
        if view.lifted is not None and view.sigma is not None:
            lifted[v] = view.lifted
            sigma[v] = view.sigma
    return Observation(evidence.time_ns * 1e-9, times, keypoints, lifted, sigma)
