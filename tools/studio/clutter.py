"""Things that stand about in a room: what hides people, and what is taken for them."""

from __future__ import annotations

import numpy as np

from tools.studio import room as rm
from tools.studio.room import Builder, Colour, Material

_PATTERNS = (rm.PAINT, rm.PAINT, rm.WOOD, rm.CLOTH, rm.PICTURE, rm.STRIPES, rm.BOOKS, rm.TILES)


def _material(b: Builder, rng: np.random.Generator) -> int:
    def colour() -> Colour:
        return rm._colour(rng, 0.04, 0.95, 0.85)

    pattern = int(rng.choice(_PATTERNS))
    metres = 0.0 if pattern in (rm.PICTURE, rm.BOOKS) else float(rng.uniform(0.3, 1.2))
    gloss = float(rng.uniform(0.0, 0.5))
    seed = int(rng.integers(1000))
    return b.material(Material(pattern, colour(), colour(), colour(), metres, gloss, seed))


def add_clutter(
    b: Builder, rng: np.random.Generator, spots: list[tuple[float, float]], count: int
) -> None:
    """Puts things on the floor, none of them nearer than 0.75 m to a spot.

    Args:
        b: what the room is built with; the shell must be finished.
        rng: source of chance.
        spots: where people and cameras stand, (x, y) metres.
        count: so many are tried.
    """
    materials = [_material(b, rng) for _ in range(min(count, 6))]
    makers = (_crates, _pole, _table, _chair, _screen, _heap, _bench)
    for _ in range(count):
        around, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 3.4)
        x, y = float(np.cos(around) * away), float(np.sin(around) * away)
        if all(np.hypot(x - sx, y - sy) > 0.75 for sx, sy in spots):
            picked = [int(m) for m in rng.choice(materials, 2)]
            makers[int(rng.integers(len(makers)))](b, rng, (x, y), picked)
    if rng.random() < 0.3:
        _platform(b, rng, materials[0])


Spot = tuple[float, float]


def _crates(b: Builder, rng: np.random.Generator, at: Spot, m: list[int]) -> None:
    z = 0.0
    for i in range(int(rng.integers(1, 4))):
        w, d, h = rng.uniform(0.25, 0.7, 3)
        b.box(
            (at[0] - w / 2, at[1] - d / 2, z),
            (at[0] + w / 2, at[1] + d / 2, z + h),
            m[i % 2],
            float(rng.uniform(0, 90)),
        )
        z += float(h)


def _pole(b: Builder, rng: np.random.Generator, at: Spot, m: list[int]) -> None:
    r, tall = float(rng.uniform(0.012, 0.06)), float(rng.uniform(0.9, 2.3))
    b.box((at[0] - r, at[1] - r, 0), (at[0] + r, at[1] + r, tall), m[0], 30.0)
    b.box((at[0] - 0.2, at[1] - 0.03, 0), (at[0] + 0.2, at[1] + 0.03, 0.04), m[0], 20.0)
    b.box((at[0] - 0.03, at[1] - 0.2, 0), (at[0] + 0.03, at[1] + 0.2, 0.04), m[0], 20.0)
    if rng.random() < 0.6:
        s = float(rng.uniform(0.05, 0.2))
        b.box((at[0] - s, at[1] - s, tall), (at[0] + s, at[1] + s, tall + 2 * s), m[1], 10.0)


def _table(b: Builder, rng: np.random.Generator, at: Spot, m: list[int]) -> None:
    w, d, h = (
        float(rng.uniform(0.4, 0.8)),
        float(rng.uniform(0.25, 0.45)),
        float(rng.uniform(0.4, 0.9)),
    )
    x, y = at
    if rng.random() < 0.5:
        w, d = d, w
    b.box((x - w, y - d, h - 0.03), (x + w, y + d, h), m[0])
    for sx in (-w, w - 0.05):
        for sy in (-d, d - 0.05):
            b.box((x + sx, y + sy, 0), (x + sx + 0.05, y + sy + 0.05, h - 0.03), m[0])
    for _ in range(int(rng.integers(0, 5))):
        s = rng.uniform(0.04, 0.16, 3)
        px, py = x + float(rng.uniform(-w, w)), y + float(rng.uniform(-d, d))
        b.box((px, py, h), (px + s[0], py + s[1], h + 2 * s[2]), m[1], float(rng.uniform(0, 90)))


def _chair(b: Builder, rng: np.random.Generator, at: Spot, m: list[int]) -> None:
    x, y = at
    w = 0.22
    back = -w if rng.random() < 0.5 else w - 0.04
    b.box((x - w, y - w, 0.42), (x + w, y + w, 0.47), m[0])
    b.box((x + back, y - w, 0.47), (x + back + 0.04, y + w, 0.9), m[1])
    for sx in (-w, w - 0.04):
        for sy in (-w, w - 0.04):
            b.box((x + sx, y + sy, 0), (x + sx + 0.04, y + sy + 0.04, 0.42), m[0])


def _screen(b: Builder, rng: np.random.Generator, at: Spot, m: list[int]) -> None:
    """A narrow upright board, as wide and tall as a person."""
    w, h = float(rng.uniform(0.15, 0.45)), float(rng.uniform(1.1, 2.0))
    angle = float(rng.uniform(0, 180))
    b.box((at[0] - w, at[1] - 0.03, 0.05), (at[0] + w, at[1] + 0.03, h), m[0], angle)
    if rng.random() < 0.4:  # something round-headed on top: a coat stand, a lamp
        b.box(
            (at[0] - 0.1, at[1] - 0.1, h + 0.03), (at[0] + 0.1, at[1] + 0.1, h + 0.25), m[1], angle
        )


def _heap(b: Builder, rng: np.random.Generator, at: Spot, m: list[int]) -> None:
    for i in range(int(rng.integers(2, 7))):
        x, y = at[0] + float(rng.normal(0, 0.15)), at[1] + float(rng.normal(0, 0.15))
        s = rng.uniform(0.05, 0.25, 3)
        b.box((x, y, 0), (x + s[0], y + s[1], s[2]), m[i % 2], float(rng.uniform(0, 90)))


def _bench(b: Builder, rng: np.random.Generator, at: Spot, m: list[int]) -> None:
    """Long and low."""
    w, h = float(rng.uniform(0.5, 1.1)), float(rng.uniform(0.25, 0.7))
    b.box(
        (at[0] - w, at[1] - 0.2, 0.0),
        (at[0] + w, at[1] + 0.2, h),
        m[0],
        float(rng.uniform(0, 180)),
    )


def _platform(b: Builder, rng: np.random.Generator, material: int) -> None:
    """A mat or a treadmill's belt under the person's feet, flat enough to stand on."""
    w, d = float(rng.uniform(0.5, 1.8)), float(rng.uniform(0.8, 2.2))
    b.box((-w, -d, 0.0), (w, d, 0.004), material, float(rng.uniform(0, 180)))
