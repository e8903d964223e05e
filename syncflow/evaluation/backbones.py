"""Extractors by name, each loaded when it is first asked for, in this process or in the workers of a job."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from syncflow.errors import UserError
from syncflow.evaluation.backbone_config import BackboneConfig
from syncflow.evaluation.extraction import GroupDone, Groups, Lacking, Report, extract_group
from syncflow.evaluation.extractors.base import Extractor
from syncflow.jobs import Execute


class Backbones:
    """The backbones that `config` describes."""

    def __init__(self, config: BackboneConfig) -> None:
        self.config = config
        self._imagebind = cache(self._load_imagebind)
        self._clap = cache(self._load_clap)

    def extractor(self, name: str) -> Extractor:
        """The extractor of this name.

        Raises:
            MissingWeightsError: its weights are not there.
            UserError: its licence is not accepted, its weights are of another kind, or there is none such.
        """
        loaders = self._loaders()
        if name not in loaders:
            raise UserError(f"extractor {name!r}: no such one; there are {', '.join(loaders)}")
        return loaders[name]()

    def _loaders(self) -> dict[str, Callable[[], Extractor]]:
        from syncflow.evaluation.extractors import (
            aisfx,
            ast_classes,
            clap,
            clip_signal,
            efficientnet,
            i3d,
            i3d_script,
            imagebind_clips,
            imagebind_inputs,
            panns,
            passt,
            soundnet,
            transnet,
            vggish,
            vggishish,
        )

        config, folder, device = self.config, self.config.folder, self.config.device

        def words() -> imagebind_clips.ImageBindText:
            return imagebind_clips.ImageBindText(self._imagebind(), imagebind_inputs.Words(folder))

        return {
            "vggish": partial(vggish.VGGishExtractor.load, folder, settings=config.vggish, device=device),
            "i3d": partial(
                i3d_script.I3DScript.load
                if config.i3d.checkpoint == "i3d_torchscript"
                else i3d.I3DExtractor.load,
                folder,
                settings=config.i3d,
                device=device,
            ),
            "panns": partial(panns.PannsExtractor.load, folder, settings=config.panns, device=device),
            "vggishish": partial(
                vggishish.VGGishishExtractor.load, folder, settings=config.vggishish, device=device
            ),
            "passt": partial(passt.PasstExtractor.load, folder, settings=config.passt, device=device),
            "ast": partial(ast_classes.AstExtractor.load, folder, settings=config.ast, device=device),
            "clap_audio": lambda: clap.ClapAudio(self._clap()),
            "clap_text": lambda: clap.ClapText(self._clap()),
            "imagebind_video": lambda: imagebind_clips.ImageBindVideo(self._imagebind()),
            "imagebind_audio": lambda: imagebind_clips.ImageBindAudio(self._imagebind()),
            "imagebind_text": words,
            "imagebind_frames": lambda: imagebind_clips.ImageBindFrames(self._imagebind()),
            "imagebind_windows": lambda: imagebind_clips.ImageBindWindows(self._imagebind()),
            "soundnet": partial(soundnet.SoundNetExtractor.load, folder, device=device),
            "aisfx": partial(aisfx.AiSfxExtractor.load, folder, device=device),
            "efficientnet_lite0": partial(efficientnet.EfficientNetExtractor.load, folder, device=device),
            "transnetv2": partial(transnet.TransNetExtractor.load, folder, device=device),
            "av_align": clip_signal.AvAlignCounts,
            "levels": clip_signal.Levels,
        }

    def _load_imagebind(self):
        from syncflow.evaluation.extractors.imagebind import load_imagebind

        config = self.config
        return load_imagebind(config.folder, settings=config.imagebind, device=config.device)

    def _load_clap(self):
        from syncflow.evaluation.extractors.clap import Clap

        return Clap.load(self.config.folder, settings=self.config.clap, device=self.config.device)


class GroupWorker:
    """Holds the extractors of these names and computes groups of clips into the stores below `root`.

    Raises:
        UserError: as `Backbones.extractor`.
    """

    def __init__(self, config: BackboneConfig, names: Sequence[str], root: Path) -> None:
        backbones = Backbones(config)
        self.extractors, self.root = [backbones.extractor(name) for name in names], root

    def __call__(self, group: Sequence[Lacking]) -> GroupDone:
        """Compute a group; only reasons of failures come back."""
        return extract_group(group, self.extractors, root=self.root)


class ExtractInWorkers:
    """An `Execute` of `syncflow.evaluation.extraction`: workers with backbones of their own.

    Args:
        config: the backbones, as every worker loads them.
        execute: runs the workers; they must reach the stores.
    """

    def __init__(self, config: BackboneConfig, execute: Execute) -> None:
        self.config, self.execute = config, execute

    def __call__(
        self, groups: Groups, names: Sequence[str], root: Path, report: Report
    ) -> Iterator[GroupDone]:
        """What became of each group, as it comes.

        Args:
            report: called with the number of clips that are done.

        Raises:
            UserError: a worker lacks weights or the device.
        """
        make_worker, done = partial(GroupWorker, self.config, tuple(names), root.resolve()), 0
        for group in self.execute(make_worker, groups):
            done += group.items
            report(done)
            yield group
