"""Settings of adversarial training of the audio VAE; the defaults are EnCodec's public recipe."""

from pydantic import Field

from syncflow.config import Config


class AdversarialConfig(Config):
    """Discriminators, and the shares of the balanced losses."""

    enabled: bool = False
    """Train the audio VAE against discriminators; these shares then replace those of `audio_objective`."""
    l1_weight: float = Field(default=0.1, ge=0)
    """Share of the L1 distance of the waveforms."""
    mel_weight: float = Field(default=2.0, ge=0)
    """Share of the multi-scale mel distance."""
    adversarial_weight: float = Field(default=4.0, ge=0)
    """Share of the adversarial loss."""
    feature_weight: float = Field(default=4.0, ge=0)
    """Share of feature matching."""
    kl_weight: float = Field(default=1e-4, ge=0)
    """Weight of the KL term, which stands outside the balance (the balanced gradient has norm 1 a sample)."""
    from_step: int = Field(default=0, ge=0)
    """Updates after which the discriminators begin to train and to count."""
    windows: tuple[int, ...] = (2048, 1024, 512, 256, 128)
    """Window of each discriminator, samples."""
    filters: int = Field(default=32, ge=1)
    """Channels of the discriminators."""
