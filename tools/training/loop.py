"""The training loop that every network shares: schedule, averaging, checkpoints, log.

A task brings the network, the loss and the validation; the loop brings everything else.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn

from engines.errors import UserError
from tools.training import parallel
from tools.training.checkpoints import load_checkpoint, save_atomically
from tools.training.loop_config import LoopConfig
from tools.training.stop_request import StopRequest

CHECKPOINT_VERSION = 1


def already_begun(option: str, folder: Path) -> UserError:
    """What to say where weights to begin with are given to a run that has begun."""
    return UserError(
        f"{option}: a run has begun in {folder} already, and goes on without it; leave it out, or "
        "give another --folder"
    )


class Task(Protocol):
    """What is trained."""

    def build(self) -> nn.Module:
        """Makes the network, freshly initialised."""

    def loss(
        self, network: nn.Module, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Draws a batch on the generator's device; the loss, and scalars for the log."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Scalars for the log; ``score`` decides which weights are best, lower is better."""


@runtime_checkable
class StagedTask(Protocol):
    """A task that changes on the way."""

    def advance(self, progress: float) -> None:
        """Is told before each step which share of the budget is spent, 0..1."""


@dataclass(slots=True)
class _State:
    """Where training stands."""

    step: int = 0
    seconds: float = 0.0
    best: float = math.inf


class Trainer:
    """Runs a task in a folder of its own, from where it stood.

    The folder holds ``checkpoint.pt`` (everything needed to go on), ``best.pt`` (averaged weights
    that validated best), ``metrics.csv``.
    """

    def __init__(self, task: Task, config: LoopConfig, folder: Path, device: torch.device) -> None:
        self.task, self.config, self.folder, self.device = task, config, folder, device
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self.network = task.build().to(device)
        self.average = task.build().to(device).requires_grad_(False)
        self.average.load_state_dict(self.network.state_dict())
        self.generator = torch.Generator(device=device).manual_seed(config.seed)
        trained = [p for p in self.network.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.dim() > 1]},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.amp = config.amp and device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp)
        self.state = _State()

    @property
    def checkpoint_path(self) -> Path:
        """Where the resumable checkpoint lies."""
        return self.folder / "checkpoint.pt"

    def progress(self) -> float:
        """The share of the budget that is spent, 0..1."""
        spent = self.state.step / self.config.steps
        if self.config.minutes is not None:
            spent = max(spent, self.state.seconds / 60.0 / self.config.minutes)
        return min(spent, 1.0)

    def rate(self) -> float:
        """The learning rate now: linear warm-up, then half a cosine."""
        config = self.config
        warm = min(1.0, (self.state.step + 1) / max(config.warmup_steps, 1))
        cosine = 0.5 * (1.0 + math.cos(math.pi * self.progress()))
        return config.learning_rate * warm * (config.final_rate + (1 - config.final_rate) * cosine)

    def save(self) -> None:
        """Writes the checkpoint; a crash while writing leaves the previous one."""
        content = {
            "version": CHECKPOINT_VERSION,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generator": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "step": self.state.step,
            "seconds": self.state.seconds,
            "best": self.state.best,
        }
        save_atomically(content, self.checkpoint_path)

    def resume(self) -> bool:
        """Continues from the folder's checkpoint, if there is one.

        Returns:
            Whether there was one.

        Raises:
            UserError: It is damaged or of another network.
        """
        if not self.checkpoint_path.exists():
            return False
        content = load_checkpoint(self.checkpoint_path)
        try:
            if content["version"] != CHECKPOINT_VERSION:
                raise ValueError(f"version {content['version']}, want {CHECKPOINT_VERSION}")
            self.network.load_state_dict(content["network"])
            self.average.load_state_dict(content["average"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.scaler.load_state_dict(content["scaler"])
            self.generator.set_state(content["generator"].cpu())
            torch.set_rng_state(content["torch_rng"].cpu())
            self.state = _State(
                int(content["step"]), float(content["seconds"]), float(content["best"])
            )
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise UserError(
                f"checkpoint: {self.checkpoint_path} does not fit this preset ({first}); "
                "use the preset that it was started with or another --folder"
            ) from error
        return True

    def step(self) -> dict[str, Tensor]:
        """One optimiser step; scalars for the log."""
        rate = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if isinstance(self.task, StagedTask):
            self.task.advance(self.progress())
        self.network.train()
        on_cpu = self.device.type == "cpu"
        with torch.autocast(
            self.device.type,
            enabled=self.config.bfloat16 if on_cpu else self.amp,
            dtype=torch.bfloat16 if on_cpu else torch.float16,
        ):
            loss, scalars = self.task.loss(self.network, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.unscale_(self.optimizer)
        parallel.average_gradients(self.network.parameters())
        trained = [p for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(trained, self.config.clip_norm)
        if self.scaler.is_enabled() or torch.isfinite(norm):
            self.scaler.step(self.optimizer)  # a scaler leaves such steps out itself
        elif parallel.rank() == 0:
            print(f"step {self.state.step}: left out, its gradient is not finite", file=sys.stderr)
        self.scaler.update()
        self.state.step += 1
        self._update_average()
        return scalars

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average forgets faster, or it would remember the initial weights.
        decay = min(self.config.ema_decay, (1 + self.state.step) / (10 + self.state.step))
        averaged: list[Tensor] = list(self.average.parameters())
        current: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averaged, current, 1.0 - decay)
        for mean, now in zip(self.average.buffers(), self.network.buffers(), strict=True):
            if mean.is_floating_point():  # running statistics belong to the averaged weights
                mean.lerp_(now, 1.0 - decay)
            else:
                mean.copy_(now)

    def validate(self) -> dict[str, float]:
        """Validates the averaged weights and keeps the best ones."""
        self.average.eval()
        with torch.inference_mode():
            scores = self.task.validate(self.average)
        if scores["score"] < self.state.best:
            self.state.best = scores["score"]
            save_atomically(
                {"version": CHECKPOINT_VERSION, "average": self.average.state_dict()},
                self.folder / "best.pt",
            )
        return scores

    def run(self) -> None:
        """Trains until the budget is spent; Ctrl-C (or SIGTERM) saves and stops."""
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._agree()
        leads = parallel.rank() == 0
        sums: dict[str, Tensor] = {}  # on the device: to read one is to wait for all of a step
        since = 0
        saved = time.monotonic()
        progress = Progress(*columns, refresh_per_second=1, disable=not leads)
        with StopRequest() as stop, progress as bar:
            job = bar.add_task("training", total=1000, note="")
            done = self.progress() >= 1.0
            while not done:
                began = time.monotonic()
                scalars = self.step()
                for name, value in scalars.items():
                    sums[name] = sums[name] + value if name in sums else value
                since += 1
                self.state.seconds += time.monotonic() - began
                # The first process decides for all, or one would wait for the others for ever.
                self.state.seconds = parallel.from_first(self.state.seconds, self.device)
                stopped = parallel.from_first(float(stop.made), self.device) > 0
                done = self.progress() >= 1.0
                if leads and (self.state.step % self.config.validate_every == 0 or done):
                    began = time.monotonic()
                    means = {name: float(total) / since for name, total in sums.items()}
                    row = {**means, **self.validate()}
                    self.state.seconds += time.monotonic() - began
                    self._log(row)
                    bar.console.print(self._line(row))
                    sums, since = {}, 0
                due = time.monotonic() - saved > 60 * self.config.checkpoint_minutes
                if leads and (done or stopped or due):
                    self.save()
                    saved = time.monotonic()
                if since and self.state.step % 10 == 0:
                    note = f"step {self.state.step} loss {float(sums['loss']) / since:.4f}"
                    bar.update(job, completed=round(1000 * self.progress()), note=note)
                if stopped:
                    bar.console.print(f"stopped at step {self.state.step}; run again to go on")
                    return
            bar.update(job, completed=1000)

    def _agree(self) -> None:
        """Starts every process of a group from the first one's weights, with chance of its own."""
        parallel.from_first_tensors(self.network.state_dict().values())
        parallel.from_first_tensors(self.average.state_dict().values())
        if parallel.rank() > 0:
            self.generator.manual_seed(
                self.config.seed + 1_000_003 * parallel.rank() + self.state.step
            )

    def _line(self, row: dict[str, float]) -> str:
        values = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        return f"step {self.state.step}  {self.state.seconds / 60:.1f} min  {values}"

    def _log(self, row: dict[str, float]) -> None:
        path = self.folder / "metrics.csv"
        full = {
            "step": self.state.step,
            "minutes": round(self.state.seconds / 60, 3),
            "rate": self.rate(),
            **row,
        }
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(full))
            if new:
                writer.writeheader()
            writer.writerow(full)
