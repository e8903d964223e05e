import torch

from syncflow.flow.config import SolverConfig
from syncflow.flow.known import KnownLatents
from syncflow.flow.path import interpolate
from syncflow.flow.solver import solve
from syncflow.records import AVLatents


def pair(seed: int) -> AVLatents:
    generator = torch.Generator().manual_seed(seed)
    return AVLatents(
        video=torch.randn(2, 4, 3, 2, 2, generator=generator), audio=torch.randn(2, 6, 5, generator=generator)
    )


def follow(known: KnownLatents, noise: AVLatents, method: str = "euler") -> tuple[AVLatents, list]:
    seen = []

    def velocity(x: AVLatents, t: torch.Tensor) -> AVLatents:
        seen.append((x, t))
        return AVLatents(video=5 * x.video, audio=x.audio + x.video.mean())

    config = SolverConfig(steps=8, method=method)
    return known.finish(solve(known.wrap(velocity), noise, config=config)), seen


def test_a_given_video_is_seen_on_its_noised_path_at_every_step_and_ends_as_given() -> None:
    noise, data = pair(0), pair(1)
    given = AVLatents(video=torch.ones(1, 1, 1, 1, 1, dtype=torch.bool), audio=None)
    known = KnownLatents(x_0=noise, x_1=AVLatents(video=data.video, audio=None), mask=given)
    for method in ("euler", "midpoint", "heun", "ab2"):
        found, seen = follow(known, noise, method)
        assert torch.equal(found.video, data.video)
        assert not torch.equal(found.audio, noise.audio)
        for x, t in seen:
            torch.testing.assert_close(x.video, interpolate(noise, data, t).video)


def test_the_states_themselves_stay_on_the_path_of_the_given_part() -> None:
    noise, data = pair(0), pair(1)
    given = AVLatents(video=torch.ones(1, 1, 1, 1, 1, dtype=torch.bool), audio=None)
    known = KnownLatents(x_0=noise, x_1=data, mask=given)
    states = []
    solve(
        known.wrap(lambda x, t: x), noise, config=SolverConfig(steps=5), callback=lambda s: states.append(s)
    )
    for step in states:
        on_path = interpolate(noise, data, torch.full((2,), step.t))
        torch.testing.assert_close(step.x.video, on_path.video)


def test_a_part_of_the_sound_given_leaves_the_rest_to_be_made() -> None:
    noise, data = pair(2), pair(3)
    mask = torch.zeros(1, 6, 1, dtype=torch.bool)
    mask[:, :2] = True
    known = KnownLatents(x_0=noise, x_1=data, mask=AVLatents(video=None, audio=mask))
    found, _ = follow(known, noise)
    assert torch.equal(found.audio[:, :2], data.audio[:, :2])
    assert not torch.isclose(found.audio[:, 2:], data.audio[:, 2:]).any()
