"""SpecVQGAN (v-iashin/SpecVQGAN) with 212 ResNet-50 features for the videos of an exchange folder.

    <environment>/bin/python run_specvqgan.py --check --weights WEIGHTS --source CHECKOUT
    <environment>/bin/python run_specvqgan.py EXCHANGE

WEIGHTS is the unpacked folder of the model. Features are extracted by its own demo's class at 21.5 frames a
second, 265 codes are drawn one after the other, decoded to a mel spectrogram, and MelGAN makes 22.05 kHz.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable  # noqa: UP035  (Python 3.8)

from foreign_exchange import (
    CannotRunError,
    Places,
    Program,
    Request,
    check_source,
    main,
    module,
    seed_everything,
)
from torch_weights import check_weights

MODEL = "2021-07-30T21-34-41_vggsound_transformer"
FPS, RATE, CHANNELS, ROWS, COLUMNS = 21.5, 22_050, 256, 5, 53  # of the VGGSound codebook
VOCODER = "vocoder/logs/vggsound"
REMEDY = f"unpack {MODEL}.tar.gz (md5 b222cc0e7aeb419f533d5806a08669fe) and give its folder"
KEYS = (
    "state_dict",
    "transformer.embedder.weight",
    "transformer.embedder.bias",  # a convolution over features; the model of class labels has none
    "transformer.pos_emb",
    "transformer.head.weight",
    "first_stage_model.quantize.embedding.weight",
)


def check(places: Places) -> None:
    for pattern in ("configs/*-project.yaml", "configs/*-lightning.yaml", "checkpoints/*.ckpt"):
        if not list(places.weights.glob(pattern)):
            raise CannotRunError(f"{places.weights}: no {pattern} there; {REMEDY}")
    check_weights(_newest(places), names=KEYS, what="SpecVQGAN with frame features", remedy=REMEDY)
    clone = "clone https://github.com/v-iashin/SpecVQGAN"
    source = check_source(places.source, "feature_extraction/demo_utils.py", clone)
    check_weights(
        source / VOCODER / "best_netG.pt", names=("model.1.weight_g",), what="its MelGAN", remedy=clone
    )
    for folder in (source, places.temporary):
        if " " in str(folder):  # its own code splits ffmpeg's command at spaces
            raise CannotRunError(f"{folder}: SpecVQGAN takes no path with a space; use another folder")


def _newest(places: Places) -> Any:
    return sorted(places.weights.glob("checkpoints/*.ckpt"))[-1]


def load(places: Places, settings: dict[str, Any]) -> Callable[[Request], tuple[Any, int]]:
    torch = module("torch")
    assert places.source is not None
    os.chdir(places.source)  # its configs name files from there
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    demo = module("feature_extraction.demo_utils")
    config = demo.load_config(str(places.weights))
    state = torch.load(str(_newest(places)), map_location="cpu")["state_dict"]
    gpu = device.type == "cuda"
    sampler = demo.load_model_from_config(config.model, state, gpu)["model"].to(device)
    vocoder = demo.load_vocoder(VOCODER, eval_mode=True)["model"].to(device)
    features = demo.ExtractResNet50(FPS, config.data.params, device, tmp_dir=str(places.temporary))

    @torch.no_grad()
    def make(request: Request) -> tuple[Any, int]:
        seed_everything(request.seed)
        seen = features(str(request.video))[0]["feature"]  # t 2048
        batch = {"feature": torch.as_tensor(seen, dtype=torch.float32, device=device)[None]}
        _, condition = sampler.encode_to_c(sampler.get_input(sampler.cond_stage_key, batch))
        codes = torch.zeros(1, ROWS * COLUMNS, dtype=torch.long, device=device)
        for place in range(codes.shape[1]):
            logits = sampler.transformer(codes[:, :-1], condition)[0][:, -codes.shape[1] :]
            logits = sampler.top_k_logits(logits[:, place] / settings["temperature"], settings["top_k"])
            codes[:, place] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        mel = sampler.decode_to_img(codes, (1, CHANNELS, ROWS, COLUMNS))  # 1 1 80 848, in [-1, 1]
        return vocoder((mel[:, 0] + 1) / 2).flatten().float().cpu().numpy(), RATE

    return make


SPECVQGAN = Program(
    name="SpecVQGAN",
    licences=(
        (f"{MODEL} and MelGAN", "MIT, as its code"),
        ("torchvision's ResNet-50", "BSD-3-Clause, as its code; trained on ImageNet"),
    ),
    packages=("torch", "torchvision", "omegaconf", "pytorch_lightning", "cv2", "albumentations", "streamlit"),
    install="make its conda environment, conda_env.yml (docs/systems.md)",
    settings={"top_k": int, "temperature": float},
    needs_source=True,
    tools=("ffmpeg",),
    check=check,
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(SPECVQGAN))
