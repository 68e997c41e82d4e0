"""The settings of the training loop that every network shares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """How to train.

    Attributes:
        steps: Most optimiser steps.
        minutes: Most minutes of training, all sittings together; None for no limit. The learning
            rate falls with whichever of the two is further spent.
        learning_rate: Its peak.
        warmup_steps: Steps in which it rises.
        final_rate: What is left of it at the end, as a share of the peak.
        weight_decay: AdamW's, on matrices only.
        clip_norm: Gradients longer than this are shortened.
        ema_decay: Decay a step of the averaged weights, which are the ones validated and shipped.
        validate_every: Steps between validations.
        checkpoint_minutes: Minutes between checkpoints.
        seed: Of everything random.
        amp: Mixed precision on CUDA.
        bfloat16: Convolutions and matrix products in bfloat16 on a CPU that has it.
    """

    steps: int = 40_000
    minutes: float | None = None
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    final_rate: float = 0.005
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    validate_every: int = 500
    checkpoint_minutes: float = 2.0
    seed: int = 0
    amp: bool = True
    bfloat16: bool = False
