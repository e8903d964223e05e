"""What happens in a clip, and when: drawn from the seed and the clip's index alone."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from preprocessing.synthetic.materials import BY_NAME, Colour, Material
from preprocessing.synthetic_config import SyntheticClipsConfig

Action = Literal["hit", "scratch", "poke"]
ACTIONS: tuple[Action, ...] = ("hit", "scratch", "poke")
FIRST_S, LAST_S = 0.3, 0.35  # no impact nearer to either end of a clip, seconds
GAP_S = {"hit": 0.3, "poke": 0.35, "scratch": 0.6}  # between impacts
NUMBERS = ("once", "twice", "three times", "four times", "five times", "six times")
VERBS = {"hit": "hits", "scratch": "scratches", "poke": "pokes"}
STREAMS = {"scene": 0, "backdrop": 1, "sound": 2}


@dataclass(frozen=True, kw_only=True)
class Impact:
    """The stick reaches the object at `time_s`; a scratch then drags for `drag_s`."""

    time_s: float
    strength: float  # in (0, 1]
    drag_s: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A planned clip. Positions are in frames (0 to 1, rows downward), times in seconds."""

    clip_id: str
    seed: int
    index: int
    seconds: float
    material: Material
    action: Action
    impacts: tuple[Impact, ...]
    colour: Colour  # of the object
    stick: Colour
    contact: tuple[float, float]  # where the tip touches
    scale: float  # of the object; a larger one sounds lower
    side: int  # the stick comes from the left (-1) or the right (+1)
    variety: float  # of the background, 0 to 1
    stick_width: float  # in multiples of the standard one

    @property
    def caption(self) -> str:
        times = NUMBERS[len(self.impacts) - 1]
        return f"a drumstick {VERBS[self.action]} {self.material.phrase} {times}"

    @property
    def combination(self) -> str:
        """What the caption tells: material, action and number of impacts."""
        return f"{self.material.name} {self.action} {len(self.impacts)}"

    def rng(self, stream: str) -> np.random.Generator:
        """A stream of draws of this clip's own: drawing and sounding do not disturb each other."""
        return np.random.default_rng((self.seed, self.index, STREAMS[stream]))


def clip_id(seed: int, index: int) -> str:
    """`YYYY-MM-DD-HH-MM-SS` as in Greatest Hits: the seed is the day, the index the second."""
    return (datetime(2000, 1, 1) + timedelta(days=seed, seconds=index)).strftime("%Y-%m-%d-%H-%M-%S")


def plan_scene(config: SyntheticClipsConfig, *, index: int) -> Scene:
    """The scene of clip `index`; materials and actions take turns, so that any count is balanced."""
    rng = np.random.default_rng((config.seed, index, STREAMS["scene"]))
    material = BY_NAME[config.materials[index % len(config.materials)]]
    action = ACTIONS[int(rng.choice(len(ACTIONS), p=(0.6, 0.2, 0.2)))]
    wood = int(rng.integers(-25, 26))
    return Scene(
        clip_id=clip_id(config.seed, index),
        seed=config.seed,
        index=index,
        seconds=config.seconds,
        material=material,
        action=action,
        impacts=_draw_impacts(rng, action, config),
        colour=_jitter(rng, material.colours[int(rng.integers(len(material.colours)))], config.variety),
        stick=(205 + wood, 165 + wood, 105 + wood),
        contact=(0.5 + float(rng.uniform(-0.1, 0.1)), 0.58 + float(rng.uniform(-0.05, 0.05))),
        scale=float(rng.uniform(0.8, 1.2)),
        side=int(rng.choice((-1, 1))),
        variety=config.variety,
        stick_width=config.stick_width,
    )


def _draw_impacts(
    rng: np.random.Generator, action: Action, config: SyntheticClipsConfig
) -> tuple[Impact, ...]:
    seconds = config.seconds
    gap, room = GAP_S[action], seconds - FIRST_S - LAST_S
    count = min(int(rng.integers(1, config.most_impacts + 1)), 1 + int(room / gap))
    slack = np.sort(rng.uniform(0.0, room - (count - 1) * gap, size=count))
    times = [round(float(FIRST_S + s + i * gap), 4) for i, s in enumerate(slack)]
    impacts = []
    for time_s, following in zip(times, [*times[1:], seconds], strict=True):
        drag = float(rng.uniform(0.2, 0.4)) if action == "scratch" else 0.0
        strength = float(rng.uniform(0.6, 1.0))
        impacts.append(Impact(time_s=time_s, strength=strength, drag_s=min(drag, 0.5 * (following - time_s))))
    return tuple(impacts)


def _jitter(rng: np.random.Generator, colour: Colour, variety: float) -> Colour:
    red, green, blue = (int(np.clip(c + round(variety * int(rng.integers(-18, 19))), 0, 255)) for c in colour)
    return red, green, blue
