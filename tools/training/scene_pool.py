"""Rendered scenes as a source of chance draws, read when they are needed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from engines.errors import UserError
from tools.studio.shards import Kind, Scene, Split, list_scenes, read_scene

_LOOK_AGAIN_S: Final = 60.0
"""Scenes may still be rendered while training runs: the folder is listed again this often."""

_BYTES_OF_LABELS: Final = 3_000
"""About what the labels of one picture take in memory."""


class ScenePool:
    """The scenes of one kind and split.

    Args:
        data: Folder with a folder for each split.
        split: Which of them.
        kind: Whole pictures or crops.
        memory_mb: Scenes are kept in memory up to this size, the longest unused leave first.

    Raises:
        UserError: There are none.
    """

    def __init__(self, data: Path, split: Split, kind: Kind, memory_mb: float = 1500.0) -> None:
        self.folder, self._kind = data / split, kind
        self._limit = memory_mb * 1e6
        self._kept: OrderedDict[Path, Scene] = OrderedDict()
        self._size = 0
        self.paths: tuple[Path, ...] = ()
        self._listed = -_LOOK_AGAIN_S
        self._look()
        if not self.paths:
            raise UserError(
                f"data: {self.folder} holds no {kind} scenes; "
                "make them with 'python -m tools.studio data' or give the folder with --data"
            )

    def draw(self, rng: np.random.Generator) -> Scene:
        """A scene by chance, all alike.

        Raises:
            UserError: It is damaged.
        """
        self._look()
        return self.read(self.paths[int(rng.integers(len(self.paths)))])

    def read(self, path: Path) -> Scene:
        """A scene of the pool.

        Raises:
            UserError: It is damaged.
        """
        scene = self._kept.pop(path, None)
        if scene is None:
            scene = read_scene(path)
            self._size += _bytes_of(scene)
        self._kept[path] = scene
        while self._size > self._limit and len(self._kept) > 1:
            self._size -= _bytes_of(self._kept.popitem(last=False)[1])
        return scene

    def pictures(self) -> Iterator[tuple[Scene, int]]:
        """Every picture of every scene, by scene and index, always in the same order.

        Raises:
            UserError: A scene is damaged.
        """
        for path in self.paths:
            scene = self.read(path)
            for index in range(len(scene)):
                yield scene, index

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._listed >= _LOOK_AGAIN_S:
            self.paths = list_scenes(self.folder, self._kind)
            self._listed = now


def _bytes_of(scene: Scene) -> int:
    return scene.jpeg.nbytes + scene.mask_png.nbytes + _BYTES_OF_LABELS * len(scene)
