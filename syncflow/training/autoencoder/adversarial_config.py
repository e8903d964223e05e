"""Settings of adversarial training of the audio VAE; the defaults are EnCodec's public recipe."""

from pydantic import Field

from syncflow.config import Config


class AdversarialConfig(Config):
    """Discriminators, and the shares of the balanced losses."""

    enabled: bool = False
    """Train the audio VAE against discriminators; the weights of this group then replace those of
    `audio_objective`."""
    l1_weight: float = Field(default=0.1, ge=0)
    """Share of the L1 distance of waveforms in the balanced loss."""
    mel_weight: float = Field(default=2.0, ge=0)
    """Share of the multi-scale mel distance in the balanced loss."""
    adversarial_weight: float = Field(default=4.0, ge=0)
    """Share of the adversarial loss in the balanced loss."""
    feature_weight: float = Field(default=4.0, ge=0)
    """Share of feature matching in the balanced loss."""
    kl_weight: float = Field(default=1e-4, ge=0)
    """Weight of the KL term, which is outside the balanced loss (whose gradient has norm 1 per sample)."""
    from_step: int = Field(default=0, ge=0)
    """Number of updates before the discriminators train and count."""
    windows: tuple[int, ...] = (2048, 1024, 512, 256, 128)
    """STFT window of each discriminator, samples."""
    filters: int = Field(default=32, ge=1)
    """Channels of each discriminator."""
