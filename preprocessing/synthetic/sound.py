"""How a clip sounds: each impact starts at its instant, to the sample."""

import numpy as np
from scipy import signal

from preprocessing.synthetic.materials import Material
from preprocessing.synthetic.scene import Impact, Scene

ROOM_DBFS = (-64.0, -58.0)  # level of the room's noise
PEAK_DBFS = (-9.0, -2.0)  # level of a clip's loudest sample
REVERB_S = 0.25  # time of 60 dB decay
LEVEL = {"hit": 1.0, "poke": 0.7, "scratch": 0.8}
SILENCE_DB = 60.0


def render_audio(scene: Scene, *, sample_rate: int) -> np.ndarray:
    """The clip's sound: float32 m, in [-1, 1], mono."""
    rng = scene.rng("sound")
    num_samples = round(scene.seconds * sample_rate)
    dry = np.zeros(num_samples)
    for impact in scene.impacts:
        sound = _impact_sound(scene, impact, rng, sample_rate)
        start = round(impact.time_s * sample_rate)
        part = sound[: num_samples - start]
        dry[start : start + len(part)] += part
    wet = signal.fftconvolve(dry, _room(rng, sample_rate))[:num_samples]
    peak = _amplitude(float(rng.uniform(*PEAK_DBFS)))
    audio = wet * peak / max(float(np.abs(wet).max()), 1e-9)
    floor = _amplitude(float(rng.uniform(*ROOM_DBFS)))
    return np.clip(audio + floor * rng.standard_normal(num_samples), -1.0, 1.0).astype(np.float32)


def _impact_sound(scene: Scene, impact: Impact, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    base_hz = float(np.exp(rng.uniform(*np.log(scene.material.tone_hz)))) / scene.scale
    level = LEVEL[scene.action] * impact.strength
    if impact.drag_s:
        return level * _scratch(scene.material, base_hz, impact.drag_s, rng, sample_rate)
    struck = _modes(scene.material, base_hz, rng, sample_rate)
    burst = _burst(scene.material, rng, sample_rate)
    if scene.action == "poke":  # the tip stays on the object and damps it
        struck = struck * _decay(len(struck), 0.4 * scene.material.ring_s, sample_rate)
    return level * _sum(struck, burst)


def _modes(material: Material, base_hz: float, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    num_samples = round(1.2 * material.ring_s * sample_rate)
    time = np.arange(num_samples) / sample_rate
    total = np.zeros(num_samples)
    for ratio in material.modes:
        hz = base_hz * ratio * float(rng.uniform(0.99, 1.01))
        if hz > 0.45 * sample_rate:
            continue
        partial = np.sin(2 * np.pi * hz * time) * float(rng.uniform(0.6, 1.0)) / ratio**0.5
        total += partial * _decay(num_samples, material.ring_s / ratio**0.7, sample_rate)
    return material.tone * total / max(float(np.abs(total).max()), 1e-9)


def _burst(material: Material, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    num_samples = round(1.2 * material.burst_s * sample_rate)
    noise = rng.standard_normal(num_samples)
    envelope = _decay(num_samples, material.burst_s, sample_rate)
    if material.grains:
        envelope = 0.35 * envelope
        for start in rng.integers(0, num_samples, size=material.grains):
            grain = _decay(num_samples - int(start), 0.012, sample_rate)
            fade = 10 ** (-SILENCE_DB / 20 * start / num_samples / 2)
            envelope[start:] += float(rng.uniform(0.1, 0.4)) * fade * grain
        envelope[: round(0.01 * sample_rate)] += _decay(round(0.01 * sample_rate), 0.01, sample_rate)
    shaped = _band(noise * envelope, material.noise_hz, sample_rate)
    return material.noise * shaped / max(float(np.abs(shaped).max()), 1e-9)


def _scratch(
    material: Material, base_hz: float, drag_s: float, rng: np.random.Generator, sample_rate: int
) -> np.ndarray:
    """Noise in the material's band, rough at some tens of hertz, as long as the tip slides."""
    num_samples = round((drag_s + 0.03) * sample_rate)
    time = np.arange(num_samples) / sample_rate
    rough = 0.7 + 0.3 * np.sin(2 * np.pi * rng.uniform(35, 70) * time + np.pi / 2)
    stroke = np.where(time < drag_s, 0.6 + 0.4 * np.exp(-time / 0.04), 0.6 * np.exp(-(time - drag_s) / 0.006))
    noise = _band(rng.standard_normal(num_samples) * rough * stroke, material.noise_hz, sample_rate)
    tone = np.sin(2 * np.pi * base_hz * time) * np.exp(-time / 0.05) * material.tone
    sound = noise / max(float(np.abs(noise).max()), 1e-9) + 0.25 * tone
    return 0.6 * sound


def _band(noise: np.ndarray, band_hz: tuple[float, float], sample_rate: int) -> np.ndarray:
    high = min(band_hz[1], 0.45 * sample_rate)
    low = min(band_hz[0], 0.5 * high)
    sections = signal.butter(2, (low, high), btype="bandpass", fs=sample_rate, output="sos")
    return np.asarray(signal.sosfilt(sections, noise))


def _room(rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Impulse response: the direct sound, then a faint tail from 5 ms on."""
    tail = rng.standard_normal(round(REVERB_S * sample_rate)) * _decay(
        round(REVERB_S * sample_rate), REVERB_S, sample_rate
    )
    tail[: round(0.005 * sample_rate)] = 0.0
    response = float(rng.uniform(0.0, 0.15)) * tail / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    return response


def _decay(num_samples: int, time_s: float, sample_rate: int) -> np.ndarray:
    """An exponential that is 60 dB down after `time_s` seconds."""
    return 10.0 ** (-SILENCE_DB / 20 * np.arange(num_samples) / (time_s * sample_rate))


def _sum(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    total = np.zeros(max(len(first), len(second)))
    total[: len(first)] += first
    total[: len(second)] += second
    return total


def _amplitude(dbfs: float) -> float:
    return 10.0 ** (dbfs / 20)
