"""Environments of foreign systems for tests: a venv without packages, stand-ins for a system's own code, and
tiny files in the real format with the real systems' keys.

The stand-ins answer with a tone whose height follows from the seed; only these tests have them.
"""

import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import torch
from imageio_ffmpeg import get_ffmpeg_exe

from syncflow.systems.foreign import PROGRAMS

TORCH = """
import types
import numpy as np
seed = 0
class Tensor:
    def __init__(self, values): self.values = np.asarray(values)
    def __getitem__(self, place): return Tensor(self.values[place])
    def unsqueeze(self, place): return Tensor(np.expand_dims(self.values, place))
    def mean(self, axis): return Tensor(self.values.mean(axis))
    def numpy(self): return self.values
    shape = property(lambda self: self.values.shape)
    to = cpu = detach = float = lambda self, *_: self
def manual_seed(number):
    global seed
    seed = number
cuda = types.SimpleNamespace(is_available=lambda: GPU, manual_seed_all=manual_seed)
device = str
from_numpy = Tensor
zeros_like = lambda tensor: Tensor(np.zeros(tensor.shape))
def tone(samples, rate): return 0.5 * np.sin(np.arange(samples) * (300 + seed % 97) * 2 * np.pi / rate)
"""
AUDIOCRAFT = """
import os, torch
class AudioGen:
    sample_rate = 16000
    @staticmethod
    def get_pretrained(name):
        assert os.path.isfile(os.path.join(name, "state_dict.bin"))
        return AudioGen()
    def set_generation_params(self, use_sampling, top_k, temperature, cfg_coef, duration):
        assert (use_sampling, top_k, temperature, cfg_coef) == (True, 250, 1.0, 3.0)
        self.duration = duration
    def generate(self, descriptions):
        assert "number 1" not in descriptions[0], "no such thing"
        return torch.Tensor([[torch.tone(int(self.duration * 16000), 16000)]])
"""
DIFF_FOLEY = """
import numpy as np, torch
class Extract_CAVP_Features:
    def __init__(self, fps, batch_size, device, config_path, ckpt_path): assert fps == 4
    def __call__(self, path, start, seconds, tmp_path):
        open(path, "rb").close()
        return np.zeros((3 if SHORT in path else 33, 512), np.float32), path
class Model:
    def get_learned_conditioning(self, features):
        assert features.shape == (1, 32, 512)
        return features
    def sample_log_with_classifier_diff_sampler(self, condition, **settings):
        assert settings["ddim_steps"] == 25 and settings["classifier_guide_scale"] == 50.0
        assert settings["unconditional_guidance_scale"] == 4.5 and settings["sampler_name"] == "DPM_Solver"
        assert settings["origin_cond"].shape == (1, 33, 512) and settings["classifier"] is not None
        return torch.Tensor(np.zeros((1, 4, 16, 64))), None
    def decode_first_stage(self, latent): return torch.Tensor(np.zeros((1, 3, 128, 512)))
def load_model_from_config(config, path): return Model()
def inverse_op(spectrogram): return torch.tone(131072, 16000)
"""
SPECVQGAN = """
import os, types, torch
assert os.path.isfile("vocoder/logs/vggsound/best_netG.pt")
def load_config(folder):
    return types.SimpleNamespace(model=None, data=types.SimpleNamespace(params=None))
class Sampler:
    cond_stage_key = "feature"
    def to(self, device): return self
    def get_input(self, key, batch): return batch[key].permute(0, 2, 1)
    def encode_to_c(self, features): return features, features
    def transformer(self, codes, condition):
        assert codes.shape == (1, 264) and condition.shape == (1, 2048, 212)
        return torch.zeros(1).expand(1, 212 + 264, 1024), None, None
    def top_k_logits(self, logits, k):
        assert k == 512 and logits.shape == (1, 1024)
        return logits
    def decode_to_img(self, codes, shape):
        assert shape == (1, 256, 5, 53) and codes.shape == (1, 265) and len(codes.unique()) > 99
        return torch.zeros(1, 1, 80, 848) + codes.float().mean() / 1024 - 1
class Vocoder:
    def to(self, device): return self
    def __call__(self, mel):
        assert mel.shape == (1, 80, 848) and 0 <= mel.min() <= mel.max() <= 1
        return mel.mean() * torch.ones(1, 1, 848 * 256)
def load_model_from_config(config, state, gpu): return {"model": Sampler()}
def load_vocoder(folder, eval_mode): return {"model": Vocoder()}
class ExtractResNet50:
    def __init__(self, fps, config, device, tmp_dir): assert fps == 21.5
    def __call__(self, path):
        open(path, "rb").close()
        return {"feature": torch.zeros(212, 2048).double().numpy()}, []
"""
CODI = """
import os, numpy as np, torch
assert os.path.isdir("core")
class model_module:
    def __init__(self, data_dir, pth, fp16): assert len(pth) == 4 and not fp16
    cuda = eval = lambda self: self
    def inference(self, xtype, condition, condition_types, image_size, num_frames, scale, **_):
        assert xtype == ["video", "audio"] and condition_types == ["text"] and scale == 7.5
        assert condition[0] != "none", "no such thing"
        frames = [np.full((image_size, image_size, 3), 30 * n, np.uint8) for n in range(num_frames)]
        return [[frames], np.stack([torch.tone(163840, 16000)])]
"""
PACKAGES = {
    "run_audiogen.py": (),
    "run_diff_foley.py": ("omegaconf", "librosa", "cv2", "clip", "mmcv", "pytorch_lightning"),
    "run_specvqgan.py": (
        *("torchvision", "omegaconf", "pytorch_lightning", "cv2", "albumentations", "streamlit"),
    ),
    "run_codi.py": ("einops", "easydict", "pytorch_lightning", "transformers", "torchlibrosa"),
}
KEYS = {
    "run_audiogen.py": {
        "state_dict.bin": (
            *("emb.3.weight", "linears.3.weight", "transformer.layers.0.self_attn.in_proj_weight"),
            "condition_provider.conditioners.description.output_proj.weight",
        ),
        "compression_state_dict.bin": ("quantizer.vq.layers.3._codebook.embed",),
    },
    "run_diff_foley.py": {
        "cavp_epoch66.ckpt": ("module.video_project_head.weight", "module.logit_scale"),
        "ldm_epoch240.ckpt": (
            *("model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_out.weight"),
            "cond_stage_model.embedder.0.weight",
        ),
        "double_guidance_classifier.ckpt": ("model.input_blocks.0.0.weight", "cond_model.embedder.0.weight"),
    },
    "run_specvqgan.py": {
        "checkpoints/epoch_000028.ckpt": (
            *("transformer.embedder.weight", "transformer.embedder.bias", "transformer.pos_emb"),
            *("transformer.head.weight", "first_stage_model.quantize.embedding.weight"),
        ),
    },
    "run_codi.py": {
        "CoDi_encoders.pth": (
            *("autokl.decoder.conv_out.weight", "audioldm.vocoder.conv_pre.weight"),
            "clip.model.text_projection.weight",
        ),
        "CoDi_text_diffuser.pth": ("model.diffusion_model.unet_text.a.weight",),
        "CoDi_audio_diffuser_m.pth": ("model.diffusion_model.unet_audio.a.weight",),
        "CoDi_video_diffuser_8frames.pth": ("model.diffusion_model.unet_image.a.weight",),
    },
}
MARKERS = {
    "run_diff_foley.py": ("inference/demo_util.py", "inference/config/Stage2_LDM.yaml"),
    "run_specvqgan.py": ("feature_extraction/demo_utils.py",),
    "run_codi.py": ("core/models/model_module_infer.py",),
}


def make_environment(folder: Path) -> Path:
    """A venv without any package; its Python."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    return folder / "bin" / "python"


def packages_of(python: Path) -> Path:
    """Where the packages of a venv lie."""
    return next((python.parents[1] / "lib").glob("python3*/site-packages"))


def add_stand_ins(python: Path, program: str, *, gpu: bool = True) -> None:
    """Numpy, a stand-in for torch (SpecVQGAN gets the real one), and empty packages of the others' names."""
    there, own = packages_of(python), Path(next(p for p in site.getsitepackages() if "site-packages" in p))
    if not (python.parent / "ffmpeg").exists():
        (python.parent / "ffmpeg").symlink_to(get_ffmpeg_exe())
    for name in PACKAGES[program]:
        (there / f"{name}.py").write_text("")
    if "omegaconf" in PACKAGES[program]:
        (there / "omegaconf.py").write_text("class OmegaConf:\n    load = staticmethod(open)\n")
    if program == "run_specvqgan.py":
        (there / "own.pth").write_text(f"{own}\n")
        return
    for name in ("numpy", "numpy.libs"):
        if (own / name).exists() and not (there / name).exists():
            (there / name).symlink_to(own / name)
    (there / "torch.py").write_text(TORCH.replace("GPU", str(gpu)))
    if program == "run_audiogen.py":
        (there / "audiocraft").mkdir(exist_ok=True)
        (there / "audiocraft" / "__init__.py").write_text("")
        (there / "audiocraft" / "models.py").write_text(AUDIOCRAFT)


def write_tensors(path: Path, keys: tuple[str, ...], *, old_format: bool = False) -> None:
    """A file of `torch.save` as such systems publish them, whose own keys are around the tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: torch.zeros(2) for key in keys}
    values: object = {"state_dict": tensors, "global_step": 7}
    if path.suffix == ".bin":
        values = {"best_state": tensors, "xp.cfg": "solver: audiogen"}
    elif path.suffix in (".pth", ".pt"):
        values = tensors
    torch.save(values, path, _use_new_zipfile_serialization=not old_format)


def write_system(folder: Path, program: str) -> tuple[Path, Path]:
    """Folders of weights and of the checkout, as the system publishes them."""
    weights, source = folder / "weights", folder / "source"
    for name, keys in KEYS[program].items():
        write_tensors(weights / name, keys)
    for marker in MARKERS.get(program, ()):
        (source / marker).parent.mkdir(parents=True, exist_ok=True)
        (source / marker).write_text("")
    if program == "run_specvqgan.py":
        for name in ("configs/2021-project.yaml", "configs/2021-lightning.yaml"):
            (weights / name).parent.mkdir(exist_ok=True)
            (weights / name).write_text("")
        write_tensors(source / "vocoder/logs/vggsound/best_netG.pt", ("model.1.weight_g",), old_format=True)
        (source / "feature_extraction" / "demo_utils.py").write_text(SPECVQGAN)
    if program == "run_diff_foley.py":
        for name in ("Stage1_CAVP", "Double_Guidance_Classifier"):
            (source / "inference" / "config" / f"{name}.yaml").write_text("")
        (source / "inference" / "demo_util.py").write_text(DIFF_FOLEY.replace("SHORT", "'00001-'"))
    if program == "run_codi.py":
        (source / "core" / "models" / "model_module_infer.py").write_text(CODI)
    return weights, source


def run_program(python: Path, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """As a user runs it: another Python, nothing of this one's paths."""
    apart = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    assert Path(sys.executable).parent != python.parent
    return subprocess.run(
        [str(python), str(PROGRAMS / program), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=apart,
        check=False,
    )
