"""Engines and model loading: the transformers engine on small checkpoints, and what happens without a model."""

import dataclasses
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.small_models import make_checkpoint, naive_answer_logp
from safetensors.torch import load_file, save_file
from serann.annotator.engines.base import EngineSpec, make_engine
from serann.annotator.models.families import load_model, locate
from serann.data.errors import LabelError, ModelError, OptionError
from serann.prompts import load_panel, render
from serann.prompts.loader import Rendered

LABELS = ("neutral", "happy", "angry", "sad")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def engine(checkpoint):
    return make_engine(EngineSpec("transformers", str(checkpoint), device="cpu"))


def waves(*lengths):
    rng = np.random.default_rng(1)
    return [(0.1 * rng.normal(size=n)).astype(np.float32) for n in lengths]


def sounds(engine, *lengths):
    return [engine.frontend(wave) for wave in waves(*lengths)]


def questions(panel="crossed", transcript="where is it", labels=LABELS):
    loaded = load_panel(panel)
    first = {item.rater: item for item in loaded.listeners}
    return [render(loaded.question, item, labels, transcript) for item in first.values()]


def test_engine_knows_its_model(engine, checkpoint):
    assert engine.max_seconds == 4.0  # the checkpoint's own window, not Whisper's 30 s
    assert engine.sample_rate == 16000
    assert engine.identity["model"] == "small"
    assert engine.identity["dtype"] == "float32"
    assert engine.identity["weights"].startswith("sha256:")
    assert make_engine(EngineSpec("transformers", str(checkpoint))).identity == engine.identity


@pytest.mark.parametrize("panel", ["crossed", "letters"])
def test_scores_are_in_label_set_order_and_exact(engine, checkpoint, panel):
    asked = questions(panel)
    clip = waves(12000)
    found = engine.score([engine.frontend(clip[0])], [asked])[0].answer_logp
    alm = load_model(str(checkpoint), device="cpu")
    expected = [naive_answer_logp(alm, clip[0], question.system, question.text, question.answers) for question in asked]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_batch_equals_single_with_different_transcripts_and_abstentions(engine):
    clips = sounds(engine, 4000, 30000, 17000)
    texts = ("short", "a rather longer transcript it is", "where is it")
    asked = [list[Rendered | None](questions(transcript=text)) for text in texts]
    asked[1][2] = None
    together = engine.score(clips, asked)
    for clip, own, scores in zip(clips, asked, together, strict=True):
        alone = engine.score([clip], [own])[0].answer_logp
        np.testing.assert_allclose(scores.answer_logp, alone, atol=1e-5)
    assert np.isnan(together[1].answer_logp[2]).all()
    assert np.isfinite(np.delete(together[1].answer_logp, 2, axis=0)).all()


def test_labels_that_cannot_be_told_apart(engine):
    with pytest.raises(LabelError, match="'Sad' and 'sad' are both answered by 'Sad'"):
        engine.score(sounds(engine, 4000), [questions(labels=("sad", "Sad"))])


@pytest.mark.parametrize(
    "shortage", [torch.cuda.OutOfMemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_out_of_memory_halves_the_batch(engine, monkeypatch, shortage):
    whole, sizes = engine._score, []

    def scarce(clips, asked):
        sizes.append(len(clips))
        if len(clips) > 1:
            raise shortage
        return whole(clips, asked)

    clips, asked = sounds(engine, 4000, 8000, 6000), [questions()] * 3
    expected = engine.score(clips, asked)
    monkeypatch.setattr(engine, "_score", scarce)
    found = engine.score(clips, asked)
    assert sizes == [3, 1, 2, 1, 1]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.answer_logp, b.answer_logp, atol=1e-5)


def test_one_utterance_too_large_for_the_memory(engine, monkeypatch):
    def never(clips, asked):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(engine, "_score", never)
    with pytest.raises(ModelError, match=r"0\.2 s of sound with 5 questions do not fit"):
        engine.score(sounds(engine, 4000), [questions()])


def test_system_prompts_must_agree(engine):
    one, two = questions()[:2]
    with pytest.raises(ModelError, match="must share the system prompt"):
        engine.score(sounds(engine, 4000), [[one, dataclasses.replace(two, system="Other.")]])


def test_half_precision_loads(checkpoint):
    alm = load_model(str(checkpoint), device="cpu", dtype="bfloat16")
    assert alm.model.dtype == torch.bfloat16
    assert alm.identity["dtype"] == "bfloat16"


class _NoHub:
    def model_info(self, *_, **__):
        raise ConnectionError("Name or service not known\nsecond line")


class _EmptyHub:
    def model_info(self, *_, **__):
        from huggingface_hub.errors import RepositoryNotFoundError

        response: Any = SimpleNamespace(headers={}, request=None)
        raise RepositoryNotFoundError("404", response=response)


@pytest.mark.parametrize("name", ["qwen2-audio-nowhere", "nobody/nothing"])
def test_model_that_is_not_there(monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.HfApi", _NoHub)
    with pytest.raises(
        ModelError,
        match=f"model {name} was not found on disk, and the hub could not be reached: Name or service not known;",
    ):
        locate(name)
    monkeypatch.setattr("huggingface_hub.HfApi", _EmptyHub)
    with pytest.raises(ModelError, match="was not found on disk, and the hub does not know it"):
        locate(name)


def test_paths_are_never_taken_for_hub_names(tmp_path):
    with pytest.raises(
        ModelError, match="was not found on disk; expected a folder, a hub id owner/name, or one of demo"
    ):
        locate(str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match=r"is not a model: it has no config\.json"):
        locate(str(tmp_path))


def test_a_checkpoint_of_another_family_or_broken(tmp_path, checkpoint):
    (tmp_path / "config.json").write_text('{"model_type": "wavlm"}')
    with pytest.raises(ModelError, match=r"is of type 'wavlm', which serann cannot use.*expected one of qwen2_audio"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text((checkpoint / "config.json").read_text())
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(tmp_path))


def test_damaged_weights(tmp_path, checkpoint):
    damaged = shutil.copytree(checkpoint, tmp_path / "damaged")
    weights = load_file(damaged / "model.safetensors")
    weights.pop(next(name for name in weights if "q_proj" in name))
    save_file(weights, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of its weights \(.*q_proj.*download it again"):
        load_model(str(damaged))
    (damaged / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match="cannot be loaded: Error while deserializing"):
        load_model(str(damaged))


def test_devices_and_types_are_checked(checkpoint):
    with pytest.raises(ModelError, match="unknown device 'gpu'; expected auto, cpu, cuda or cuda:N"):
        load_model(str(checkpoint), device="gpu")
    with pytest.raises(ModelError, match="unknown dtype 'int4'"):
        load_model(str(checkpoint), device="cpu", dtype="int4")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="torch sees no CUDA device"):
            load_model(str(checkpoint), device="cuda")


def test_unknown_engine():
    with pytest.raises(OptionError, match=r"unknown engine 'magic'; expected one of transformers$"):
        make_engine(EngineSpec("magic", "demo"))
