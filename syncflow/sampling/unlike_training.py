"""Where a request differs from what a checkpoint was trained for: said once, and done all the same."""

from collections.abc import Iterator


def unlike_training(
    *,
    trained_clean_video: float | None,
    trained_prompt_dropout: float | None,
    clean_video: bool,
    guided: bool,
    without_prompt: bool,
    hears_video: bool,
) -> Iterator[str]:
    """A line for each setting at which the model sees what it was not trained on.

    Args:
        trained_clean_video: share of samples with finished video (`flow.time.clean_video`); None: unknown.
        trained_prompt_dropout: share of the prompts that the null prompt replaced; None: unknown.
        clean_video: whether the audio tower is shown the finished video.
        guided: whether the learned null prompt guides (a weight other than 1, and no negative prompt).
        without_prompt: whether there is no prompt but the null one.
        hears_video: whether audio is made by a tower that reads the video tower.
    """
    if hears_video and trained_clean_video == 1 and not clean_video:
        yield (
            "clean_video: off, and this checkpoint's audio tower was trained on finished video alone "
            "(flow.time.clean_video 1); switch it on (--clean-video)"
        )
    if hears_video and trained_clean_video == 0 and clean_video:
        yield (
            "clean_video: on, and this checkpoint's audio tower never saw finished video "
            "(flow.time.clean_video 0); switch it off"
        )
    if trained_prompt_dropout == 0 and guided:
        yield (
            "guidance: this checkpoint never trained the null prompt (prompt_dropout 0); set the guidance "
            "weight to 1 (--guidance.scale 1), or give a negative prompt"
        )
    if trained_prompt_dropout == 0 and without_prompt:
        yield "prompt: none, and this checkpoint never trained the null prompt (prompt_dropout 0); give one"
