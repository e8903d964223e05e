"""Diff-Foley (luosiallen/Diff-Foley) for the videos of an exchange folder.

    <environment>/bin/python run_diff_foley.py --check --weights WEIGHTS --source CHECKOUT
    <environment>/bin/python run_diff_foley.py EXCHANGE

Features of CAVP at 4 frames a second, the latent diffusion model with both guidances, DPM-Solver, and
Griffin-Lim, by the functions of its own inference folder and with the rate, 16 kHz, that its notebook writes.
"""

from __future__ import annotations

import sys
from typing import Any, Callable  # noqa: UP035  (Python 3.8)

from foreign_exchange import (
    CannotMakeError,
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

FPS, WINDOW, RATE, VIDEO_SECONDS = 4, 32, 16_000, 8.2  # fixed by the weights
CAVP, LDM, CLASSIFIER = "cavp_epoch66.ckpt", "ldm_epoch240.ckpt", "double_guidance_classifier.ckpt"
KEYS = {
    CAVP: ("video_project_head.weight", "logit_scale"),
    LDM: (
        "state_dict",
        "model.diffusion_model.input_blocks.0.0.weight",
        "first_stage_model.decoder.conv_out.weight",
        "cond_stage_model.embedder.0.weight",
    ),
    CLASSIFIER: ("state_dict", "model.input_blocks.0.0.weight", "cond_model.embedder.0.weight"),
}
CHECKOUT = "clone https://github.com/luosiallen/Diff-Foley"


def check(places: Places) -> None:
    for name, keys in KEYS.items():
        check_weights(
            places.weights / name,
            names=keys,
            what=f"Diff-Foley ({name})",
            remedy="download diff_foley_ckpt of SimianLuo/Diff-Foley into this folder",
        )
    source = check_source(places.source, "inference/demo_util.py", CHECKOUT)
    check_source(source / "inference", "config/Stage2_LDM.yaml", CHECKOUT)
    for folder in (source, places.temporary):
        if " " in str(folder):  # its own code splits ffmpeg's command at spaces
            raise CannotRunError(f"{folder}: Diff-Foley takes no path with a space; use another folder")


def load(places: Places, settings: dict[str, Any]) -> Callable[[Request], tuple[Any, int]]:
    torch = module("torch")
    if not torch.cuda.is_available():
        raise CannotRunError("Diff-Foley: its code needs a GPU, and torch sees none")
    assert places.source is not None
    inference, device = places.source / "inference", torch.device("cuda")
    demo, configs = module("demo_util"), inference / "config"
    read = module("omegaconf").OmegaConf.load
    features = demo.Extract_CAVP_Features(
        fps=FPS,
        batch_size=40,
        device=device,
        config_path=str(configs / "Stage1_CAVP.yaml"),
        ckpt_path=str(places.weights / CAVP),
    )
    model = demo.load_model_from_config(read(str(configs / "Stage2_LDM.yaml")), str(places.weights / LDM))
    classifier = demo.load_model_from_config(
        read(str(configs / "Double_Guidance_Classifier.yaml")), str(places.weights / CLASSIFIER)
    )

    def make(request: Request) -> tuple[Any, int]:
        seed_everything(request.seed)
        seen, _ = features(str(request.video), 0, VIDEO_SECONDS, tmp_path=str(places.temporary))  # t 512
        if len(seen) < WINDOW:
            raise CannotMakeError(f"{len(seen)} frames at {FPS} fps, Diff-Foley needs {WINDOW}")
        video = torch.from_numpy(seen).unsqueeze(0).to(device)  # 1 t 512
        condition = model.get_learned_conditioning(video[:, :WINDOW])
        latent, _ = model.sample_log_with_classifier_diff_sampler(
            condition,
            origin_cond=video,
            batch_size=1,
            sampler_name="DPM_Solver",
            ddim_steps=settings["steps"],
            unconditional_guidance_scale=settings["scale"],
            unconditional_conditioning=torch.zeros_like(condition),
            classifier=classifier,
            classifier_guide_scale=settings["classifier_guidance"],
        )
        spectrogram = model.decode_first_stage(latent)[0, 0].detach().cpu().numpy()
        return demo.inverse_op(spectrogram), RATE

    return make


DIFF_FOLEY = Program(
    name="Diff-Foley",
    licences=((f"SimianLuo/Diff-Foley ({CAVP}, {LDM}, {CLASSIFIER})", "Apache-2.0, as its code"),),
    packages=("torch", "numpy", "omegaconf", "librosa", "cv2", "clip", "mmcv", "pytorch_lightning"),
    install="install its requirements there (docs/systems.md)",
    settings={"steps": int, "scale": float, "classifier_guidance": float},
    needs_source=True,
    tools=("ffmpeg",),
    check=check,
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(DIFF_FOLEY))
