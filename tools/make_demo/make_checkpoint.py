"""Make the embedded checkpoint: `PYTHONPATH=tools python -m make_demo.make_checkpoint -o DIR`. Needs espeak-ng.

Speaks some thousands of simulated utterances in voices that the embedded corpus does not have, trains a small model of
Qwen2-Audio's architecture from scratch on the questions of the panels, and writes it as `Qwen/Qwen2-Audio-7B-Instruct`
is laid out, with `trained_on.json` beside it. With no other option it rebuilds the embedded checkpoint.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from serann.annotator.models.families import FAMILIES, AudioLanguageModel, load_model
from serann.data.corpus import Corpus, open_corpus
from serann.data.errors import SerannError
from serann.data.files import new_directory, refuse_existing, write_json
from serann.prompts.loader import fingerprint, load_panel, panel_fingerprint, render

from .architecture import make_model, make_processor, train_tokenizer
from .judge import judge
from .lessons import Clip, Teacher, lesson_sentences, make_clips
from .plan import LABELS
from .raters import make_raters
from .synthesis import espeak_version
from .training import Options, train

PANELS = ("crossed", "letters")


def prompt_texts(panels: Sequence[str]) -> list[str]:
    """What is asked and said, for the tokenizer to learn from; no answer stands alone in it, so that labels split."""
    texts = [sentence.text for sentence in lesson_sentences()] + ["system", "user", "assistant", "Audio"] * 20
    for panel in map(load_panel, panels):
        for listener in panel.listeners:
            for sentence in lesson_sentences()[:20]:
                rendered = render(panel.question, listener, LABELS, sentence.text)
                texts += [rendered.system, rendered.text]
    return texts


def blank(options: Options) -> AudioLanguageModel:
    """The model with random weights, with its tokenizer and processor."""
    tokenizer = train_tokenizer(prompt_texts(PANELS))
    model = make_model(tokenizer, seed=options.seed)
    return AudioLanguageModel("demo", FAMILIES["qwen2_audio"], model, make_processor(tokenizer), {})


def divide_voices(clips: Sequence[Clip], validation_voices: int) -> tuple[list[Clip], list[Clip]]:
    """The clips to train on, and those of the last voices, which check it."""
    last = max(clip.utterance.speaker for clip in clips) - validation_voices
    train_clips = [clip for clip in clips if clip.utterance.speaker <= last]
    return train_clips, [clip for clip in clips if clip.utterance.speaker > last]


def save(alm: AudioLanguageModel, folder: Path) -> None:
    """Write model, processor, tokenizer and generation config in float16, as transformers reads them."""
    alm.model.half().save_pretrained(folder)
    alm.processor.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes for the owner alone, and an installed wheel is read by others
    alm.model.float()


def prompt_fingerprints() -> dict[str, Any]:
    """The fingerprints of the panels' questions as they are now; the temperature is no part of them."""
    found: dict[str, Any] = {}
    for panel in map(load_panel, PANELS):
        prompts = {listener.rater: fingerprint(panel.question, listener) for listener in panel.listeners}
        found[panel.name] = {"panel": panel_fingerprint(panel), "prompts": prompts}
    return found


def make_checkpoint(
    out: str | Path, *, options: Options, corpus: Corpus, workers: int, threads: int, overwrite: bool = False
) -> dict[str, Any]:
    """Speak, train, save and judge; returns what `trained_on.json` says.

    Raises OutputError for an existing output, SerannError where espeak-ng is absent.
    """
    refuse_existing(Path(out), what="checkpoint", overwrite=overwrite)
    torch.set_num_threads(threads)
    started = time.monotonic()
    alm = blank(options)
    clips = make_clips(
        alm.processor.feature_extractor, utterances=options.utterances, voices=options.voices, seed=options.seed,
        workers=workers, progress=_count,
    )  # fmt: skip
    spoken = time.monotonic() - started
    training, check = divide_voices(clips, options.validation_voices)
    teacher = Teacher(alm, [load_panel(name) for name in PANELS], make_raters(seed=options.seed))
    history = train(alm, teacher, training, check, options, report=_say)
    with new_directory(out, what="checkpoint", overwrite=overwrite) as folder:
        save(alm, folder)
        figures = judge(load_model(str(folder)), corpus, load_panel(PANELS[0]))
        minutes = {"synthesis": spoken / 60, "all": (time.monotonic() - started) / 60, "processor": processor_minutes()}
        record = _record(alm, options, history, {name: round(x, 1) for name, x in minutes.items()}, threads)
        record["embedded_corpus"] = figures
        write_json(folder / "trained_on.json", record)
    return record


def processor_minutes() -> float:
    """Processor time of this process and of its children that ended, in minutes."""
    times = os.times()
    return (times.user + times.system + times.children_user + times.children_system) / 60


def _record(
    alm: AudioLanguageModel,
    options: Options,
    history: Sequence[dict[str, float]],
    minutes: dict[str, float],
    threads: int,
) -> dict[str, Any]:
    return {
        "simulated": True,
        "made_by": "python -m make_demo.make_checkpoint",
        "panels": prompt_fingerprints(),
        "labels": list(LABELS),
        "options": options._asdict(),
        "parameters": sum(p.numel() for p in alm.model.parameters()),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy", "soundfile")}
        | {"python": platform.python_version(), "espeak-ng": espeak_version()},
        "threads": threads,
        "minutes": minutes,
        "history": [{name: round(value, 4) for name, value in row.items()} for row in history],
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _count(done: int, total: int) -> None:
    if done % 500 == 0 or done == total:
        _say(f"{done}/{total} utterances spoken")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options; those of the training have the names and defaults of `Options`."""
    parser = argparse.ArgumentParser(
        prog="python -m make_demo.make_checkpoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--out", required=True, help="the checkpoint directory to write")
    parser.add_argument("--corpus", default="demo", help="the corpus it is judged on at the end (default: demo)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that speak (default: all cores)"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads that train (default 2)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    for name, default in Options()._asdict().items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(default), default=default, help=f"default {default}")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the checkpoint is written, 2 with one sentence on stderr when it cannot be."""
    arguments = parse_arguments(argv)
    options = Options(**{name: getattr(arguments, name) for name in Options._fields})
    try:
        record = make_checkpoint(
            arguments.out, options=options, corpus=open_corpus(arguments.corpus), workers=arguments.workers,
            threads=arguments.threads, overwrite=arguments.overwrite,
        )  # fmt: skip
    except SerannError as error:
        _say(f"error: {error}")
        return error.exit_code
    _say(f"{arguments.out}: {record['minutes']} minutes, on the corpus {record['embedded_corpus']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
