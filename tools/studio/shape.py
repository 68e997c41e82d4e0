"""Body shape: from sex, age, height, weight and muscle to the vertices of the base mesh.

MakeHuman's macro targets are modelled for the corners of these scales (young or old, average or
maximal muscle …). A body in between is the sum of the targets, each weighted with the product of
its corner weights ("macro.json" of the assets gives the corners).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from tools.studio.assets import Assets
from tools.studio.formats import FloatArray

_AGES = (("baby", 0.0), ("child", 0.1875), ("young", 0.5), ("old", 1.0))
_LEVELS = {"muscle": ("minmuscle", "averagemuscle", "maxmuscle")} | {
    "weight": ("minweight", "averageweight", "maxweight")
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a body is like; every number runs from 0 to 1.

    Attributes:
        male: 0 female, 1 male.
        age: 0 baby, 0.1875 child, 0.5 young adult (25 years), 1 old.
        muscle: 0.5 is average.
        weight: 0.5 is average.
        height: 0.5 is average.
        ideal: proportions, 0.5 is average.
        races: shares of the African, Asian and Caucasian targets; they sum to 1.
        stature_m: the body is scaled to this height; ``None`` leaves it as the targets make it.
    """

    male: float = 0.5
    age: float = 0.5
    muscle: float = 0.5
    weight: float = 0.5
    height: float = 0.5
    ideal: float = 0.5
    races: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    stature_m: float | None = None


def _mix(value: float, names: tuple[str, str, str]) -> dict[str, float]:
    """Weights of the low, middle and high corner at ``value`` in 0..1."""
    low, high = max(0.0, 1.0 - 2.0 * value), max(0.0, 2.0 * value - 1.0)
    return {names[0]: low, names[1]: 1.0 - low - high, names[2]: high}


def _ages(value: float) -> dict[str, float]:
    weights = dict.fromkeys((name for name, _ in _AGES), 0.0)
    for (low, at_low), (high, at_high) in pairwise(_AGES):
        if at_low <= value <= at_high:
            share = (value - at_low) / (at_high - at_low)
            weights[low], weights[high] = 1.0 - share, share
            break
    return weights


def target_weights(shape: Shape) -> dict[str, float]:
    """The macro targets (path under ``targets/macrodetails``) and weights that make a shape."""
    sexes = {"female": 1.0 - shape.male, "male": shape.male}
    ages = _ages(shape.age)
    muscles = _mix(shape.muscle, _LEVELS["muscle"])
    weights = _mix(shape.weight, _LEVELS["weight"])
    heights = _mix(shape.height, ("minheight", "", "maxheight"))
    ideals = _mix(shape.ideal, ("uncommonproportions", "", "idealproportions"))
    races = dict(zip(("african", "asian", "caucasian"), shape.races, strict=True))
    result: dict[str, float] = {}
    for (sex, s), (age, a) in product(sexes.items(), ages.items()):
        for race, r in races.items():
            result[f"{race}-{sex}-{age}"] = s * a * r
        for (muscle, m), (weight, w) in product(muscles.items(), weights.items()):
            corner = f"{sex}-{age}-{muscle}-{weight}"
            result[f"universal-{corner}"] = s * a * m * w
            for height, h in heights.items():
                if height:
                    result[f"height/{corner}-{height}"] = s * a * m * w * h
            for ideal, i in ideals.items():
                if ideal:
                    result[f"proportions/{corner}-{ideal}"] = s * a * m * w * i
    return {name: weight for name, weight in result.items() if weight > 1e-4}


def shaped_vertices(assets: Assets, shape: Shape) -> tuple[FloatArray, float]:
    """Shapes the base mesh.

    Returns:
        (V, 3) vertices in metres (rest pose, arms 45° down, looking along -y, feet on z = 0),
        and the stature in metres.
    """
    vertices = assets.base.vertices.copy()
    for name, weight in target_weights(shape).items():
        if assets.has_target(name):
            vertices += weight * assets.target(name)
    body = vertices[assets.group_vertices("body")]
    bottom, stature = float(body[:, 2].min()), float(np.ptp(body[:, 2]))
    vertices[:, 2] -= bottom
    if shape.stature_m is not None:
        vertices *= np.float32(shape.stature_m / stature)
        stature = shape.stature_m
    return vertices, stature
