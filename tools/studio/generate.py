"""Makes scenes by the hundred: a few processes, each with a renderer and seeds of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engines.errors import UserError
from tools.studio.assets import Assets
from tools.studio.renderer import Renderer
from tools.studio.scenes import make_frames, make_sequence, make_stills
from tools.studio.shards import PICTURE_SIZES, Kind, Scene, Split, scene_path, write_scene
from tools.studio.stagecraft import Studio, read_takes

Sort = Literal["stills", "sequences", "frames"]
_MAKERS: Final[dict[Sort, Callable[[Studio, int], Scene]]] = {
    "stills": make_stills,
    "sequences": make_sequence,
    "frames": make_frames,
}
_FIRST_SEEDS: Final[dict[Split, int]] = {"train": 0, "validation": 400_000, "test": 500_000}
_SEQUENCES_FROM: Final = 200_000
"""Stills and sequences lie in one folder as ``crops``; their seeds are kept apart."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to make.

    Attributes:
        assets: folder of the body assets.
        mocap: motion-capture file.
        out: folder that gets a folder for each split.
        split: whose people, clothes and motions.
        sort: what kind of scenes.
        first: number of the first scene.
        count: number of scenes.
        workers: processes.
    """

    assets: Path
    mocap: Path
    out: Path
    split: Split
    sort: Sort
    first: int
    count: int
    workers: int

    @property
    def kind(self) -> Kind:
        """How the pictures are cut."""
        return "frames" if self.sort == "frames" else "crops"

    @property
    def seeds(self) -> range:
        """The seeds of the scenes."""
        start = _FIRST_SEEDS[self.split] + self.first
        start += _SEQUENCES_FROM if self.sort == "sequences" else 0
        return range(start, start + self.count)

    def path(self, seed: int) -> Path:
        """Where a scene is kept."""
        return scene_path(self.out / self.split, self.kind, seed)


def generate(order: Order) -> int:
    """Makes the scenes that are not there yet, with a progress bar.

    Returns:
        Number of scenes there are now.

    Raises:
        UserError: assets or capture cannot be read, or a process failed.
    """
    read_takes(order.mocap, order.split)  # says what is wrong before processes are started
    Assets(order.assets)
    context = multiprocessing.get_context("spawn")
    missing = [seed for seed in order.seeds if not order.path(seed).exists()]
    shares = [missing[worker :: order.workers] for worker in range(order.workers)]
    processes = [context.Process(target=_work, args=(order, share)) for share in shares if share]
    for process in processes:
        process.start()
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, refresh_per_second=1) as bar:
            job = bar.add_task(f"{order.split} {order.sort}", total=order.count)
            while any(process.is_alive() for process in processes):
                bar.update(job, completed=_finished(order))
                time.sleep(0.5)
            bar.update(job, completed=_finished(order))
    finally:
        for process in processes:
            process.terminate()
            process.join()
    if any(process.exitcode for process in processes):
        raise UserError(
            f"a studio process failed with exit status {max(p.exitcode or 0 for p in processes)}; "
            "its message is above, and running the command again goes on where it stopped"
        )
    return _finished(order)


def _finished(order: Order) -> int:
    return sum(order.path(seed).exists() for seed in order.seeds)


def _work(order: Order, seeds: list[int]) -> None:
    """What each process does."""
    # One thread a process: several renderers side by side use the cores better.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    torch.set_num_threads(1)
    try:
        renderer = Renderer(*PICTURE_SIZES[order.kind], samples=0, shadow=512, texture=256)
        takes = read_takes(order.mocap, order.split)
        studio = Studio(Assets(order.assets), takes, renderer, order.split)
        parent = multiprocessing.parent_process()
        for seed in seeds:
            # A caller that was killed could not end this process: nobody waits for its scenes.
            if parent is not None and not parent.is_alive():
                return
            write_scene(_MAKERS[order.sort](studio, seed), order.path(seed))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
