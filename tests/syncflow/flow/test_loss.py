import torch

from syncflow.flow.config import LossConfig
from syncflow.flow.loss import bucket_means, flow_loss
from syncflow.records import AVLatents


def velocities(seed: int, dtype: torch.dtype = torch.float32) -> AVLatents:
    generator = torch.Generator().manual_seed(seed)
    return AVLatents(
        video=torch.randn(3, 4, 2, 5, 6, generator=generator).to(dtype),
        audio=torch.randn(3, 7, 8, generator=generator).to(dtype),
    )


def test_the_total_is_the_weighted_sum_of_the_batch_means() -> None:
    config = LossConfig(video_weight=2.0, audio_weight=0.5)
    loss = flow_loss(velocities(0), velocities(1), scores=("video", "audio"), config=config)
    expected = 2 * torch.nn.functional.mse_loss(velocities(0).video, velocities(1).video)
    expected = expected + 0.5 * torch.nn.functional.mse_loss(velocities(0).audio, velocities(1).audio)
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.total, 2 * loss.video.mean() + 0.5 * loss.audio.mean())


def test_a_sample_counts_in_the_video_s_mean_by_its_share() -> None:
    shares = torch.tensor([2.0, 0.0, 2.0])
    config = LossConfig(audio_weight=0.0)
    loss = flow_loss(
        velocities(0), velocities(1), scores=("video", "audio"), config=config, video_shares=shares
    )
    torch.testing.assert_close(loss.total, 2 * (loss.video[0] + loss.video[2]) / 3)


def test_what_a_stage_does_not_score_gets_no_gradient() -> None:
    predicted = velocities(0)
    predicted.video.requires_grad_(True)
    predicted.audio.requires_grad_(True)
    loss = flow_loss(predicted, velocities(1), scores=("audio",), config=LossConfig())
    loss.total.backward()
    assert loss.video is None and predicted.video.grad is None and predicted.audio.grad is not None


def test_the_loss_is_float32_whatever_the_model_is() -> None:
    loss = flow_loss(velocities(0, torch.bfloat16), velocities(1), scores=("audio",), config=LossConfig())
    assert loss.total.dtype == loss.audio.dtype == torch.float32


def test_a_perfect_prediction_costs_nothing() -> None:
    loss = flow_loss(velocities(0), velocities(0), scores=("video", "audio"), config=LossConfig())
    assert float(loss.total) == 0


def test_buckets_keep_every_loss_once() -> None:
    losses, t = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([0.0, 0.05, 0.55, 1.0])
    buckets = bucket_means(losses, t, buckets=10)
    assert buckets.counts.tolist() == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert float(buckets.sums.sum()) == float(losses.sum())
    assert float(buckets.means[0]) == 1.5 and bool(buckets.means[1].isnan())
