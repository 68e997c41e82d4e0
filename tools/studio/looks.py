"""Colours and patterns of a person: skin, hair, eyes, cloth; drawn at random from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

UNSEAMED, BUTTONS, ZIP, BADGE, BACK_PRINT = range(5)
"""What a top has on one side only, in ``shaders/paint.frag``."""

PLAIN, HOOPS, PINSTRIPES, TARTAN, DOTS, BLOTCHES, DENIM, PRINT, BLOCKS, ZIGZAG = range(10)
"""Patterns of cloth in ``shaders/paint.frag``."""


@dataclass(frozen=True, slots=True)
class Fabric:
    """A pattern, its size in metres and three colours."""

    pattern: int
    scale: float
    a: Colour
    b: Colour = (0.5, 0.5, 0.5)
    c: Colour = (0.3, 0.3, 0.3)


@dataclass(frozen=True, slots=True)
class Look:
    """How a person is painted; colours are display values 0..1.

    ``stubble`` and ``scalp`` say how strongly beard and hair roots colour the skin; ``swimwear`` is
    painted on the skin: 0 none, 1 shorts, 2 shorts and top. ``relief`` says how strongly muscles
    shade the skin, ``body_hair`` how much hair grows on chest and legs. ``closure`` is what the top
    has in front or behind; trousers with ``pockets`` have them behind, and a fly.
    """

    skin: Colour
    hair: Colour
    iris: Colour
    shoe: Colour
    sole: Colour
    top: Fabric
    bottom: Fabric
    trim: Fabric
    stubble: float = 0.0
    scalp: float = 0.9
    seed: int = 0
    swimwear: int = 0
    relief: float = 0.6
    body_hair: float = 0.0
    closure: int = UNSEAMED
    pockets: bool = True


_SKINS = (
    (0.93, 0.77, 0.68),
    (0.88, 0.70, 0.58),
    (0.80, 0.62, 0.49),
    (0.72, 0.53, 0.40),
    (0.58, 0.41, 0.31),
    (0.44, 0.31, 0.24),
    (0.33, 0.23, 0.18),
)
_HAIRS = (
    (0.10, 0.08, 0.07),
    (0.20, 0.14, 0.10),
    (0.33, 0.22, 0.14),
    (0.48, 0.34, 0.20),
    (0.74, 0.60, 0.38),
    (0.62, 0.60, 0.58),
    (0.50, 0.22, 0.12),
)
_IRISES = ((0.30, 0.18, 0.10), (0.25, 0.40, 0.55), (0.32, 0.42, 0.28), (0.42, 0.30, 0.16))


def random_colour(rng: np.random.Generator, low: float = 0.08, high: float = 0.92) -> Colour:
    """A random colour of cloth."""
    value, saturation, hue = rng.uniform(low, high), rng.uniform(0, 0.85), rng.uniform(0, 6)
    shift = np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    r, g, b = value * (1 - saturation * (1 - np.clip(shift, 0, 1)))
    return float(r), float(g), float(b)


def random_fabric(rng: np.random.Generator, trousers: bool) -> Fabric:
    """A random cloth for the upper or the lower body."""
    if trousers and rng.random() < 0.45:
        tone = rng.uniform(0.15, 0.42)
        blue = (float(tone * 0.62), float(tone * 0.82), float(tone * 1.25))
        pale = (float(tone * 1.5), float(tone * 1.7), float(min(1.0, tone * 2.0)))
        return Fabric(DENIM, 0.1, blue, pale)
    choices = (PLAIN, PINSTRIPES, TARTAN, BLOTCHES, BLOCKS) if trousers else tuple(range(10))
    pattern = int(rng.choice(choices))
    colours = [random_colour(rng) for _ in range(3)]
    return Fabric(pattern, float(rng.uniform(0.03, 0.14)), *colours)


def random_look(rng: np.random.Generator, male: bool) -> Look:
    """A random look."""
    skin = np.array(_SKINS[int(rng.integers(len(_SKINS)))]) * rng.uniform(0.93, 1.06)
    dark = float(skin[0]) < 0.6
    hair = _HAIRS[int(rng.integers(2 if dark else len(_HAIRS)))]
    iris = _IRISES[0 if dark else int(rng.integers(len(_IRISES)))]
    sole = (0.9, 0.9, 0.88) if rng.random() < 0.5 else (0.08, 0.08, 0.08)
    r, g, b = (float(x) for x in np.clip(skin, 0, 1))
    return Look(
        (r, g, b),
        hair,
        iris,
        random_colour(rng, 0.05, 0.9),
        sole,
        random_fabric(rng, trousers=False),
        random_fabric(rng, trousers=True),
        Fabric(PLAIN, 0.1, random_colour(rng)),
        float(rng.uniform(0.2, 0.75)) if male and rng.random() < 0.6 else 0.0,
        0.9,
        int(rng.integers(1 << 16)),
        1 if male else 2,
        float(rng.uniform(0.1, 1.0)),
        float(rng.uniform(0.1, 0.9)) if male and rng.random() < 0.5 else 0.0,
        int(rng.choice(5, p=(0.3, 0.25, 0.2, 0.15, 0.1))),
        bool(rng.random() < 0.7),
    )
