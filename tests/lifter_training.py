"""A small lifter in training, in this process or by the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from engines.networks.rig_lifter import RigLifterConfig
from tools.training.keypoint_errors import KeypointErrors
from tools.training.lifter_config import LifterTaskConfig
from tools.training.lifter_task import LifterTask
from tools.training.loop import Trainer
from tools.training.loop_config import LoopConfig

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")

PRESET = """
task:
  network: {frames: 6, width: 32, joint_width: 16, depth: 1, joint_depth: 1}
  views_per_batch: 16
  validation_windows: 4
loop: {steps: 8, warmup_steps: 2, validate_every: 4, checkpoint_minutes: 0.0}
"""

NO_ERRORS = KeypointErrors(
    sigma=(0.0, 0.0), slow_share=(0.0, 0.0), sure=False, outlier_share=0.0, missing_views=0.0,
    lost_limbs=0.0, swap_share=0.0, absent_share=0.0,
)  # fmt: skip
"""What a camera would see that sees everything."""


def trainer(mocap: Path, folder: Path, steps: int = 8) -> Trainer:
    network = RigLifterConfig(frames=6, width=32, joint_width=16, depth=1, joint_depth=1)
    task = LifterTask(
        LifterTaskConfig(network=network, views_per_batch=16, validation_windows=4), mocap, CPU
    )
    config = LoopConfig(steps=steps, warmup_steps=2, validate_every=4, checkpoint_minutes=0.0)
    return Trainer(task, config, folder, CPU)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tools.train", "lifter", *map(str, arguments)]


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )
