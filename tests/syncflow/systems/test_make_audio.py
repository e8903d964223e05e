"""FoleyGen and AudioLDM as systems: sound for videos, trimmed and muxed, made once, on cards."""

import csv
import json
import wave
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from preprocessing.codes import precompute_codes
from preprocessing.codes_config import CodesConfig
from preprocessing.job import precompute
from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.evaluation.evaluation_set import system_of
from syncflow.foleygen.run import run_foleygen
from syncflow.foleygen.train_config import FoleyGenTrainConfig
from syncflow.media import decode_audio, decode_frames
from syncflow.media.evaluation_set import read_evaluation_set
from syncflow.studies.tables.reference_set import write_reference_set
from syncflow.systems.card import SystemCard
from syncflow.systems.config import MakeAudioConfig
from syncflow.systems.make_audio import make_audio
from tests.precompute_case import job, write_weights
from tests.syncflow.foleygen.code_table import SMALL
from tests.syncflow.systems.videos import SPEC, write_videos


def settings(folder: Path, **changes: object) -> MakeAudioConfig:
    values: dict[str, object] = {
        "video": str(folder / "videos"),
        "output": str(folder / "made"),
        "clip": SPEC.model_dump(),
        "batch_size": 2,
    }
    return validate(MakeAudioConfig, {**values, **changes}, source="test")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, a dataset of them, its codes, and a FoleyGen of two steps."""
    folder = tmp_path_factory.mktemp("foleygen")
    write_videos(folder / "videos", 3)
    write_weights(folder / "weights")
    precompute(job(folder / "videos", folder / "weights", folder / "latents", windows={"count": 1}))
    codes = {
        "data": str(folder / "latents"),
        "codec": {"kind": "audio_vae", "num_codebooks": 2, "codebook_size": 8},
        "visual": {"kind": "video_vae"},
    }
    precompute_codes(validate(CodesConfig, codes, source="test"))
    values = {**SMALL, "data": str(folder / "latents"), "output": str(folder / "run"), "steps": 2}
    run_foleygen(validate(FoleyGenTrainConfig, {**values, "batch_size": 2}, source="test"))
    return folder


def test_foleygen_gives_each_video_audio_and_makes_it_once(trained: Path, tmp_path: Path) -> None:
    config = settings(
        trained,
        system="foleygen",
        checkpoint=str(trained / "run" / "checkpoint"),
        output=str(tmp_path / "made"),
        sampling={"top_k": 4},
    )
    lines = make_audio(config)
    assert [line.failure.partition(":")[0] for line in lines] == ["undecodable", "", "", ""]
    card = SystemCard.read(tmp_path / "made")
    assert card.kind == "video_to_audio" and len(card.weights) == 3
    assert all(len(each.sha256) == 64 for each in card.weights)
    files = sorted((tmp_path / "made").glob("*.mp4"))
    assert len(files) == 3
    sounds = [decode_audio(path, sample_rate=16_000) for path in files]
    assert all(sound.std() > 0 for sound in sounds) and not (sounds[0] == sounds[1]).all()
    before = {path: path.stat().st_mtime_ns for path in files}
    files[0].write_bytes(b"cut off")  # a clip that is not whole is made again, alone
    make_audio(config)
    after = {path: path.stat().st_mtime_ns for path in files}
    assert before[files[0]] != after[files[0]] and [before[p] == after[p] for p in files[1:]] == [True] * 2
    again = decode_audio(files[0], sample_rate=16_000)
    assert (again == sounds[0]).all()  # whatever is beside it in the batch


def test_a_codec_that_is_not_the_trained_one_is_refused(trained: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for path in (trained / "run" / "checkpoint").iterdir():
        (checkpoint / path.name).write_bytes(path.read_bytes())
    values = json.loads((checkpoint / "manifest.json").read_text())
    values["codec"]["sha256"] = "1" * 64
    (checkpoint / "manifest.json").write_text(json.dumps(values))
    config = settings(trained, system="foleygen", checkpoint=str(checkpoint), output=str(tmp_path / "made"))
    with pytest.raises(UserError, match=r"trained with codec 111111111111.*put the former back"):
        make_audio(config)
    other = {**SPEC.model_dump(), "fps": 8}
    config = settings(
        trained, system="foleygen", checkpoint=str(trained / "run" / "checkpoint"), clip=other,
        output=str(tmp_path / "made"),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"clip\.fps 8: .* trained with 16; set it so"):
        make_audio(config)


def test_the_second_half_of_a_cascade_keeps_rows_and_prompts(trained: Path, tmp_path: Path) -> None:
    videos = tmp_path / "generated"
    videos.mkdir()
    for number in (0, 2):
        source = trained / "videos" / f"clip{number}.mp4"
        (videos / f"{number:05}-0.mp4").write_bytes(source.read_bytes())
    (videos / "manifest.csv").write_text(
        "file,row,copy,seed,prompt,video,failure\n00000-0.mp4,0,0,0,rain,,\n"
        "00001-0.mp4,1,0,0,a bell,,the sampler failed\n00002-0.mp4,2,0,0,a dog,,\n"
    )
    config = settings(
        trained,
        system="foleygen",
        checkpoint=str(trained / "run" / "checkpoint"),
        video=str(videos),
        output=str(tmp_path / "cascade"),
    )
    make_audio(config)
    with (tmp_path / "cascade" / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["row"], row["prompt"], row["video"]) for row in rows] == [
        ("0", "rain", ""), ("1", "a bell", ""), ("2", "a dog", ""),
    ]  # fmt: skip
    assert [row["failure"] for row in rows] == ["", "the sampler failed", ""]


def tiny_audioldm(folder: Path) -> Path:
    """A random AudioLDM of a few kilobytes, saved as diffusers does."""
    from diffusers import AudioLDMPipeline, AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import (
        ClapTextConfig,
        ClapTextModelWithProjection,
        RobertaTokenizer,
        SpeechT5HifiGan,
        SpeechT5HifiGanConfig,
    )

    torch.manual_seed(0)
    folder.mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789", "\u0120"]
    vocabulary = {word: n for n, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = RobertaTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=32)
    text = ClapTextConfig(
        hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=1, projection_dim=32,
        vocab_size=len(vocabulary), pad_token_id=1, max_position_embeddings=64,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=32, in_channels=4, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), norm_num_groups=8,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=(32, 64),
        class_embed_type="simple_projection", projection_class_embeddings_input_dim=32,
        class_embeddings_concat=True,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 64), in_channels=1, out_channels=1, latent_channels=4, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    vocoder = SpeechT5HifiGanConfig(
        model_in_dim=8, sampling_rate=8000, upsample_initial_channel=16, upsample_rates=[10, 8],
        upsample_kernel_sizes=[20, 16], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
        normalize_before=False,
    )  # fmt: skip
    AudioLDMPipeline(
        vae=vae,
        text_encoder=ClapTextModelWithProjection(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        vocoder=SpeechT5HifiGan(vocoder),
    ).save_pretrained(folder / "audioldm")
    return folder / "audioldm"


def test_audioldm_of_diffusers_reads_the_prompt(tmp_path: Path) -> None:
    write_videos(tmp_path / "videos", 2)
    config = settings(
        tmp_path,
        system="audioldm",
        checkpoint=str(tiny_audioldm(tmp_path / "weights")),
        diffusion={"steps": 2, "seconds": 0.64},
    )
    with pytest.raises(UserError, match=r"CC BY-NC-SA 4\.0.*--accept-noncommercial-licence"):
        make_audio(config)
    config = config.model_copy(update={"accept_noncommercial_licence": True})
    lines = make_audio(config)
    assert [line.failure.partition(":")[0] for line in lines] == ["no_prompt", "", ""]
    card = SystemCard.read(tmp_path / "made")
    assert (card.name, card.kind, card.settings["guidance"]) == ("AudioLDM", "text_to_audio", 2.5)
    first = decode_audio(tmp_path / "made" / lines[1].file, sample_rate=16_000)
    with pytest.raises(UserError, match=r"no AudioLDM .*give its folder or its hub id"):
        make_audio(config.model_copy(update={"checkpoint": str(tmp_path / "videos")}))
    other_weights = tmp_path / "weights" / "audioldm" / "vocoder" / "model.safetensors"
    whole = other_weights.read_bytes()
    tensors = load_file(other_weights)
    tensors.pop("conv_post.bias")
    save_file(tensors, other_weights, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"no AudioLDM .*conv_post\.bias is missing"):
        make_audio(config.model_copy(update={"output": tmp_path / "refused"}))
    other_weights.write_bytes(whole)
    alone = config.model_copy(update={"output": tmp_path / "alone", "batch_size": 1})
    make_audio(alone)
    other = decode_audio(tmp_path / "alone" / lines[1].file, sample_rate=16_000)
    assert abs(first - other).max() < 1e-2  # a row's draws are its own


def write_wav(path: Path) -> None:
    """More than a second of a constant quarter of full scale."""
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16_000)
        stream.writeframes(b"\x00\x20" * 20_000)


def test_ids_of_an_evaluation_set_go_from_its_table_to_the_comparison(tmp_path: Path) -> None:
    """Also where two rows are windows of one file, and through the second half of a cascade."""
    write_videos(tmp_path / "videos", 1)
    table = tmp_path / "set.csv"
    table.write_text(
        "id,prompt,video,start_s\nlate,a bell,videos/clip0.mp4,0.125\nlost,rain,videos/none.mp4,0\n"
        "early,a dog,videos/clip0.mp4,0\n"
    )
    for number in range(3):
        write_wav(tmp_path / "wavs" / f"{number:05}-0.wav")
    short = {**SPEC.model_dump(), "seconds": 0.25}
    config = settings(
        tmp_path, system="folder", checkpoint=str(tmp_path / "wavs"), video=None, clip=short,
        evaluation_set=str(table), output=str(tmp_path / "first"),
    )  # fmt: skip
    lines = make_audio(config)
    assert [line.failure.partition(":")[0] for line in lines] == ["", "not_a_file", ""]
    second = settings(
        tmp_path, system="folder", checkpoint=str(tmp_path / "wavs"), video=str(tmp_path / "first"),
        clip=short, output=str(tmp_path / "second"),
    )  # fmt: skip
    make_audio(second)
    expected = read_evaluation_set(table)
    for folder in (tmp_path / "first", tmp_path / "second"):
        with (folder / "manifest.csv").open(newline="") as stream:
            assert [row["id"] for row in csv.DictReader(stream)] == ["late", "lost", "early"]
        system = system_of("x", folder, sorted(folder.glob("*.mp4")), expected)
        found = {clip.id: clip.path.name for clip in system.clips}
        assert found == {"late": "00000-0.mp4", "lost": "lost.mp4", "early": "00002-0.mp4"}
        assert not system.extra
    late, early = (
        decode_frames(tmp_path / "first" / f"{n:05}-0.mp4", start_s=0.0, spec=config.clip) for n in (0, 2)
    )
    video = decode_frames(tmp_path / "videos" / "clip0.mp4", start_s=0.125, spec=config.clip)
    assert abs(late.astype(int) - video).mean() < 0.5 * abs(early.astype(int) - video).mean()
    made = (tmp_path / "first" / "00000-0.mp4").stat().st_mtime_ns
    make_audio(config)  # nothing is made twice
    assert (tmp_path / "first" / "00000-0.mp4").stat().st_mtime_ns == made
    table.write_text(table.read_text().replace("0.125", "0.0625"))
    make_audio(config)  # another window is another clip
    assert (tmp_path / "first" / "00000-0.mp4").stat().st_mtime_ns != made
    with pytest.raises(UserError, match="set video or evaluation_set"):
        settings(tmp_path, system="folder", checkpoint="x", video=None)


def test_wavs_that_are_there_are_muxed_by_row(tmp_path: Path) -> None:
    source = tmp_path / "set.csv"
    write_videos(tmp_path / "videos", 3)
    source.write_text(
        "id,prompt,video,start_s\na,rain,videos/clip0.mp4,0\nb,a bell,videos/broken.mp4,0\n"
        "c,a dog,videos/clip2.mp4,0\nd,a cat,videos/clip1.mp4,0\n"
    )
    assert write_reference_set(source, tmp_path / "set", spec=SPEC, limit=3) == 2  # the broken one is told
    rows = [row.id for row in read_evaluation_set(tmp_path / "set" / "evaluation_set.csv")]
    assert rows == ["a", "c"]
    assert (tmp_path / "set" / "prompts.csv").read_text() == "prompt\nrain\na dog\n"
    write_wav(tmp_path / "wavs" / "00001-0.wav")
    config = settings(
        tmp_path, system="folder", checkpoint=str(tmp_path / "wavs"), video=str(tmp_path / "set" / "clips")
    )
    lines = make_audio(config)
    assert [line.failure.partition(":")[0] for line in lines] == ["no_output", ""]
    audio = decode_audio(tmp_path / "made" / "00001-0.mp4", sample_rate=16_000)
    assert abs(audio[1000:7000].mean() - 0.25) < 0.01
    with pytest.raises(UserError, match=r"no wavs as 00000-0\.wav"):
        make_audio(config.model_copy(update={"checkpoint": str(tmp_path / "videos")}))
