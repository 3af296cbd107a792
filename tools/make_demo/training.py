"""How the embedded checkpoint is trained: soft cross-entropy over whole answers, packed, with averaged weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from serann.annotator.models.families import AudioLanguageModel, Features
from serann.annotator.models.log_mel import audio_tokens
from serann.annotator.models.packed_prompt import answer_logp
from serann.data.scores.divergences import jsd_bits

from .lessons import Clip, Lesson, Teacher, batches
from .plan import LABELS

Report = Callable[[str], None]
# Clips of the validation voices that are scored after each epoch, with every question.
VALIDATED = 96


class Options(NamedTuple):
    """Everything a training depends on besides the panels and the versions of what it uses."""

    utterances: int = 6000
    voices: int = 120
    validation_voices: int = 12
    epochs: int = 5
    batch: int = 16
    questions: int = 1
    guidance: float = 1.0
    rate: float = 1.5e-3
    weight_decay: float = 0.05
    averaging: float = 0.995
    seed: int = 2


def batch_features(clips: Sequence[Clip]) -> Features:
    """The features of a batch, padded with each clip's own silence to the longest."""
    frames = max(clip.mel.shape[1] for clip in clips)
    mels = np.stack([np.pad(c.mel, ((0, 0), (0, frames - c.mel.shape[1])), constant_values=c.mel.min()) for c in clips])
    mask = np.arange(frames)[None, :] < np.array([clip.valid for clip in clips])[:, None]
    tokens = tuple(audio_tokens(clip.valid) for clip in clips)
    return Features(torch.from_numpy(mels.astype(np.float32)), torch.from_numpy(mask).long(), tokens)


def hide_bands(features: Features, rng: np.random.Generator, *, bands: int = 10, frames: int = 12) -> Features:
    """SpecAugment (Park et al. 2019): one stripe of bands and one of frames of each clip take the clip's mean."""
    mels = features.input_features.clone()
    for mel in mels:
        mean = mel.mean()
        for axis, widest in ((0, bands), (1, frames)):
            width = int(rng.integers(0, widest + 1))
            start = int(rng.integers(0, mel.shape[axis] - width))
            mel.narrow(axis, start, width).fill_(mean)
    return features._replace(input_features=mels)


def loss_of(alm: AudioLanguageModel, features: Features, lesson: Lesson) -> torch.Tensor:
    """Mean over the questions of -sum_k target_k log P(answer k and the turn's end): soft cross-entropy, in nats."""
    logp = torch.stack([answers for row in answer_logp(alm, features, lesson.rows) for answers in row])
    targets = torch.from_numpy(np.stack(lesson.targets)).float()
    return -(targets * logp).sum(-1).mean()


class Guide:
    """A linear head on the mean audio token, trained beside the model and thrown away.

    Its gradient reaches the encoder directly, long before a language model that starts from random weights passes any.
    """

    def __init__(self, alm: AudioLanguageModel, labels: int, *, seed: int):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.head = torch.nn.Linear(alm.model.config.text_config.hidden_size, labels)
        self._heard: list[torch.Tensor] = []
        projector = next(m for name, m in alm.model.named_modules() if name.endswith("multi_modal_projector"))
        self._hook = projector.register_forward_hook(lambda _module, _inputs, output: self._heard.append(output))

    def loss(self, features: Features, targets: np.ndarray) -> torch.Tensor:
        """Cross-entropy of the last forward pass's audio tokens (all clips end to end) to `targets` [B, K], in nats."""
        heard = self._heard[-1]
        self._heard.clear()
        logits = self.head(torch.stack([clip.mean(0) for clip in heard.split(features.audio_tokens)]))
        return -(torch.from_numpy(targets).float() * logits.log_softmax(-1)).sum(-1).mean()

    def forget(self) -> None:
        """Drop what was heard in passes without a loss."""
        self._heard.clear()

    def close(self) -> None:
        """Take the hook off the model."""
        self._hook.remove()


class Average:
    """The exponential moving average of the parameters: what is validated, and what is kept in the end."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], keep: float):
        self.parameters, self.keep, self.steps = parameters, keep, 0
        self.values = [p.detach().clone() for p in parameters]

    def update(self) -> None:
        """Take the parameters of one more step in; the first steps count for more, so that the start is forgotten."""
        self.steps += 1
        keep = min(self.keep, self.steps / (self.steps + 10))
        for value, p in zip(self.values, self.parameters, strict=True):
            value.lerp_(p.detach(), 1 - keep)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the context the model has the averaged parameters, afterwards its own again."""
        own = [p.detach().clone() for p in self.parameters]
        self.settle()
        try:
            yield
        finally:
            for p, value in zip(self.parameters, own, strict=True):
                p.data.copy_(value)

    def settle(self) -> None:
        """Leave the averaged parameters in the model."""
        for p, value in zip(self.parameters, self.values, strict=True):
            p.data.copy_(value)


def train(
    alm: AudioLanguageModel,
    teacher: Teacher,
    clips: Sequence[Clip],
    check: Sequence[Clip],
    options: Options,
    *,
    report: Report = lambda _: None,
) -> list[dict[str, float]]:
    """Train with AdamW (short warm-up, cosine rate), leave the averaged parameters in the model; figures an epoch."""
    rng = np.random.default_rng(options.seed)
    guide = Guide(alm, len(LABELS), seed=options.seed)
    parameters = [p for p in alm.model.parameters() if p.requires_grad]
    learnt = [*parameters, *guide.head.parameters()]
    optimiser = torch.optim.AdamW(learnt, lr=options.rate, weight_decay=options.weight_decay, betas=(0.9, 0.98))
    steps = options.epochs * -(-len(clips) // options.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_at(step, steps))
    average = Average(parameters, options.averaging)
    history, started = [], time.monotonic()
    for epoch in range(1, options.epochs + 1):
        alm.model.train()
        losses = []
        for chosen in batches(clips, options.batch, rng):
            answers, guidance = _losses(alm, teacher, guide, chosen, options, rng)
            optimiser.zero_grad()
            (answers + options.guidance * guidance).backward()
            torch.nn.utils.clip_grad_norm_(learnt, 1.0)
            optimiser.step()
            schedule.step()
            average.update()
            losses.append((answers.item(), guidance.item()))
        with average.in_place():
            figures = validate(alm, teacher, check[:: max(1, len(check) // VALIDATED)], options)
        guide.forget()
        means = dict(zip(("loss", "guide_loss"), np.mean(losses, axis=0).tolist(), strict=True))
        history.append({"epoch": epoch, **means, **figures})
        report(f"epoch {epoch}/{options.epochs}, {time.monotonic() - started:.0f} s: {_figures(history[-1])}")
    guide.close()
    average.settle()
    alm.model.eval()
    return history


def _losses(
    alm: AudioLanguageModel,
    teacher: Teacher,
    guide: Guide,
    clips: Sequence[Clip],
    options: Options,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of one batch: the cross-entropy of the answers, and the guide's to what the voice alone is heard as."""
    lesson = teacher.lesson(clips, questions=options.questions, rng=rng)
    features = hide_bands(batch_features(clips), rng)
    answers = loss_of(alm, features, lesson)
    voices = np.stack([teacher.target("voice", clip.utterance) for clip in clips])
    return answers, guide.loss(features, voices)


def _figures(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in row.items() if name != "epoch")


def rate_at(step: int, steps: int, *, warm: int = 100) -> float:
    """The learning rate's factor: linear warm-up, then a cosine to a fiftieth."""
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, steps - warm)))


def validate(alm: AudioLanguageModel, teacher: Teacher, clips: Sequence[Clip], options: Options) -> dict[str, float]:
    """On the validation voices: cross-entropy over all questions, and each panel's JSD in bits of P1 to the targets."""
    alm.model.eval()
    logps, targets = [], []
    with torch.inference_mode():
        for start in range(0, len(clips), options.batch):
            some = clips[start : start + options.batch]
            rows = [teacher.row(clip, teacher.asked) for clip in some]
            answers = answer_logp(alm, batch_features(some), rows)
            logps += [torch.stack(questions).double().numpy() for questions in answers]
            targets += [[teacher.target(item.focus, clip.utterance) for _, item in teacher.asked] for clip in some]
    logp, target = np.stack(logps), np.stack(targets)
    divergence = jsd_bits(np.exp(logp), target).mean(axis=0)
    of_panel = np.array([panel.name for panel, _ in teacher.asked])
    figures = {"validation_loss": float(-(target * logp).sum(-1).mean())}
    return figures | {f"jsd_bits_{name}": float(divergence[of_panel == name].mean()) for name in teacher.panels}
