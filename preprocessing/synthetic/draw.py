"""How a clip looks: frames with twofold anti-aliasing. Frame k shows the instant k / fps."""

import numpy as np
from PIL import Image, ImageDraw

from preprocessing.synthetic.backdrop import draw_backdrop
from preprocessing.synthetic.bodies import Body, Canvas, draw_body, shade
from preprocessing.synthetic.motion import DRAG, last_impact, stick_pose
from preprocessing.synthetic.scene import Impact, Scene

FINE = 2  # drawn this many times finer than shown
FLASH_S = 0.10  # the object's flash falls to 1/e
DENT_S = 0.16
SWING_HZ = 6.0
FLIGHT_S = 0.40  # of particles
GRAVITY = 2.2  # frames a second squared
FLASH = {"hit": 0.8, "poke": 0.6, "scratch": 0.5}
LIGHT, GLOW = (255, 248, 215), (235, 105, 25)  # a dark object flashes light, a light one orange


def render_frames(scene: Scene, *, size: int, fps: int) -> np.ndarray:
    """The clip's picture: uint8 f h w c."""
    backdrop = draw_backdrop(scene, pixels=FINE * size)
    times = np.arange(round(scene.seconds * fps)) / fps
    return np.stack([_frame(scene, backdrop, float(time_s), size) for time_s in times])


def _frame(scene: Scene, backdrop: Image.Image, time_s: float, size: int) -> np.ndarray:
    picture = backdrop.copy()
    canvas = Canvas(ink=ImageDraw.Draw(picture), pixels=FINE * size)
    impact = last_impact(scene, time_s=time_s)
    draw_body(canvas, _body(scene, impact, time_s), scene.material.shape)
    pose = stick_pose(scene, time_s=time_s)
    wide = scene.stick_width
    canvas.line(pose.grip, pose.tip, 0.034 * wide, shade(scene.stick, 0.55))
    canvas.line(pose.grip, pose.tip, 0.024 * wide, scene.stick)
    canvas.ellipse(*pose.tip, 0.028 * wide, 0.028 * wide, shade(scene.stick, 0.6))
    canvas.ellipse(*pose.tip, 0.022 * wide, 0.022 * wide, shade(scene.stick, 1.15))
    if impact is not None:
        _draw_glint(canvas, scene, impact, time_s)
        _draw_particles(canvas, scene, impact, time_s)
    return np.asarray(picture.reduce(FINE))


def _body(scene: Scene, impact: Impact | None, time_s: float) -> Body:
    since = np.inf if impact is None else time_s - impact.time_s
    strength = 0.0 if impact is None else impact.strength
    flash = FLASH[scene.action] * strength * float(np.exp(-since / FLASH_S))
    dent = strength * float(np.exp(-since / DENT_S))
    swing = dent * float(np.cos(2 * np.pi * SWING_HZ * since)) if impact else 0.0
    tint = LIGHT if sum(scene.colour) < 3 * 150 else GLOW
    lit = tuple(int(c + (w - c) * flash) for c, w in zip(scene.colour, tint, strict=True))
    x, y = scene.contact
    return Body(
        x=x, y=y, scale=scene.scale, colour=(lit[0], lit[1], lit[2]), dent=dent, swing=swing,
        grain=np.random.default_rng((scene.seed, scene.index)),
    )  # fmt: skip


def _draw_glint(canvas: Canvas, scene: Scene, impact: Impact, time_s: float) -> None:
    """A star at the contact that shrinks within a tenth of a second."""
    x, y = _contact(scene, impact)
    reach = 0.11 * impact.strength * float(np.exp(-(time_s - impact.time_s) / 0.05))
    if reach < 0.012:
        return
    for angle in np.arange(6) * np.pi / 6 + 0.26:
        along, up = reach * float(np.cos(angle)), reach * float(np.sin(angle))
        canvas.line((x - along, y - up), (x + along, y + up), 0.012, LIGHT)


def _draw_particles(canvas: Canvas, scene: Scene, impact: Impact, time_s: float) -> None:
    """Chips, pebbles or drops of the object's own colour, on parabolas from the contact."""
    since = time_s - impact.time_s
    if since > FLIGHT_S:
        return
    rng = np.random.default_rng((scene.seed, scene.index, round(impact.time_s * 10_000)))
    count = {"scatter": 22, "splash": 26, "deform": 6}.get(scene.material.reaction, 10)
    x, y = _contact(scene, impact)
    fade = 1.0 - 0.6 * since / FLIGHT_S
    for _ in range(count):
        side, rise = rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.3) * impact.strength
        size = rng.uniform(0.008, 0.018) * fade
        down = rise * since + 0.5 * GRAVITY * since**2
        canvas.ellipse(x + side * since, y + down, size, size, shade(scene.colour, rng.uniform(0.9, 1.5)))


def _contact(scene: Scene, impact: Impact) -> tuple[float, float]:
    x, y = scene.contact
    return (x + scene.side * 0.5 * DRAG, y) if scene.action == "scratch" and impact.drag_s else (x, y)
