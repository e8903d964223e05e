"""What stands behind: a gradient wall with a texture, blurred shapes, and a table."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from preprocessing.synthetic.scene import Scene

TABLE_BELOW = 0.36  # of a frame, from the contact down to the table's edge
PLAIN = 125.0  # level of the wall where nothing varies


def draw_backdrop(scene: Scene, *, pixels: int) -> Image.Image:
    """An RGB image of `pixels` rows and columns, the same for all frames of a clip."""
    rng, variety = scene.rng("backdrop"), scene.variety
    wall = Image.fromarray(_gradient(rng, pixels, variety))
    ink = ImageDraw.Draw(wall)
    for _ in range(round(variety * int(rng.integers(0, 5)))):  # distractors
        x, y = rng.uniform(0.0, 1.0), rng.uniform(0.0, 0.75)
        reach = rng.uniform(0.05, 0.2)
        box = [pixels * v for v in (x - reach, y - reach * rng.uniform(0.5, 1.5), x + reach, y + reach)]
        box[1], box[3] = min(box[1], box[3]), max(box[1], box[3])
        (ink.ellipse if rng.random() < 0.5 else ink.rectangle)(box, fill=_colour(rng, 50, 170))
    wall = wall.filter(ImageFilter.GaussianBlur(0.015 * pixels))
    edge = round((scene.contact[1] + TABLE_BELOW - rng.uniform(0.08, 0.16)) * pixels)
    table = Image.fromarray(_gradient(rng, pixels, variety)).crop((0, 0, pixels, max(pixels - edge, 1)))
    wall.paste(table.point(lambda value: int(0.7 * value)), (0, edge))
    return wall


def _gradient(rng: np.random.Generator, pixels: int, variety: float) -> np.ndarray:
    """Two colours across the frame at a random angle, with a coarse texture upon them: uint8 h w c.

    Less `variety` brings both nearer to one grey, and takes the texture away.
    """
    first, second = (PLAIN + variety * (np.array(_colour(rng, 60, 190), float) - PLAIN) for _ in range(2))
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:pixels, 0:pixels] / pixels - 0.5
    share = (0.5 + rows * np.sin(angle) + columns * np.cos(angle)).clip(0, 1)[..., None]
    cells = int(rng.integers(6, 24))
    coarse = rng.uniform(-1, 1, size=(cells, cells)).astype(np.float32)
    texture = np.asarray(Image.fromarray(coarse).resize((pixels, pixels), Image.Resampling.BICUBIC))
    shaded = first + (second - first) * share + variety * rng.uniform(2, 12) * texture[..., None]
    return shaded.clip(0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    """A muted colour: the channels stay near one another."""
    middle = rng.uniform(low, high)
    red, green, blue = (int(np.clip(middle + rng.uniform(-35, 35), 0, 255)) for _ in range(3))
    return red, green, blue
