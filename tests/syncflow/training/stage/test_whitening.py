"""The whitening of the features: measured once, kept, and not trained."""

import pytest
import torch

from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.training.stage.batches import whitening_batches
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.run import run_stage
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import starting_model
from syncflow.training.stage.whitening import whiten


@pytest.fixture
def white(settings, latents):
    """As `settings`, for a model whose adaptors whiten."""

    def build(stage: str, **changes):
        config = settings(stage, whitening_samples=11, ema_decay=0, **changes)
        model = config.model.model_copy(
            update={"adaptor": config.model.adaptor.model_copy(update={"whiten": True})}
        )
        return config.model_copy(update={"model": model})

    return build


def weights(config) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(config.folder / "checkpoint" / "diffusion_pytorch_model.safetensors")


def test_the_features_of_training_become_white(white, tmp_path) -> None:
    config = white("audio", initialise_from="none", batch_size=4)
    dataset = LatentDataset(config.data)
    model, _ = starting_model(config)
    objective = FlowObjective(
        model,
        stage=STAGES["audio"],
        flow=config.flow,
        spec=dataset.spec,
        frame_times=dataset.frame_times,
        seed=0,
    )
    batches = list(whitening_batches(dataset, config))
    assert [len(batch.index) for batch in batches] == [4, 4, 3]
    whiten(objective, batches, folder=tmp_path, resumed=False)
    for layer, adaptor in enumerate(model.adaptors):
        features = torch.cat([objective.features(batch)[layer].flatten(0, 2) for batch in batches])
        out = adaptor.whiten(features).double()
        torch.testing.assert_close(out.mean(0), torch.zeros(16).double(), atol=1e-4, rtol=0)
        assert torch.linalg.eigvalsh(torch.cov(out.T, correction=0)).max() == pytest.approx(1, abs=1e-3)
        assert torch.linalg.eigvalsh(torch.cov(features.T, correction=0)).max() != pytest.approx(1, abs=0.1)


def test_it_is_handed_on_as_it_was_measured_and_a_resumed_run_ends_alike(white) -> None:
    run_stage(white("video", steps=1))
    whole = white("audio", steps=4)
    run_stage(whole)
    expected = weights(whole)

    cut = white(
        "audio",
        steps=4,
        output=whole.output.with_name("cut"),
        initialise_from=str(whole.output / "video/checkpoint"),
    )
    cut.folder.mkdir(parents=True)
    (cut.folder / "stop").touch()
    assert run_stage(cut) < 4
    (cut.folder / "stop").unlink()
    measured = (cut.folder / "whitening.safetensors").read_bytes()
    run_stage(cut)
    assert (cut.folder / "whitening.safetensors").read_bytes() == measured
    found = weights(cut)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())

    joint = white("joint", steps=1)
    run_stage(joint)
    after = weights(joint)
    kept = [name for name in expected if ".whiten." in name]
    assert len(kept) == 2 * 2 and all(torch.equal(after[name], expected[name]) for name in kept)
    assert not torch.equal(expected["adaptors.0.whiten.matrix"], torch.eye(16))


def test_a_resumed_run_without_its_file_is_refused(white) -> None:
    config = white("audio", initialise_from="none", steps=4)
    config.folder.mkdir(parents=True)
    (config.folder / "stop").touch()
    run_stage(config)
    (config.folder / "whitening.safetensors").unlink()
    with pytest.raises(UserError, match=r"whitening\.safetensors: missing, though the run has states"):
        run_stage(config)


def test_half_precision_leaves_it_in_float32(white) -> None:
    model, _ = starting_model(white("audio", initialise_from="none"))
    model.to(torch.bfloat16)
    assert model.adaptors[0].whiten.matrix.dtype == torch.float32
    assert model.adaptors[0].linear.weight.dtype == torch.bfloat16


def test_a_tower_that_hears_text_alone_has_nothing_to_whiten(white) -> None:
    config = white("audio", initialise_from="none", steps=1, flow={"coupling": {"score": "audio"}})
    audio = config.model.audio.model_copy(update={"context": "text"})
    config = config.model_copy(update={"model": config.model.model_copy(update={"audio": audio})})
    run_stage(config)
    assert not (config.folder / "whitening.safetensors").exists()
