"""The objects: one function a shape, drawn about the contact, bent by the last impact."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from preprocessing.synthetic.materials import Colour, Shape

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A drawing surface of `pixels` rows and columns, addressed in frames (0 to 1).

    Its methods take a centre `x`, `y`, half a width `reach_x` and half a height `reach_y`, in shares of the
    frame.
    """

    ink: ImageDraw.ImageDraw
    pixels: int

    def polygon(self, points: list[Point], fill: Colour) -> None:
        self.ink.polygon([(x * self.pixels, y * self.pixels) for x, y in points], fill=fill)

    def ellipse(self, x: float, y: float, reach_x: float, reach_y: float, fill: Colour) -> None:
        box = (x - reach_x, y - reach_y, x + reach_x, y + reach_y)
        self.ink.ellipse([v * self.pixels for v in box], fill=fill)

    def line(self, start: Point, end: Point, width: float, fill: Colour) -> None:
        ends = [v * self.pixels for v in (*start, *end)]
        self.ink.line(ends, fill=fill, width=max(1, round(width * self.pixels)))


@dataclass(frozen=True, kw_only=True)
class Body:
    """An object at an instant. `dent` (0 to 1) dies out after an impact, `swing` (-1 to 1) oscillates."""

    x: float  # of the contact at rest
    y: float
    scale: float
    colour: Colour
    dent: float
    swing: float
    grain: np.random.Generator  # the same draws for each frame of a clip


def draw_body(canvas: Canvas, body: Body, shape: Shape) -> None:
    """Draw an object whose upper surface is at the contact.

    Args:
        shape: what draws the object.
    """
    SHAPES[shape](canvas, body)


def shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(min(255.0, factor * c)) for c in colour)
    return red, green, blue


def _plate(canvas: Canvas, body: Body) -> None:
    half, tilt = 0.27 * body.scale, 0.025 * body.swing
    stand = [(body.x - 0.03, body.y + 0.03), (body.x + 0.03, body.y + 0.03)]
    canvas.polygon([*stand, (body.x + 0.05, body.y + 0.32), (body.x - 0.05, body.y + 0.32)], (60, 60, 66))
    for factor, grow, down in ((0.6, 1.0, 0.045), (1.0, 1.0, 0.03), (1.18, 0.72, 0.026), (0.95, 0.45, 0.024)):
        turn = np.linspace(0, 2 * np.pi, 48)
        points = [
            (body.x + half * grow * np.cos(a), body.y + down + 0.055 * grow * np.sin(a) + tilt * np.cos(a))
            for a in turn
        ]
        canvas.polygon(points, shade(body.colour, factor))


def _block(canvas: Canvas, body: Body) -> None:
    half, depth = 0.25 * body.scale, 0.07
    top, bottom = body.y + 0.015 * body.dent, body.y + 0.3
    left, right = body.x - half, body.x + half
    canvas.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], shade(body.colour, 0.85))
    canvas.polygon(
        [(left, top + depth), (left + 0.05, top - 0.01), (right + 0.05, top - 0.01), (right, top + depth)],
        shade(body.colour, 1.15),
    )
    canvas.polygon(
        [(right, top + depth), (right + 0.05, top - 0.01), (right + 0.05, bottom - 0.05), (right, bottom)],
        shade(body.colour, 0.6),
    )
    for row in body.grain.uniform(top + depth + 0.02, bottom - 0.01, size=7):
        canvas.line(
            (left, row), (right, row + body.grain.uniform(-0.01, 0.01)), 0.006, shade(body.colour, 0.68)
        )


def _bottle(canvas: Canvas, body: Body) -> None:
    half, lean = 0.26 * body.scale, 0.05 * body.swing
    y, left, right = body.y + 0.03 * body.dent, body.x - half, body.x + half
    canvas.polygon(
        [
            (left + lean, y + 0.02), (left + 0.04 + lean, y), (right - 0.12 + lean, y),
            (right - 0.02 + lean, y + 0.06), (right - 0.02, y + 0.2), (right - 0.12, y + 0.28),
            (left, y + 0.28),
        ],
        body.colour,
    )  # fmt: skip
    neck = right - 0.02 + lean
    canvas.polygon(
        [(neck, y + 0.08), (neck + 0.06, y + 0.1), (neck + 0.06, y + 0.17), (neck, y + 0.19)], (235, 235, 235)
    )
    canvas.polygon(
        [
            (body.x - half + 0.05, y + 0.04),
            (body.x + 0.06, y + 0.04),
            (body.x + 0.06, y + 0.07),
            (body.x - half + 0.05, y + 0.07),
        ],
        shade(body.colour, 1.5),
    )


def _sheet(canvas: Canvas, body: Body) -> None:
    half = 0.32 * body.scale
    across = np.linspace(-1, 1, 33)
    sag = 0.09 * body.dent * np.exp(-((across / 0.3) ** 2)) + 0.012 * np.sin(9 * across) * (
        1 + 2 * body.swing
    )
    top = [(body.x + half * a, body.y + float(s) + 0.03 * a * a) for a, s in zip(across, sag, strict=True)]
    hem = [(x, body.y + 0.26 + 0.02 * np.sin(24 * (x - body.x))) for x, _ in reversed(top)]
    canvas.polygon([*top, *hem], body.colour)
    for k in range(2, 32, 5):
        canvas.line(top[k], (top[k][0] + 0.02, body.y + 0.25), 0.012, shade(body.colour, 0.75))


def _heap(canvas: Canvas, body: Body) -> None:
    half = 0.3 * body.scale
    for _ in range(150):
        across, down = body.grain.uniform(-1, 1), body.grain.uniform(0, 1)
        size, tone = body.grain.uniform(0.014, 0.032), body.grain.uniform(0.55, 1.35)
        crest = body.y + 0.16 * across * across + 0.07 * body.dent * np.exp(-((across / 0.3) ** 2))
        spread = 1 + 0.1 * body.dent
        y = crest + 0.025 + down * (body.y + 0.27 - crest)
        canvas.ellipse(body.x + half * across * spread, y, size, 0.8 * size, shade(body.colour, tone))


def _bowl(canvas: Canvas, body: Body) -> None:
    half, jump = 0.25 * body.scale, 0.02 * body.swing
    turn = np.linspace(0, np.pi, 32)
    y = body.y + 0.045 + jump
    rim = [(body.x + half * np.cos(a), y + 0.22 * np.sin(a) ** 0.8) for a in turn]
    canvas.polygon(rim, body.colour)
    canvas.polygon(
        [
            (body.x - 0.09, y + 0.2),
            (body.x + 0.09, y + 0.2),
            (body.x + 0.1, y + 0.25),
            (body.x - 0.1, y + 0.25),
        ],
        shade(body.colour, 0.7),
    )
    canvas.ellipse(body.x, y, half, 0.045, shade(body.colour, 1.1))
    canvas.ellipse(body.x, y + 0.008, 0.88 * half, 0.034, shade(body.colour, 0.5))


def _basin(canvas: Canvas, body: Body) -> None:
    half = 0.31 * body.scale
    across = np.linspace(-1, 1, 49)
    wave = 0.05 * body.dent * np.exp(-((across / 0.2) ** 2)) + 0.03 * body.swing * np.cos(14 * across)
    top = [(body.x + half * a, body.y + 0.01 + float(w)) for a, w in zip(across, wave, strict=True)]
    wall = shade((190, 190, 196), 0.8)
    left, right, floor = body.x - half, body.x + half, body.y + 0.27
    canvas.polygon(
        [
            (left - 0.03, body.y - 0.02),
            (right + 0.03, body.y - 0.02),
            (right, floor + 0.02),
            (left, floor + 0.02),
        ],
        wall,
    )
    canvas.polygon([*top, (right - 0.02, floor), (left + 0.02, floor)], body.colour)
    lit = [(x, y + 0.02) for x, y in reversed(top)]
    canvas.polygon([*top, *lit], shade(body.colour, 1.45))


SHAPES: dict[Shape, Callable[[Canvas, Body], None]] = {
    "plate": _plate, "block": _block, "bottle": _bottle, "sheet": _sheet,
    "heap": _heap, "bowl": _bowl, "basin": _basin,
}  # fmt: skip
