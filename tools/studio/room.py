"""Rooms: floor, walls and ceiling, a window, a door, pictures and furniture along the walls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tools.studio.formats import FloatArray, IntArray, RealArray

(
    PAINT,
    STRIPES,
    ORNAMENT,
    BRICKS,
    TILES,
    PLANKS,
    CARPET,
    WOOD,
    CLOTH,
    PICTURE,
    BOOKS,
    DAYLIGHT,
    GLOW,
    LEAF,
    RUG,
) = range(15)
"""Patterns of ``shaders/material.frag``."""

Colour = tuple[float, float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Material:
    """A texture that repeats every ``metres``; 0 stretches it once over each face."""

    pattern: int
    a: Colour
    b: Colour = (0.5, 0.5, 0.5)
    c: Colour = (0.3, 0.3, 0.3)
    metres: float = 1.0
    gloss: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Lights:
    """Lamps in linear light.

    Attributes:
        lamp: position of the lamp that throws shadows.
        lamp_colour: its strength at 1 m, per colour.
        fill: position of a second lamp without shadows.
        fill_colour: its strength.
        sky: light from above, off ceiling and walls.
        ground: light from below, off the floor.
        softness: width of the shadow's edge as a fraction of the shadow map.
    """

    lamp: Point
    lamp_colour: Colour
    fill: Point
    fill_colour: Colour
    sky: Colour
    ground: Colour
    softness: float = 0.006


@dataclass(frozen=True, slots=True)
class Room:
    """A lit, furnished room as one triangle mesh.

    Attributes:
        low: the corner with the smallest coordinates, metres; the floor is at z = 0.
        high: the opposite corner.
        materials: textures; ``layer`` counts into them.
        positions: (N, 3) three corners a triangle.
        normals: (N, 3).
        uv: (N, 2) texture coordinates, 1 = one repeat.
        layer: (N,) material of each corner.
        shell: the first ``shell`` corners are floor, walls and ceiling, which throw no shadow.
        lights: the lamps.
    """

    low: Point
    high: Point
    materials: tuple[Material, ...]
    positions: FloatArray
    normals: FloatArray
    uv: FloatArray
    layer: IntArray
    shell: int
    lights: Lights


class Builder:
    """Collects faces and materials."""

    def __init__(self) -> None:
        self.materials: list[Material] = []
        self._positions: list[FloatArray] = []
        self._normals: list[FloatArray] = []
        self._uv: list[FloatArray] = []
        self._layer: list[IntArray] = []

    @property
    def count(self) -> int:
        """Corners so far."""
        return sum(len(p) for p in self._positions)

    def material(self, material: Material) -> int:
        """The layer of a material, new or known."""
        if material not in self.materials:
            self.materials.append(material)
        return self.materials.index(material)

    def quad(self, origin: RealArray, u: RealArray, v: RealArray, layer: int) -> None:
        """A rectangle from ``origin`` along ``u`` and ``v``; its front is where u × v points."""
        metres = self.materials[layer].metres
        wide, high = (1.0, 1.0) if metres == 0 else (np.linalg.norm(u), np.linalg.norm(v))
        scale = 1.0 if metres == 0 else metres
        corners = np.stack([origin, origin + u, origin + u + v, origin + v]).astype(np.float32)
        at = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32) / scale
        order = [0, 1, 2, 0, 2, 3]
        normal = np.cross(u, v)
        normal /= max(float(np.linalg.norm(normal)), 1e-9)
        self._positions.append(corners[order])
        self._normals.append(np.tile(normal, (6, 1)).astype(np.float32))
        self._uv.append(at[order].astype(np.float32))
        self._layer.append(np.full(6, layer, np.int32))

    def box(self, low: Point, high: Point, layer: int, turn_deg: float = 0.0) -> None:
        """A solid box, turned about the vertical through its middle."""
        a, b = np.array(low, np.float32), np.array(high, np.float32)
        x, y, z = np.diag(b - a).astype(np.float32)
        angle = np.radians(turn_deg)
        c, s = np.cos(angle), np.sin(angle)
        R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
        middle = (a + b) / 2
        for origin, u, v in (
            (a, x, z),
            (a + x, y, z),
            (a + x + y, -x, z),
            (a + y, -y, z),
            (a + z, x, y),
            (a + y, x, -y),
        ):
            self.quad(middle + R @ (origin - middle), R @ u, R @ v, layer)

    def build(self, low: Point, high: Point, shell: int, lights: Lights) -> Room:
        """The finished room."""
        return Room(
            low,
            high,
            tuple(self.materials),
            np.concatenate(self._positions),
            np.concatenate(self._normals),
            np.concatenate(self._uv),
            np.concatenate(self._layer),
            shell,
            lights,
        )


FLOORS: Final = (PLANKS, PLANKS, TILES, CARPET, WOOD)
WALLS: Final = (PAINT, PAINT, PAINT, STRIPES, ORNAMENT, BRICKS)


def _colour(rng: np.random.Generator, low: float, high: float, vivid: float) -> Colour:
    """A random colour: brightness between ``low`` and ``high``, saturation up to ``vivid``."""
    value, saturation, hue = rng.uniform(low, high), rng.uniform(0, vivid), rng.uniform(0, 6)
    shift = np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    r, g, b = value * (1 - saturation * (1 - np.clip(shift, 0, 1)))
    return float(r), float(g), float(b)


def _dimmed(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def random_floor(rng: np.random.Generator) -> Material:
    """A floor of planks, tiles, carpet or wood."""
    pattern = int(rng.choice(FLOORS))
    seed = int(rng.integers(1 << 20))
    if pattern in (PLANKS, WOOD):
        tone = float(rng.uniform(0.35, 0.8))
        warm = (tone, tone * rng.uniform(0.68, 0.82), tone * rng.uniform(0.42, 0.62))
        a = (float(warm[0]), float(warm[1]), float(warm[2]))
        return Material(pattern, a, _dimmed(a, 0.62), _dimmed(a, 0.3), 1.4, 0.25, seed)
    a = _colour(rng, 0.45, 0.9, 0.25)
    if pattern == TILES:
        b = a if rng.random() < 0.6 else _colour(rng, 0.3, 0.9, 0.3)
        return Material(pattern, a, b, _dimmed(a, 0.7), float(rng.uniform(1.2, 2.4)), 0.3, seed)
    a = _colour(rng, 0.3, 0.7, 0.45)
    return Material(pattern, a, _dimmed(a, 0.8), _dimmed(a, 0.5), 1.0, 0.0, seed)


def random_wall(rng: np.random.Generator) -> Material:
    """Paint, wallpaper or brick."""
    pattern, seed = int(rng.choice(WALLS)), int(rng.integers(1 << 20))
    a = _colour(rng, 0.6, 0.95, 0.3)
    if pattern == BRICKS:
        red = (float(rng.uniform(0.5, 0.75)), float(rng.uniform(0.32, 0.45)), 0.3)
        red = red if rng.random() < 0.6 else _colour(rng, 0.75, 0.92, 0.1)
        return Material(BRICKS, red, _dimmed(red, 0.75), (0.68, 0.65, 0.6), 0.95, 0.02, seed)
    b = _dimmed(a, float(rng.uniform(0.82, 0.94)))
    return Material(pattern, a, b, _colour(rng, 0.4, 0.9, 0.4), 1.3, 0.04, seed)


def random_lights(rng: np.random.Generator, low: Point, high: Point) -> Lights:
    """A lamp under the ceiling or a bright window, a second lamp, and what walls throw back."""
    height = high[2] - 0.15
    x, y = (float(rng.uniform(0.25, 0.75) * (high[i] - low[i]) + low[i]) for i in range(2))
    warm = float(rng.uniform(-0.08, 0.14))
    tint = np.array([1 + warm, 1.0, 1 - 1.4 * warm])
    power = float(rng.uniform(1.0, 1.6))
    key, fill = power * tint, rng.uniform(0.3, 0.8) * tint[::-1]
    around = rng.uniform(0.36, 0.55) * (0.5 + 0.5 * tint)
    floor = around * np.array([0.62, 0.56, 0.5])

    def rgb(values: RealArray) -> Colour:
        return float(values[0]), float(values[1]), float(values[2])

    other = (float(low[0] + 0.4), float(rng.uniform(low[1], high[1])), 1.8)
    return Lights(
        (x, y, height),
        rgb(key),
        other,
        rgb(fill),
        rgb(around),
        rgb(floor),
        float(rng.uniform(0.004, 0.010)),
    )
