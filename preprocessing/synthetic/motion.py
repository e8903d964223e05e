"""Where the stick is at an instant: a fast down-stroke that stops at the impact, a slow retreat."""

from dataclasses import dataclass

from preprocessing.synthetic.scene import Impact, Scene

DOWN_S = 0.12  # of a full down-stroke
RETREAT_S = 0.35  # of a full retreat
REACH = {"hit": (0.10, -0.36), "scratch": (0.08, -0.26), "poke": (0.24, -0.22)}  # from contact to hover
DRAG = 0.16  # length of a scratch


@dataclass(frozen=True, kw_only=True)
class Pose:
    tip: tuple[float, float]
    grip: tuple[float, float]


def stick_pose(scene: Scene, *, time_s: float) -> Pose:
    """Tip and grip of the stick, in frames."""
    lift, along = _lift(scene, time_s), _along(scene, time_s)
    reach_x, reach_y = REACH[scene.action]
    shift_x = scene.side * (reach_x * lift + DRAG * along)
    shift_y = reach_y * lift
    x, y = scene.contact
    follow = (
        1.0 if scene.action == "poke" else 0.35
    )  # a hit turns about the hand, a poke goes along the stick
    grip = (x + scene.side * 0.62 + follow * shift_x, y - 0.52 + follow * shift_y)
    return Pose(tip=(x + shift_x, y + shift_y), grip=grip)


def last_impact(scene: Scene, *, time_s: float) -> Impact | None:
    """The impact that came last before or at an instant."""
    past = [impact for impact in scene.impacts if impact.time_s <= time_s]
    return past[-1] if past else None


def _lift(scene: Scene, time_s: float) -> float:
    """How far the tip is from the surface: 0 touches, 1 is the full reach."""
    before = last_impact(scene, time_s=time_s)
    after = next((impact for impact in scene.impacts if impact.time_s > time_s), None)
    free_from = before.time_s + before.drag_s if before else None
    if free_from is not None and time_s <= free_from:
        return 0.0
    if after is None:
        return 1.0 if free_from is None else _ease((time_s - free_from) / RETREAT_S)
    down = DOWN_S if free_from is None else min(DOWN_S, 0.4 * (after.time_s - free_from))
    room = RETREAT_S if free_from is None else after.time_s - down - free_from
    height = min(1.0, room / (0.8 * RETREAT_S))  # less room, a lower stroke: the retreat stays slow
    until = after.time_s - time_s
    if until < down:
        return height * (1.0 - (1.0 - until / down) ** 2)  # gathers speed until it stops at the impact
    return height if free_from is None else height * _ease((time_s - free_from) / min(RETREAT_S, room))


def _along(scene: Scene, time_s: float) -> float:
    """Where along a scratch the tip is: 0.5 at its start, -0.5 at its end; 0 for other actions."""
    if scene.action != "scratch":
        return 0.0
    before = last_impact(scene, time_s=time_s)
    if before is None:
        return 0.5
    since = time_s - before.time_s
    if since <= before.drag_s:
        return 0.5 - since / before.drag_s
    return -0.5 + _ease((since - before.drag_s) / (0.5 * RETREAT_S))


def _ease(share: float) -> float:
    share = min(max(share, 0.0), 1.0)
    return share * share * (3.0 - 2.0 * share)
