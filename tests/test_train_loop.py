"""The trainer's loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tools.training.loop import Trainer
from tools.training.loop_config import LoopConfig


class _Line:
    """A task of one weight, one of whose batches is damaged."""

    def __init__(self, damaged: int) -> None:
        self._left = damaged

    def build(self) -> nn.Module:
        return nn.Linear(1, 1)

    def loss(
        self, network: nn.Module, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self._left -= 1
        x = torch.full((4, 1), torch.nan if self._left == 0 else 1.0)
        loss = (network(x) - 3 * x).square().mean()
        return loss, {"loss": loss.detach()}

    def validate(self, network: nn.Module) -> dict[str, float]:
        return {"score": 0.0}


def test_a_batch_without_a_finite_gradient_teaches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = LoopConfig(steps=60, learning_rate=0.3, warmup_steps=1, weight_decay=0, clip_norm=10)
    trainer = Trainer(_Line(damaged=20), config, tmp_path, torch.device("cpu"))
    for _ in range(60):
        trainer.step()
    assert float(trainer.network(torch.ones(1, 1)).detach()) == pytest.approx(3, abs=0.05)
    assert capsys.readouterr().err == "step 19: left out, its gradient is not finite\n"
