"""Every setting has one role, on its own field; what is compared before work goes on follows from it."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any, get_args

import pytest

import infra
import preprocessing
import syncflow
from preprocessing.config import PrecomputeConfig
from preprocessing.recipe import make_recipe
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.config import Config, Role, merge, setting_roles, settings_of, validate
from syncflow.generation.config import GenerateConfig
from syncflow.generation.sidecar import Clip, essence
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.identity import compared_settings

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer")
ROOTS: dict[type[Config], dict[str, Any]] = {
    PrecomputeConfig: {"source": {"root": "/clips"}, "output": "/o", "encode": {"audio_vae": "/a"}},
    TrainConfig: {"stage": "video", "data": "/d"},
    AutoencoderTrainConfig: {"kind": "audio", "clips": "/c", "held_out": "/h", "output": "/o"},
    GenerateConfig: {"output": "/o"},
    SyntheticClipsConfig: {"output": "/o"},
}


def all_configs() -> set[type[Config]]:
    for package in (syncflow, preprocessing, infra):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "config" in module.name or module.name.endswith((".records", ".sidecar", ".manifest")):
                importlib.import_module(module.name)

    def below(cls: type[Config]) -> set[type[Config]]:
        return {cls}.union(*(below(child) for child in cls.__subclasses__()))

    return {cls for cls in below(Config) if not cls.__module__.startswith(("tests", "test_"))}


def test_a_role_stands_on_settings_and_never_on_groups() -> None:
    configs = all_configs()
    assert len(configs) > 30
    for cls in configs:
        for name, field in cls.model_fields.items():
            marks = [mark for mark in field.metadata if isinstance(mark, Role)]
            parts = [field.annotation, *get_args(field.annotation)]
            group = any(isinstance(part, type) and issubclass(part, Config) for part in parts)
            assert len(marks) <= (0 if group else 1), f"{cls.__name__}.{name}"


@pytest.mark.parametrize("cls", ROOTS, ids=lambda cls: cls.__name__)
def test_the_walker_gives_every_setting_once(cls: type[Config]) -> None:
    config = validate(cls, ROOTS[cls], source="test")
    names = [name for name, _, _ in setting_roles(config)]

    def leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
        found = []
        for name, value in values.items():
            found += leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
        return found

    assert names == leaves(config.model_dump(mode="json"))
    parts = [settings_of(config, role=role) for role in Role]
    assert sum(map(len, parts)) == len(names) == len({key for part in parts for key in part})


def changed(config: Config, name: str) -> Config:
    """`config` with one setting of another value, of the same type where it has one; nothing validates it."""
    head, _, rest = name.partition(".")
    value = getattr(config, head)
    if rest and isinstance(value, Config):
        return config.model_copy(update={head: changed(value, rest)})
    other: Any
    if isinstance(value, bool):
        other = not value
    elif isinstance(value, (int, float)):
        other = value + 1
    elif isinstance(value, Path):
        other = value / "other"
    elif isinstance(value, str):
        other = value + "other"
    elif isinstance(value, tuple):
        other = (*value, "other")
    else:
        other = 7
    return config.model_copy(update={head: other})


def test_a_training_goes_on_when_and_only_when_what_decides_its_state_is_the_same() -> None:
    base = merge(ROOTS[TrainConfig], {"flow": {"coupling": {"scope": "update"}}})
    config = validate(TrainConfig, base, source="test")

    def key(config: TrainConfig) -> dict[str, Any]:
        return compared_settings(config, dataset="d", first_weights="w")

    products = {"workers", "batch_size", "accumulate"}  # compared as samples_an_update
    for name, role, _ in setting_roles(config):
        same = key(changed(config, name)) == key(config)  # type: ignore[arg-type]
        assert same == (role is not Role.RESULT and name not in products), name


def test_clips_share_a_folder_when_and_only_when_what_decides_them_is_the_same() -> None:
    config = validate(GenerateConfig, ROOTS[GenerateConfig], source="test")
    clip = Clip(row=0, copy_number=0, prompt="p", video="/v.mp4", video_sha256="s")
    for name, role, _ in setting_roles(config):
        same = essence(changed(config, name), clip) == essence(config, clip)  # type: ignore[arg-type]
        assert same == (role is not Role.RESULT), name
    for name, role, _ in setting_roles(clip):
        same = essence(config, changed(clip, name)) == essence(config, clip)  # type: ignore[arg-type]
        assert same == (role is not Role.RESULT), name


class Model:
    """As much of an autoencoder, or of a text encoder, as a recipe looks at."""

    sha256 = "text"

    def state_dict(self) -> dict[str, Any]:
        return {}

    def frame_spans(self, num_frames: int) -> tuple[tuple[int, int], ...]:
        return ((0, num_frames - 1),)


class Encoders:
    video_vae = audio_vae = text = Model()


def test_rows_share_a_dataset_when_and_only_when_what_decides_them_is_the_same() -> None:
    config = validate(PrecomputeConfig, ROOTS[PrecomputeConfig], source="test")
    encoders: Any = Encoders()
    for name, role, _ in setting_roles(config):
        other = changed(config, name)
        same = (
            make_recipe(other, encoders, captioner="").sha256
            == make_recipe(config, encoders, captioner="").sha256
        )  # type: ignore[arg-type]
        assert same == (role is not Role.RESULT), name


def test_source_settings_that_cut_clips_decide_rows_and_where_the_clips_lie_does_not() -> None:
    config = validate(PrecomputeConfig, ROOTS[PrecomputeConfig], source="test")
    decides = settings_of(config)
    assert {"source.kind", "source.segment_seconds", "windows.count", "caption.kind"} <= decides.keys()
    assert not {"source.root", "source.captions", "output", "workers", "encode.device"} & decides.keys()
