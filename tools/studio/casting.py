"""Random people: bodies, clothes and colours, kept apart between training and test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tools.studio.assets import Assets
from tools.studio.looks import Look, random_colour, random_fabric, random_look
from tools.studio.person import Outfit, Person, build_person
from tools.studio.shape import Shape
from tools.studio.shards import Split

_SHOES: Final = ("shoes01", "shoes02", "shoes03", "shoes04", "shoes05", "shoes06")
_TEST_SHOES: Final = ("shoes06",)
_HELD_BACK_SUITS: Final = ("male_casualsuit02", "female_casualsuit02", "female_sportsuit01")
"""Worn only by people of the validation and test splits."""
_HELD_BACK_PATTERNS: Final = (4, 9)
"""Dots and zigzag: only on cloth of the validation and test splits."""


@dataclass(frozen=True, slots=True)
class Casting:
    """How people are chosen.

    Attributes:
        split: whose clothes they may wear; ``None`` allows all.
        bare: share of people who wear no suit.
        barefoot: share of people without shoes.
        hats: share of people with a hat.
        bald: share of people without hair, some of them under a bathing cap.
    """

    split: Split | None = None
    bare: float = 0.04
    barefoot: float = 0.12
    hats: float = 0.08
    bald: float = 0.06


TRAINING: Final = Casting("train", bare=0.22, barefoot=0.25, hats=0.1, bald=0.16)
"""Wider than a crowd in the street: laboratories and gyms see more skin."""


def random_shape(rng: np.random.Generator) -> Shape:
    """A random grown-up."""
    male = float(np.clip(rng.choice([0.05, 0.95]) + rng.normal(0, 0.1), 0, 1))
    race = rng.dirichlet([0.7, 0.7, 0.7])
    stature = rng.normal(1.635 + 0.125 * male, 0.065)
    age, muscle, weight, height, ideal = (
        float(np.clip(rng.normal(mean, sigma), 0.02, 0.98))
        for mean, sigma in ((0.62, 0.14), (0.5, 0.17), (0.5, 0.2), (0.5, 0.06), (0.6, 0.2))
    )
    races = (float(race[0]), float(race[1]), float(race[2]))
    return Shape(male, max(age, 0.46), muscle, weight, height, ideal, races, float(stature))


def random_outfit(
    rng: np.random.Generator, assets: Assets, male: bool, casting: Casting | None = None
) -> Outfit:
    """Random clothes, shoes, hair and sometimes a hat that suit a man or a woman."""
    casting = casting or Casting()
    sex = "male_" if male else "female_"
    names = assets.garment_names("clothes")
    suits = [name for name in names if name.startswith(sex) or "worksuit" in name]
    shoes: tuple[str, ...] = _SHOES
    if casting.split == "train":
        suits = [name for name in suits if name not in _HELD_BACK_SUITS]
        shoes = tuple(name for name in shoes if name not in _TEST_SHOES)
    hairs = list(assets.garment_names("hair"))
    if male:
        hairs = [name for name in hairs if name.startswith(("short", "afro"))]
    suit = None if rng.random() < casting.bare else str(rng.choice(suits))
    shoe = None if rng.random() < casting.barefoot else str(rng.choice(shoes))
    hat = str(rng.choice(["fedora", "fedora_cocked"])) if rng.random() < casting.hats else None
    bald = rng.random() < casting.bald * (2.0 if male else 0.6)
    return Outfit(suit, shoe, None if bald or hat else str(rng.choice(hairs)), hat)


def random_person(
    rng: np.random.Generator, assets: Assets, casting: Casting
) -> tuple[Person, Look]:
    """A random dressed person and how they are painted."""
    shape = random_shape(rng)
    male = shape.male > 0.5
    outfit = random_outfit(rng, assets, male, casting)
    return build_person(assets, shape, outfit), dressed_look(rng, male, outfit, casting)


def dressed_look(rng: np.random.Generator, male: bool, outfit: Outfit, casting: Casting) -> Look:
    """A random look for somebody in that outfit."""
    look = random_look(rng, male)
    if outfit.hair is None and outfit.hat is None and rng.random() < 0.5:
        look = replace(look, hair=random_colour(rng), scalp=1.0)  # a bathing cap
    if casting.split == "train":
        top, bottom = look.top, look.bottom
        while top.pattern in _HELD_BACK_PATTERNS:
            top = random_fabric(rng, trousers=False)
        while bottom.pattern in _HELD_BACK_PATTERNS:
            bottom = random_fabric(rng, trousers=True)
        look = replace(look, top=top, bottom=bottom)
    if rng.random() < 0.3:
        # Many people wear black, white or grey from head to foot.
        tone = float(rng.choice([rng.uniform(0.03, 0.12), rng.uniform(0.4, 0.9)]))
        grey = (tone, tone, tone)
        look = replace(look, bottom=replace(look.bottom, pattern=0, a=grey))
        if rng.random() < 0.5:
            look = replace(look, top=replace(look.top, pattern=0, a=grey))
    return look
