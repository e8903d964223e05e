"""What the objects are made of: how each material looks, moves and sounds."""

from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]
Shape = Literal["plate", "block", "bottle", "sheet", "heap", "bowl", "basin"]


@dataclass(frozen=True, kw_only=True)
class Material:
    """One material: a body drawn as `shape`, and a struck sound of modes and a noise burst.

    `modes` are the partials' ratios to a base drawn from `tone_hz`; `ring_s` is the time in which
    the lowest falls by 60 dB (the others fall faster), `noise_hz` the band of the burst, `burst_s`
    its time of 60 dB decay, `tone` and `noise` the peak levels of both parts, and `grains` the number
    of small bursts that the burst is broken into (0: one smooth burst).
    """

    name: str
    phrase: str  # the object of the captions
    reaction: str  # Greatest Hits' word for what an impact does to it
    shape: Shape
    colours: tuple[Colour, ...]
    tone_hz: tuple[float, float]
    modes: tuple[float, ...]
    ring_s: float
    tone: float
    noise_hz: tuple[float, float]
    burst_s: float
    noise: float
    grains: int = 0


MATERIALS: tuple[Material, ...] = (
    Material(
        name="metal", phrase="a metal object", reaction="static", shape="plate",
        colours=((168, 178, 190), (190, 172, 120), (140, 150, 170)),
        tone_hz=(520, 980), modes=(1.0, 1.83, 2.76, 4.11, 5.40, 7.3), ring_s=1.6, tone=1.0,
        noise_hz=(3000, 12000), burst_s=0.03, noise=0.5,
    ),
    Material(
        name="wood", phrase="a wooden block", reaction="static", shape="block",
        colours=((150, 98, 52), (178, 130, 76), (110, 70, 40)),
        tone_hz=(260, 520), modes=(1.0, 2.57, 4.85), ring_s=0.16, tone=1.0,
        noise_hz=(800, 4000), burst_s=0.03, noise=0.4,
    ),
    Material(
        name="plastic", phrase="a plastic bottle", reaction="rigid-motion", shape="bottle",
        colours=((40, 140, 210), (220, 70, 60), (60, 180, 90), (235, 190, 50)),
        tone_hz=(150, 300), modes=(1.0, 1.6, 2.9), ring_s=0.12, tone=0.5,
        noise_hz=(500, 3500), burst_s=0.10, noise=0.9,
    ),
    Material(
        name="cloth", phrase="a piece of cloth", reaction="deform", shape="sheet",
        colours=((170, 60, 90), (90, 80, 160), (200, 190, 170)),
        tone_hz=(70, 120), modes=(1.0,), ring_s=0.12, tone=0.5,
        noise_hz=(120, 900), burst_s=0.14, noise=1.0,
    ),
    Material(
        name="gravel", phrase="a heap of gravel", reaction="scatter", shape="heap",
        colours=((128, 122, 114), (150, 132, 110), (100, 104, 110)),
        tone_hz=(900, 1600), modes=(1.0,), ring_s=0.02, tone=0.15,
        noise_hz=(1500, 9000), burst_s=0.35, noise=1.0, grains=40,
    ),
    Material(
        name="ceramic", phrase="a ceramic bowl", reaction="static", shape="bowl",
        colours=((236, 230, 218), (90, 130, 150), (196, 110, 80)),
        tone_hz=(1100, 1900), modes=(1.0, 2.32, 3.9, 5.8), ring_s=0.5, tone=1.0,
        noise_hz=(4000, 14000), burst_s=0.02, noise=0.4,
    ),
    Material(
        name="water", phrase="a basin of water", reaction="splash", shape="basin",
        colours=((50, 120, 170), (60, 150, 160), (40, 90, 150)),
        tone_hz=(350, 700), modes=(1.0, 1.7), ring_s=0.18, tone=0.5,
        noise_hz=(700, 6000), burst_s=0.40, noise=0.9, grains=14,
    ),
)  # fmt: skip

NEW_MATERIALS: tuple[Material, ...] = (
    Material(
        name="gong", phrase="a pink gong", reaction="static", shape="plate",
        colours=((240, 70, 200), (250, 110, 210), (225, 50, 170)),
        tone_hz=(90, 140), modes=(1.0, 1.52, 2.03, 2.44), ring_s=1.2, tone=1.0,
        noise_hz=(200, 900), burst_s=0.05, noise=0.3,
    ),
)  # fmt: skip
"""Materials that the shipped model has never seen: for fine-tuning it."""

BY_NAME = {material.name: material for material in (*MATERIALS, *NEW_MATERIALS)}
