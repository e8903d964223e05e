"""From noise to latents: what starts, and what is followed with or without something given."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from syncflow.errors import UserError
from syncflow.flow.guidance import GuidedVelocity, TextVelocity
from syncflow.flow.known import KnownLatents
from syncflow.flow.noise import keyed_noise
from syncflow.flow.path import interpolate
from syncflow.flow.solver import Step, evaluation_times, solve
from syncflow.records import AVLatents
from syncflow.sampling.checks import check_latents
from syncflow.sampling.given import Given
from syncflow.sampling.graphed import Graphs
from syncflow.sampling.options import SampleOptions
from syncflow.sampling.prompts import Prompts
from syncflow.sampling.velocity import AudioVelocity, ClipVelocity, GivenVideo, ReusedVideo

Callback = Callable[[Step], AVLatents | None]


def seeds_of(generator: Any) -> int | list[int]:
    """A seed that `generator` draws, on its own device (torch's own one if None); of several one each.

    Raises:
        UserError: it is no generator.
    """
    if isinstance(generator, (list, tuple)):
        return [_seed_of(each) for each in generator]
    return _seed_of(generator)


def _seed_of(generator: Any) -> int:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise UserError(
            f"generator: got {type(generator).__name__}; expected a torch.Generator, or a list of one a clip"
        )
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(2**62, (), generator=generator, device=device))


def starting_noise(
    like: AVLatents, *, batch: int, seed: int | Sequence[int], index: Sequence[int] | None, given: AVLatents
) -> AVLatents:
    """Float32 noise of `batch` clips, each keyed by `seed` and its number in `index` (0, 1, 2 ... if None).

    Args:
        like: has the modalities, shapes and device.
        batch: clips.
        seed: of all clips, whose numbers are 0, 1, 2 ... where `index` is None; or one per clip, whose
            numbers are then 0.
        index: a number per clip.
        given: the noise that a caller brings along.

    Raises:
        UserError: not one number or seed a clip, or given noise of another shape.
    """
    if index is not None and len(index) != batch:
        raise UserError(f"index: {len(index)} numbers for {batch} clips; give one a clip")
    if isinstance(seed, int):
        drawn = keyed_noise(like, seed=seed, index=range(batch) if index is None else index, stream="sample")
    else:
        if len(seed) != batch:
            raise UserError(
                f"seed or generator: {len(seed)} for {batch} clips; give one a clip, or one for all"
            )
        numbers = [0] * batch if index is None else index
        drawn = _joined(
            [
                keyed_noise(like, seed=each, index=[number], stream="sample")
                for each, number in zip(seed, numbers, strict=True)
            ]
        )

    def choose(name: str, own: Tensor | None, theirs: Tensor | None) -> Tensor | None:
        if own is None or theirs is None:
            return own
        check_latents(name, theirs, shape=tuple(own.shape[1:]), batch=batch)
        return theirs.to(own)

    return AVLatents(
        video=choose("latents", drawn.video, given.video),
        audio=choose("audio_latents", drawn.audio, given.audio),
    )


def _joined(clips: Sequence[AVLatents]) -> AVLatents:
    """Clips of one shape as one batch."""

    def join(parts: list[Tensor | None]) -> Tensor | None:
        present = [part for part in parts if part is not None]
        return torch.cat(present) if present else None

    return AVLatents(video=join([c.video for c in clips]), audio=join([c.audio for c in clips]))


def video_first(given: Given, noise: AVLatents, *, clean_video: bool) -> bool:
    """Whether the video is made before the audio: then both have all of the solver's steps."""
    both = noise.video is not None and noise.audio is not None
    return clean_video and both and not given.holds_video and not given.holds_audio


def sample(
    clip: ClipVelocity,
    noise: AVLatents,
    *,
    prompts: Prompts,
    given: Given,
    options: SampleOptions,
    callback: Callback = lambda step: None,
    graphs: Graphs | None = None,
) -> AVLatents:
    """Latents at t = 1 of every clip, the given ones in their places.

    What is kept of either modality is held on its noised path. A video that is kept whole leaves the
    audio alone to be solved for, and audio that is kept whole the video, which never depends on it.
    With `clean_video` the video is solved for first and alone; then it is kept.

    Args:
        clip: the towers, for clips of one shape.
        noise: where to start, float32; a modality that is None is not solved for.
        prompts: the text of each clip.
        given: latents that are kept or changed; repeated for each clip of a prompt.
        options: guidance, solver and shortcuts.
        callback: called after each step; latents that it returns replace the state.
        graphs: run the towers as CUDA graphs, where nothing of them is reused and no video is given whole.
    """
    given = given.repeated(prompts.batch)
    solver, start = options.solver, options.start

    def follow(velocity: TextVelocity, noise: AVLatents, callback: Callback = callback) -> AVLatents:
        guided = GuidedVelocity(
            velocity,
            text=prompts.text,
            negative=prompts.negative,
            config=options.guidance,
            prepare=partial(clip.model.prepare_text, keys_values=True),
        )
        x = noise
        if start > 0:
            x = interpolate(noise, given.latents, torch.full((prompts.batch,), start))
        known = KnownLatents(x_0=noise, x_1=given.latents, mask=given.keep)
        return known.finish(solve(known.wrap(guided), x, config=solver, start=start, callback=callback))

    towers: TextVelocity = clip if graphs is None else graphs.velocity(clip)
    if options.video_every > 1:
        towers = ReusedVideo(clip, every=options.video_every)
    if given.holds_audio:
        found = follow(towers, AVLatents(video=noise.video, audio=None))
        return AVLatents(video=found.video, audio=given.latents.audio)
    if video_first(given, noise, clean_video=options.clean_video):
        made = follow(towers, AVLatents(video=noise.video, audio=None)).video
        assert made is not None, "its noise was not"
        given = given.with_video(made)
    if not given.holds_video:
        return follow(towers, noise)
    assert noise.video is not None and given.latents.video is not None
    video = GivenVideo(x_0=noise.video, x_1=given.latents.video, clean=options.clean_video)
    velocity = AudioVelocity(
        clip,
        video,
        times=evaluation_times(solver, start=start),
        per_batch=options.video_steps_per_batch,
        alike=options.guidance.acts_at,
    )

    def with_video(step: Step) -> AVLatents | None:
        t = torch.full((prompts.batch,), step.t, device=video.x_1.device)
        changed = callback(replace(step, x=AVLatents(video=video.at(t), audio=step.x.audio)))
        return None if changed is None else AVLatents(video=None, audio=changed.audio)

    found = follow(velocity, AVLatents(video=None, audio=noise.audio), with_video)
    return AVLatents(video=video.x_1, audio=found.audio)
