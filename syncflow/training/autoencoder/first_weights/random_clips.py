"""Random images and clips with the statistics of natural ones, to which a linear codec is fitted."""

import torch
from torch import Tensor
from torch.nn import functional as F

PICTURES, ROWS = 96, 64
FRAME_DEVIATION = 0.45
COLOUR_SHARE = 0.45  # deviation of each colour channel's own part, that of the common part being 1
CLIPS, FRAMES = 48, 8
MOST_SPEED = 4.0  # pixels a frame, along each axis
FLASH = 0.5  # deviation of a change of light, that of the frames being 1
FLASH_FRAMES = 2.0  # in which it falls to 1/e


def random_images(generator: torch.Generator) -> Tensor:
    """Images `i 3 h w`: smooth noise of each scale, mostly common to the three colours."""
    return _noise(PICTURES, ROWS, generator)


def random_clips(generator: torch.Generator) -> Tensor:
    """Clips `b 3 f h w`: images that pass by, in each a light that comes at once and dies away."""
    canvas, light = _noise(CLIPS, 2 * ROWS, generator), FLASH * _noise(CLIPS, ROWS, generator)
    speed = MOST_SPEED * (2 * torch.rand(CLIPS, 2, generator=generator) - 1)
    begin = FRAMES * torch.rand(CLIPS, generator=generator)
    return torch.stack([_frame(frame, canvas, speed, light, begin) for frame in range(FRAMES)], dim=2)


def _frame(frame: int, canvas: Tensor, speed: Tensor, light: Tensor, begin: Tensor) -> Tensor:
    shift = (frame - (FRAMES - 1) / 2) * speed / ROWS  # b 2, in halves of the canvas's side
    theta = torch.eye(2, 3).repeat(len(canvas), 1, 1) / 2
    theta[:, :, 2] = shift
    size = [*canvas.shape[:2], ROWS, ROWS]
    seen = F.grid_sample(canvas, F.affine_grid(theta, size, align_corners=False), align_corners=False)
    since = frame - begin
    glow = torch.where(since >= 0, torch.exp(-since / FLASH_FRAMES), 0.0)
    return seen + glow[:, None, None, None] * light


def _noise(count: int, rows: int, generator: torch.Generator) -> Tensor:
    total = torch.zeros(count, 3, rows, rows)
    scale = 1
    while scale <= rows:
        common = torch.randn(count, 1, scale, scale, generator=generator)
        own = torch.randn(count, 3, scale, scale, generator=generator)
        noise = F.interpolate(common + COLOUR_SHARE * own, size=(rows, rows), mode="bilinear")
        total += noise / scale
        scale *= 2
    return FRAME_DEVIATION * total / total.std()
