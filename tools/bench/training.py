"""How long a training step of the light networks takes, and what quick gradients gain."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Final

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from engines.networks.light_cpn import LightCpn, LightCpnConfig
from engines.networks.strided_depthwise import StridedDepthwise
from tools.studio.shards import VISIBLE
from tools.training.detector_loss import DetectorCosts, detector_loss
from tools.training.detector_samples import PERSON
from tools.training.detector_task import fresh_detector
from tools.training.pose2d_loss import HeatConfig, heat_loss

_CPN: Final = (("light-cpn 128×96", 128, 96), ("light-cpn 224×160", 224, 160))
_DETECTOR: Final = (
    ("light-detector 192×256", 192, 256),
    ("light-detector 288×384", 288, 384),
)


def training(
    batch: Annotated[int, typer.Option(min=2, help="Pictures of a step.")] = 16,
    repeats: Annotated[int, typer.Option(min=1, help="Steps that are timed.")] = 9,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Measure training steps (forward, loss, backward, AdamW) on random pictures, in bfloat16."""
    torch.set_num_threads(threads)
    table = Table("network", "ms a picture", "with plain strided convolutions", "ratio")
    for name, step_of in _cases(batch):
        # In turn, so that other work on the machine meets both alike.
        steps = (step_of(False), step_of(True))
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeats + 2):
            for step, kept in zip(steps, times, strict=True):
                start = time.perf_counter()
                step()
                kept.append(1e3 * (time.perf_counter() - start) / batch)
        quick, plain = (statistics.median(kept[2:]) for kept in times)
        table.add_row(name, f"{quick:.1f}", f"{plain:.1f}", f"{quick / plain:.2f}")
    Console().print(table)


Step = Callable[[], None]


def _cases(batch: int) -> Iterator[tuple[str, Callable[[bool], Step]]]:
    """Each network's name, and what makes its step: quick, or plain."""
    for name, height, width in _CPN:
        yield name, partial(_cpn_step, batch, height, width)
    for name, height, width in _DETECTOR:
        yield name, partial(_detector_step, batch, height, width)


def _cpn_step(batch: int, height: int, width: int, plain: bool) -> Step:
    network = LightCpn(LightCpnConfig(height, width))
    images = torch.rand(batch, 3, height, width)
    joints = torch.rand(batch, 17, 2) * torch.tensor((width, height))
    visibility = torch.full((batch, 17), VISIBLE, dtype=torch.uint8)

    def loss() -> Tensor:
        maps = network.training_outputs(images)
        return heat_loss(maps.coarse, maps.final, joints, visibility, height, HeatConfig())[0]

    images = images.contiguous(memory_format=torch.channels_last)
    return _step(network, loss, plain)


def _detector_step(batch: int, height: int, width: int, plain: bool) -> Step:
    network = fresh_detector(height, width)
    images = torch.rand(batch, 3, height, width).contiguous(memory_format=torch.channels_last)
    boxes = torch.tensor((0.3, 0.2, 0.6, 0.9)).mul(height).repeat(batch, 1, 1)
    kinds = torch.full((batch, 1), PERSON, dtype=torch.uint8)
    return _step(
        network, lambda: detector_loss(network, images, boxes, kinds, DetectorCosts())[0], plain
    )


def _step(network: nn.Module, loss: Callable[[], Tensor], plain: bool) -> Step:
    if plain:
        _make_plain(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.train().parameters(), fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            value = loss()
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()

    return step


def _make_plain(network: nn.Module) -> None:
    """Puts usual convolutions in the place of `StridedDepthwise`."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, StridedDepthwise):
                usual = nn.Conv2d(
                    child.in_channels,
                    child.out_channels,
                    child.kernel_size[0],
                    child.stride[0],
                    child.kernel_size[0] // 2,
                    groups=child.groups,
                    bias=child.bias is not None,
                )
                usual.load_state_dict(child.state_dict())
                setattr(parent, name, usual)
