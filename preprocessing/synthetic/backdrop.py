"""What stands behind: a gradient wall with a texture, blurred shapes, and a table."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from preprocessing.synthetic.scene import Scene

TABLE_BELOW = 0.36  # of a frame, from the contact down to the table's edge


def draw_backdrop(scene: Scene, *, pixels: int) -> Image.Image:
    """An RGB image of `pixels` rows and columns, the same for all frames of a clip."""
    rng = scene.rng("backdrop")
    wall = Image.fromarray(_gradient(rng, pixels))
    ink = ImageDraw.Draw(wall)
    for _ in range(int(rng.integers(0, 5))):  # distractors
        x, y = rng.uniform(0.0, 1.0), rng.uniform(0.0, 0.75)
        reach = rng.uniform(0.05, 0.2)
        box = [pixels * v for v in (x - reach, y - reach * rng.uniform(0.5, 1.5), x + reach, y + reach)]
        box[1], box[3] = min(box[1], box[3]), max(box[1], box[3])
        (ink.ellipse if rng.random() < 0.5 else ink.rectangle)(box, fill=_colour(rng, 50, 170))
    wall = wall.filter(ImageFilter.GaussianBlur(0.015 * pixels))
    edge = round((scene.contact[1] + TABLE_BELOW - rng.uniform(0.08, 0.16)) * pixels)
    table = Image.fromarray(_gradient(rng, pixels)).crop((0, 0, pixels, max(pixels - edge, 1)))
    wall.paste(table.point(lambda value: int(0.7 * value)), (0, edge))
    return wall


def _gradient(rng: np.random.Generator, pixels: int) -> np.ndarray:
    """Two colours across the frame at a random angle, with a coarse texture upon them: uint8 h w c."""
    first, second = np.array(_colour(rng, 60, 190)), np.array(_colour(rng, 60, 190))
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:pixels, 0:pixels] / pixels - 0.5
    share = (0.5 + rows * np.sin(angle) + columns * np.cos(angle)).clip(0, 1)[..., None]
    cells = int(rng.integers(6, 24))
    coarse = rng.uniform(-1, 1, size=(cells, cells)).astype(np.float32)
    texture = np.asarray(Image.fromarray(coarse).resize((pixels, pixels), Image.Resampling.BICUBIC))
    shaded = first + (second - first) * share + rng.uniform(2, 12) * texture[..., None]
    return shaded.clip(0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    """A muted colour: the channels stay near one another."""
    middle = rng.uniform(low, high)
    red, green, blue = (int(np.clip(middle + rng.uniform(-35, 35), 0, 255)) for _ in range(3))
    return red, green, blue
