"""Puts together a random furnished room around a clear middle."""

from __future__ import annotations

import numpy as np

from tools.studio import room as rm
from tools.studio.clutter import add_clutter
from tools.studio.formats import FloatArray
from tools.studio.room import Builder, Material, Point, Room

Spot = tuple[float, float]


class _Wall:
    """Places boxes along one wall: ``s`` runs along it, ``d`` into the room, ``z`` up."""

    def __init__(self, builder: Builder, low: Point, high: Point, side: int) -> None:
        self.builder = builder
        along_x = side % 2 == 0
        self.length = high[0] - low[0] if along_x else high[1] - low[1]
        # Sides 0..3: y = low, x = high, y = high, x = low; seen from inside, s runs to the right.
        starts = ((high[0], low[1]), (high[0], high[1]), (low[0], high[1]), (low[0], low[1]))
        alongs = ((-1, 0), (0, -1), (1, 0), (0, 1))
        insides = ((0, 1), (-1, 0), (0, -1), (1, 0))
        self._start = np.array([*starts[side], 0.0], np.float32)
        self._along = np.array([*alongs[side], 0.0], np.float32)
        self._inside = np.array([*insides[side], 0.0], np.float32)

    def point(self, s: float, d: float, z: float) -> FloatArray:
        """World position of a point of the wall's frame."""
        up = np.array([0, 0, z], np.float32)
        return np.asarray(self._start + s * self._along + d * self._inside + up, np.float32)

    def along(self, point: Point) -> Spot:
        """Where a world point stands: along the wall, and off it."""
        away = np.array([*point[:2], 0.0]) - self._start
        return float(away @ self._along), float(away @ self._inside)

    def box(self, s: Spot, d: Spot, z: Spot, layer: int) -> None:
        """A box between two values of each of s, d and z."""
        p, q = self.point(s[0], d[0], z[0]), self.point(s[1], d[1], z[1])
        low, high = np.minimum(p, q), np.maximum(p, q)
        self.builder.box(tuple(low.tolist()), tuple(high.tolist()), layer)

    def panel(self, s: Spot, z: Spot, layer: int, d: float = 0.0) -> None:
        """A flat picture on the wall, facing the room."""
        # Seen from inside, up × along points into the wall, so the panel starts at the far end.
        origin = self.point(s[1], d, z[0])
        self.builder.quad(
            origin,
            self._along * (s[0] - s[1]),
            np.array([0, 0, z[1] - z[0]], np.float32),
            layer,
        )


def _shell(b: Builder, low: Point, high: Point, floor: Material, walls: list[Material]) -> None:
    x0, y0, z0 = low
    x1, y1, z1 = high
    dx, dy, dz = x1 - x0, y1 - y0, z1 - z0
    up = np.array([0, 0, dz], np.float32)
    b.quad(np.array(low), np.array([dx, 0, 0]), np.array([0, dy, 0]), b.material(floor))
    ceiling = b.material(Material(rm.PAINT, (0.93, 0.92, 0.90), metres=2.0, gloss=0.0))
    b.quad(np.array([x0, y1, z1]), np.array([dx, 0, 0]), np.array([0, -dy, 0]), ceiling)
    corners = (
        ((x1, y0), (-dx, 0)),
        ((x1, y1), (0, -dy)),
        ((x0, y1), (dx, 0)),
        ((x0, y0), (0, dy)),
    )
    for (start, along), material in zip(corners, walls, strict=True):
        # u × v must point inwards: start at the far end and run back.
        origin = np.array([start[0] + along[0], start[1] + along[1], z0], np.float32)
        b.quad(origin, np.array([-along[0], -along[1], 0.0]), up, b.material(material))


def _window(w: _Wall, rng: np.random.Generator, s: float) -> None:
    b = w.builder
    wide, low, high = float(rng.uniform(1.0, 1.7)), 0.9, 2.15
    pane = b.material(
        Material(rm.DAYLIGHT, (0.45, 0.62, 0.42), (0.62, 0.72, 0.78), metres=0, seed=7)
    )
    frame = b.material(Material(rm.PAINT, (0.9, 0.9, 0.88), gloss=0.2))
    w.panel((s, s + wide), (low, high), pane, 0.012)
    for a, c in (
        (s - 0.06, s),
        (s + wide / 2 - 0.025, s + wide / 2 + 0.025),
        (s + wide, s + wide + 0.06),
    ):
        w.box((a, c), (0.0, 0.05), (low - 0.06, high + 0.06), frame)
    w.box((s, s + wide), (0.0, 0.05), (high, high + 0.06), frame)
    w.box((s - 0.1, s + wide + 0.1), (0.0, 0.14), (low - 0.07, low - 0.02), frame)
    if rng.random() < 0.7:
        colour = rm._colour(rng, 0.4, 0.85, 0.5)
        cloth = b.material(Material(rm.CLOTH, colour, metres=0.8, gloss=0.0))
        for start in (s - 0.45, s + wide + 0.08):
            for i in range(6):
                left = start + 0.06 * i
                w.box(
                    (left, left + 0.052), (0.06, 0.09 + 0.03 * (i % 2)), (0.05, high + 0.15), cloth
                )


def _door(w: _Wall, rng: np.random.Generator, s: float) -> None:
    b = w.builder
    tone = rm._colour(rng, 0.5, 0.9, 0.3)
    leaf = b.material(Material(rm.WOOD, tone, rm._dimmed(tone, 0.85), metres=1.2, gloss=0.15))
    frame = b.material(Material(rm.PAINT, (0.88, 0.87, 0.84), gloss=0.15))
    metal = b.material(Material(rm.PAINT, (0.7, 0.68, 0.62), gloss=0.7))
    w.box((s, s + 0.9), (0.0, 0.03), (0.0, 2.02), leaf)
    for z in ((0.25, 0.95), (1.1, 1.85)):
        w.box((s + 0.15, s + 0.75), (0.03, 0.042), z, leaf)
    for a, c in ((s - 0.09, s), (s + 0.9, s + 0.99)):
        w.box((a, c), (0.0, 0.045), (0.0, 2.11), frame)
    w.box((s, s + 0.9), (0.0, 0.045), (2.02, 2.11), frame)
    w.box((s + 0.06, s + 0.17), (0.05, 0.075), (1.0, 1.025), metal)


def _picture(w: _Wall, rng: np.random.Generator, s: float) -> None:
    b = w.builder
    wide, tall = float(rng.uniform(0.4, 0.9)), float(rng.uniform(0.4, 0.8))
    low = float(rng.uniform(1.25, 1.45))
    art = Material(
        rm.PICTURE,
        rm._colour(rng, 0.3, 0.9, 0.8),
        rm._colour(rng, 0.3, 0.9, 0.8),
        rm._colour(rng, 0.2, 0.9, 0.8),
        0.0,
        0.2,
        int(rng.integers(1000)),
    )
    frame = b.material(Material(rm.WOOD, rm._colour(rng, 0.15, 0.8, 0.3), gloss=0.2))
    w.box((s - 0.03, s + wide + 0.03), (0.0, 0.025), (low - 0.03, low + tall + 0.03), frame)
    w.panel((s, s + wide), (low, low + tall), b.material(art), 0.027)


def _bookcase(w: _Wall, rng: np.random.Generator, s: float) -> float:
    b = w.builder
    wide, tall = float(rng.uniform(0.8, 1.4)), float(rng.uniform(1.5, 2.1))
    tone = rm._colour(rng, 0.3, 0.85, 0.35)
    wood = b.material(Material(rm.WOOD, tone, rm._dimmed(tone, 0.7), gloss=0.12))
    books = Material(rm.BOOKS, rm._colour(rng, 0.3, 0.8, 0.4), tone, rm._dimmed(tone, 0.6), 0.0)
    w.box((s, s + wide), (0.0, 0.28), (0.0, tall), wood)
    w.panel((s + 0.03, s + wide - 0.03), (0.08, tall - 0.03), b.material(books), 0.285)
    return wide


def _cabinet(w: _Wall, rng: np.random.Generator, s: float) -> float:
    b = w.builder
    wide, tall, deep = (float(rng.uniform(*r)) for r in ((0.8, 1.6), (0.5, 1.0), (0.35, 0.5)))
    tone = rm._colour(rng, 0.3, 0.9, 0.4)
    wood = b.material(Material(rm.WOOD, tone, rm._dimmed(tone, 0.8), gloss=0.2))
    front = b.material(Material(rm.PAINT, rm._dimmed(tone, 1.05), gloss=0.2))
    w.box((s, s + wide), (0.0, deep), (0.06, tall), wood)
    doors = int(rng.integers(2, 4))
    for i in range(doors):
        a = s + 0.03 + i * (wide - 0.03) / doors
        w.box(
            (a, a + (wide - 0.03) / doors - 0.03), (deep, deep + 0.015), (0.1, tall - 0.04), front
        )
    vase = b.material(Material(rm.PAINT, rm._colour(rng, 0.3, 0.9, 0.7), gloss=0.6))
    w.box((s + 0.2, s + 0.32), (0.15, 0.27), (tall, tall + 0.25), vase)
    return wide


def _sofa(w: _Wall, rng: np.random.Generator, s: float) -> float:
    b = w.builder
    wide = float(rng.uniform(1.4, 2.0))
    colour = rm._colour(rng, 0.25, 0.75, 0.6)
    cloth = b.material(Material(rm.CLOTH, colour, metres=0.9, gloss=0.0))
    light = b.material(Material(rm.CLOTH, rm._colour(rng, 0.4, 0.9, 0.6), metres=0.6, gloss=0.0))
    w.box((s, s + wide), (0.05, 0.85), (0.08, 0.40), cloth)
    w.box((s, s + wide), (0.05, 0.28), (0.40, 0.82), cloth)
    for a in (s, s + wide - 0.18):
        w.box((a, a + 0.18), (0.05, 0.87), (0.08, 0.60), cloth)
    for a in (s + 0.22, s + wide - 0.6):
        w.box((a, a + 0.38), (0.29, 0.40), (0.42, 0.76), light)
    return wide


def _plant(w: _Wall, rng: np.random.Generator, s: float) -> float:
    b = w.builder
    pot = b.material(Material(rm.PAINT, rm._colour(rng, 0.3, 0.8, 0.5), gloss=0.2))
    leaf = b.material(Material(rm.LEAF, (0.30, 0.52, 0.22), (0.18, 0.36, 0.14), metres=0))
    w.box((s + 0.1, s + 0.42), (0.15, 0.47), (0.0, 0.36), pot)
    top = w.point(s + 0.26, 0.31, 0.36)
    for _ in range(34):
        azimuth, rise = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.4)
        out = np.array(
            [np.cos(azimuth) * np.cos(rise), np.sin(azimuth) * np.cos(rise), np.sin(rise)]
        )
        side = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0]) * rng.uniform(0.05, 0.10)
        start = top + out * rng.uniform(0.1, 0.5)
        b.quad(start - side / 2, side, out * rng.uniform(0.25, 0.5), leaf)
    return 0.5


def _chair(w: _Wall, rng: np.random.Generator, s: float) -> float:
    b = w.builder
    tone = rm._colour(rng, 0.25, 0.8, 0.4)
    wood = b.material(Material(rm.WOOD, tone, rm._dimmed(tone, 0.75), gloss=0.15))
    w.box((s, s + 0.44), (0.12, 0.56), (0.43, 0.47), wood)
    for a in (s, s + 0.40):
        for d in (0.12, 0.52):
            w.box((a, a + 0.04), (d, d + 0.04), (0.0, 0.43), wood)
        w.box((a, a + 0.04), (0.12, 0.16), (0.47, 0.92), wood)
    for z in (0.62, 0.80):
        w.box((s + 0.04, s + 0.40), (0.125, 0.15), (z, z + 0.09), wood)
    return 0.5


def _lamp(w: _Wall, rng: np.random.Generator, s: float) -> float:
    b = w.builder
    metal = b.material(Material(rm.PAINT, (0.25, 0.25, 0.26), gloss=0.5))
    shade = b.material(Material(rm.GLOW, (0.98, 0.90, 0.74)))
    w.box((s + 0.18, s + 0.46), (0.2, 0.48), (0.0, 0.03), metal)
    w.box((s + 0.30, s + 0.34), (0.32, 0.36), (0.03, 1.5), metal)
    w.box((s + 0.16, s + 0.48), (0.18, 0.50), (1.45, 1.75), shade)
    return 0.6


def random_room(
    rng: np.random.Generator,
    low: Point,
    high: Point,
    clear: tuple[Point, ...] = (),
    people: tuple[Spot, ...] = (),
    clutter: int = 0,
) -> Room:
    """A room between two corners; furniture stands within 0.9 m of the walls.

    Args:
        rng: source of chance.
        low: the corner with the smallest coordinates, metres.
        high: the opposite corner.
        clear: where cameras stand; no furniture is put near.
        people: where people stand; what ``clutter`` adds keeps off.
        clutter: so many things stand about in the room.
    """
    b = Builder()
    main, other = rm.random_wall(rng), rm.random_wall(rng)
    accent = int(rng.integers(4))
    walls = [other if side == accent else main for side in range(4)]
    _shell(b, low, high, rm.random_floor(rng), walls)
    lights = rm.random_lights(rng, low, high)
    lamp = b.material(Material(rm.GLOW, (1.0, 0.98, 0.93)))
    x, y, _ = lights.lamp
    b.box((x - 0.25, y - 0.25, high[2] - 0.06), (x + 0.25, y + 0.25, high[2] - 0.001), lamp)
    if rng.random() < 0.6:
        rug = Material(
            rm.RUG,
            rm._colour(rng, 0.25, 0.85, 0.6),
            rm._colour(rng, 0.25, 0.85, 0.6),
            rm._colour(rng, 0.25, 0.85, 0.6),
            0.0,
            0.0,
            int(rng.integers(1000)),
        )
        wide, deep = float(rng.uniform(1.4, 2.2)), float(rng.uniform(1.0, 1.6))
        cx, cy = rng.uniform(-0.4, 0.4, 2)
        origin = np.array([cx - wide / 2, cy - deep / 2, 0.006])
        b.quad(origin, np.array([wide, 0, 0]), np.array([0, deep, 0]), b.material(rug))
    skirting = b.material(Material(rm.PAINT, (0.86, 0.85, 0.82), gloss=0.15))
    sides = [_Wall(b, low, high, side) for side in range(4)]
    for wall in sides:
        wall.box((0.0, wall.length), (0.0, 0.018), (0.0, 0.085), skirting)
    shell = b.count
    makers = (_bookcase, _cabinet, _sofa, _plant, _chair, _lamp, _cabinet, _plant)
    window, door = rng.permutation(4)[:2]
    for side, wall in enumerate(sides):
        at = float(rng.uniform(0.5, 0.9))
        if side == window:
            at = float(rng.uniform(0.3, 0.6)) * (wall.length - 1.8)
            _window(wall, rng, at + 0.2)
            at += 2.5
        elif side == door:
            at = float(rng.uniform(0.3, wall.length - 1.4))
            _door(wall, rng, at)
            at += 1.3
        kept = [wall.along(point) for point in clear]
        while at < wall.length - 2.2:
            if any(at - 0.6 < s < at + 2.4 and d < 1.7 for s, d in kept):
                at += 0.3
            elif rng.random() < 0.75:
                wide = makers[int(rng.integers(len(makers)))](wall, rng, at)
                at += wide + float(rng.uniform(0.1, 0.6))
            else:
                _picture(wall, rng, at)
                at += float(rng.uniform(1.0, 1.5))
    if clutter:
        spots = [*people, *((x, y) for x, y, _ in clear)]
        add_clutter(b, rng, spots, clutter)
    return b.build(low, high, shell, lights)
