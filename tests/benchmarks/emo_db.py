"""Emo-DB, leave one speaker out, from scratch: seven acted emotions from the voice of a speaker never heard.

    SERANN_CORPORA=CORPORA python tests/benchmarks/emo_db.py [--json] [--recipe NAME] [--rotate N] [--workers N]

CORPORA/emo-db is the release, or a part of it. For each speaker in turn one other is the development speaker, who
chooses the epoch, and the rest teach a model from random weights; `--rotate N` (4) repeats this with N development
speakers and averages the N models' distributions. No label of the speaker scored is used; the best recipe uses which
sounds are theirs (`evened`). Beside the UAR of that speaker stands the development speakers' (one model each, of the
chosen epoch, so too good for that), by which recipes may be compared.

Emo-DB has no votes: the label is the intended emotion, which 80 % or more of the listeners recognised. It enters as the
one vote of a rater called `intended`. A speaker's UAR is over the labels that they have; the mean over speakers has a
jackknife-t interval. Chance is 1/7 over seven labels.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import soundfile
import soxr
import transformers
from serann.annotator.fusion import fuse
from serann.data.audio import SAMPLE_RATE, load_audio
from serann.data.corpus import Corpus, write_corpus
from serann.data.holdout import divide_votes
from serann.data.importing import import_corpus
from serann.data.scores.intervals import by_group
from serann.data.scores.metrics import confusion_rows, macro_f1_of, uar_of
from serann.data.seeds import rng_from
from serann.data.sound_paths import absolute_audio
from serann.data.tables import UTTERANCES, VOTES, from_rows
from serann.trainer import open_model, train
from serann.trainer.network.loading import small_config
from serann.trainer.predict import predict_corpus

MOST_EPOCHS, LEAST_EPOCHS = 80, 6
# Development speakers of each speaker scored, and so models whose answers are averaged.
ROTATE = 4
# Octaves by which a copy is faster or slower at most.
WIDEST = 0.35


class Recipe(NamedTuple):
    """A model type and what its small configuration changes, with options of `train`; `copies` of each utterance to
    learn from are added at other speeds (`with_copies`). `evened`: each speaker's sounds lose the colour and the level
    that all of them share (`evened`)."""

    kind: str
    config: Mapping[str, Any]
    options: Mapping[str, Any]
    copies: int = 0
    evened: bool = False
    heard: int = 9_000


COMMON = {"loss": "cb-ce", "best_by": "uar", "batch_size": 16, "batch_seconds": 60.0, "dimensional_weight": 0.0}
# Whisper's architecture hears a log-mel, in windows of three seconds; a WavLM must first learn its own filters.
LOG_MEL = {
    "d_model": 64,
    "encoder_layers": 1,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "num_mel_bins": 80,
    "max_source_positions": 150,
    "dropout": 0.1,
}
ATTENTIVE = {**COMMON, "pooling": "attentive"}
# The convolutions alone, drawn wide enough not to drown in the encoder's positions, which are of size 1.
CONVOLUTIONS = {**LOG_MEL, "encoder_layers": 0, "init_std": 0.1}
FASTER = {**ATTENTIVE, "learning_rate": 3e-3, "head_learning_rate": 3e-3}
# The loop's own noise hides the quiet bands, and the sounds scored have none: in trainings on stored log-mels it cost
# .06 of the development speakers' UAR. Attentive pooling cost as much.
AVERAGED = {**FASTER, "pooling": "mean", "perturb": False}
TC_GRU = {**COMMON, "head": "tc-gru", "skip": True}
RECIPES = {
    "wavlm-speeds": Recipe("wavlm", {}, ATTENTIVE, copies=4),
    "wavlm": Recipe("wavlm", {}, ATTENTIVE),
    "wavlm-tc-gru": Recipe("wavlm", {}, TC_GRU),
    "log-mel-evened": Recipe("whisper", CONVOLUTIONS, AVERAGED, copies=8, evened=True, heard=16_000),
    "log-mel-speeds": Recipe("whisper", LOG_MEL, FASTER, copies=4),
    "log-mel": Recipe("whisper", LOG_MEL, FASTER),
}
BEST = "log-mel-evened"


def read(source: Path, out: Path) -> Corpus:
    """Import the release, the intended emotion as the one vote of each utterance."""
    corpus, _ = import_corpus("emo-db", source, out / "imported", split="none")
    rows = [
        {"utterance_id": name, "rater_id": "intended", "source": "human", "label": label}
        for name, label in zip(corpus.ids, corpus.column("intended"), strict=True)
    ]
    return written(corpus, absolute_audio(corpus), from_rows(rows, VOTES, labels=corpus.labels), out / "corpus")


def written(corpus: Corpus, utterances: pa.Table, votes: pa.Table, out: Path) -> Corpus:
    about = {"name": corpus.name, "labels": corpus.labels, "licence": corpus.info.licence}
    return write_corpus(out, **about, utterances=utterances, votes=votes, provenance=corpus.info.provenance)


def with_copies(corpus: Corpus, copies: int, folder: Path, seed: int) -> Corpus:
    """The train split's utterances at other speeds too, other voices as it were: pitch, formants and tempo go up or
    down together by a factor of 2^x, x uniform in [-.35, .35]."""
    rows, votes = corpus.utterances.to_pylist(), corpus.votes.to_pylist()
    vote_of = {vote["utterance_id"]: vote for vote in votes}
    for row in [row for row in rows if row["split"] == "train"]:
        sound = load_audio(row["audio"])
        for copy in range(copies):
            name = f"{row['utterance_id']}-{copy}"
            rate = 2 ** rng_from("speed", seed, name).uniform(-WIDEST, WIDEST)
            changed = soxr.resample(sound, SAMPLE_RATE * rate, SAMPLE_RATE)
            path = folder / f"{name}.wav"
            soundfile.write(path, changed, SAMPLE_RATE, subtype="FLOAT")
            rows.append({**row, "utterance_id": name, "audio": str(path), "duration": len(changed) / SAMPLE_RATE})
            votes.append({**vote_of[row["utterance_id"]], "utterance_id": name})
    tables = from_rows(rows, UTTERANCES, labels=corpus.labels), from_rows(votes, VOTES, labels=corpus.labels)
    return written(corpus, *tables, folder / "corpus")


def evened(corpus: Corpus, folder: Path) -> Corpus:
    """The corpus with each speaker's sounds through the one filter that makes the mean of that speaker's log-mel nearly
    zero in every band: what a voice and its recording always have in common is taken away, what changes is left.

    Cepstral mean subtraction by speaker (Atal 1974) as a filter. It needs to know which sounds are one speaker's, the
    scored one's too, and no label.
    """
    rows, speakers = corpus.utterances.to_pylist(), corpus.column("speaker")
    for speaker in sorted(set(speakers)):
        mine = [rows[place] for place in np.flatnonzero(speakers == speaker)]
        sounds = [load_audio(row["audio"]) for row in mine]
        gains = flattening(sounds)
        for row, sound in zip(mine, sounds, strict=True):
            path = folder / f"{row['utterance_id']}.wav"
            soundfile.write(path, filtered(sound, gains), SAMPLE_RATE, subtype="FLOAT")
            row["audio"] = str(path)
    return written(corpus, from_rows(rows, UTTERANCES, labels=corpus.labels), corpus.votes, folder / "corpus")


def flattening(sounds: Sequence[np.ndarray]) -> np.ndarray:
    """Factors [201] of the frequencies from 0 to 8 kHz that bring the mean of the sounds' log-mel to zero in each band.

    Whisper's log-mel is (log10 power + 4) / 4, so a band of mean m needs the factor 10^(-4 m) of power; between the
    bands' centres log factors are interpolated.
    """
    extractor = transformers.WhisperFeatureExtractor(feature_size=LOG_MEL["num_mel_bins"])
    asked = {"sampling_rate": SAMPLE_RATE, "padding": False, "truncation": False, "return_tensors": "np"}
    heard = np.concatenate([extractor([sound], **asked)["input_features"][0] for sound in sounds], axis=1)
    bins = np.arange(len(extractor.mel_filters))
    centres = bins @ extractor.mel_filters / extractor.mel_filters.sum(axis=0)
    return 10 ** np.interp(bins, centres, -2 * heard.mean(axis=1))


def filtered(sound: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """The sound with its frequencies from 0 to half the sampling rate multiplied by factors, without delay."""
    spectrum = np.fft.rfft(sound, 2 * len(sound))
    places = np.linspace(0, len(gains) - 1, len(spectrum))
    return np.fft.irfft(spectrum * np.exp(np.interp(places, np.arange(len(gains)), np.log(gains))))[: len(sound)]


def split_for(corpus: Corpus, test: str, development: str, out: Path, *, copies: int = 0, seed: int = 0) -> Corpus:
    """The corpus with one speaker to be scored, one who chooses the epoch, and the rest to learn from."""
    role = {test: "test", development: "development"}
    splits = pa.array([role.get(speaker, "train") for speaker in corpus.column("speaker")])
    place = corpus.utterances.column_names.index("split")
    table = corpus.utterances.set_column(place, "split", splits)
    corpus = written(corpus, table, corpus.votes, out / "split")
    if copies:
        (out / "copies").mkdir()
        corpus = with_copies(corpus, copies, out / "copies", seed)
    divided = divide_votes(corpus, seen=1)
    about = {"name": corpus.name, "labels": corpus.labels, "licence": corpus.info.licence}
    return write_corpus(
        out / "divided",
        **about,
        utterances=corpus.utterances,
        votes=divided.votes,
        division=divided.division,
        provenance=corpus.info.provenance,
    )


def epochs_for(utterances: int, heard: int) -> int:
    """Epochs in which about `heard` utterances are heard, from 6 to 80: few are heard oftener.

    >>> epochs_for(100, 9000), epochs_for(500, 9000), epochs_for(2150, 9000)
    (80, 18, 6)
    """
    return int(np.clip(round(heard / utterances), LEAST_EPOCHS, MOST_EPOCHS))


def write_config(recipe: Recipe, folder: Path) -> Path:
    """A directory that names the recipe's encoder."""
    if recipe.kind == "wavlm":
        config = small_config()
        config.update(dict(recipe.config))
    else:
        config = transformers.AutoConfig.for_model(recipe.kind, **recipe.config)
    config.save_pretrained(folder)
    if recipe.kind == "wavlm":
        (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    return folder


class Answer(NamedTuple):
    """Distributions [U, K] of the scored speaker's utterances, and the development speaker's UAR over the labels they
    have."""

    p: np.ndarray
    development: float
    seconds: float


def trained(pair: tuple[str, str], *, corpus: Corpus, recipe: Recipe, epochs: int | None, seed: int) -> Answer:
    """Train for one speaker to be scored and one development speaker, and predict both."""
    test, development = pair
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        divided = split_for(corpus, test, development, folder, copies=recipe.copies, seed=seed)
        fused = fuse(divided, [], strategy="human", out=folder / "fused").path
        count = epochs or epochs_for(int(divided.in_split("train").sum()), recipe.heard)
        model = train(
            fused,
            model=str(write_config(recipe, folder / "config")),
            from_scratch=True,
            out=folder / "model",
            device="cpu",
            seed=seed,
            epochs=count,
            targets="hard",
            **recipe.options,
        ).path
        opened = open_model(model)
        mine, other = (np.flatnonzero(divided.in_split(split)) for split in ("test", "development"))
        p = predict_corpus(opened, divided, rows=mine, device="cpu").distributions
        q = predict_corpus(opened, divided, rows=other, device="cpu").distributions
        uars = [own_uar(found, one_hot(divided, rows)) for found, rows in ((p, mine), (q, other))]
    seconds = time.perf_counter() - started
    print(f"{test}: UAR {uars[0]:.3f}, of {development} {uars[1]:.3f}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return Answer(p, uars[1], seconds)


def one_hot(corpus: Corpus, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Counts [U, K] of the one vote of each utterance."""
    codes = [corpus.labels.labels.index(label) for label in corpus.column("intended")[rows]]
    return np.eye(len(corpus.labels))[codes]


def own_uar(p: np.ndarray, counts: np.ndarray) -> float:
    """UAR over the labels that occur."""
    return float(uar_of(confusion_rows(p, counts).sum(axis=0), counts.sum(axis=0) > 0))


def pairs(speakers: Sequence[str], rotate: int) -> list[tuple[str, str]]:
    """Each speaker with the next `rotate` ones as development speakers, in a circle.

    >>> pairs(["a", "b", "c"], 1)
    [('a', 'b'), ('b', 'c'), ('c', 'a')]
    """
    return [
        (speaker, speakers[(place + step) % len(speakers)])
        for place, speaker in enumerate(speakers)
        for step in range(1, min(rotate, len(speakers) - 1) + 1)
    ]


def summary(p: np.ndarray, corpus: Corpus) -> dict[str, Any]:
    """UAR of each speaker, their mean with its interval, and scores of all utterances together."""
    speakers, counts = corpus.column("speaker"), one_hot(corpus)
    own = {s: own_uar(p[speakers == s], counts[speakers == s]) for s in sorted(set(speakers))}
    cells, labels = confusion_rows(p, counts), counts.sum(axis=0) > 0
    size, square = len(cells), (len(labels), len(labels))

    def together(of: Any) -> dict[str, float]:
        found = by_group(
            cells.reshape(size, -1), speakers, statistic=lambda t: of(t.reshape(*t.shape[:-1], *square), labels)
        )
        return {"value": found.value, "low": found.low, "high": found.high}

    mean = by_group(list(own.values()), list(own), limits=(0.0, 1.0))
    return {
        "mean_uar": {"value": mean.value, "low": mean.low, "high": mean.high, "method": mean.method},
        "uar_by_speaker": own,
        "uar_of_all": together(uar_of),
        "macro_f1_of_all": together(macro_f1_of),
        "accuracy_of_all": float((p.argmax(1) == counts.argmax(1)).mean()),
        "confusion": cells.sum(axis=0).round(2).tolist(),
        "labels": list(corpus.labels),
    }


def run(
    source: Path,
    recipe: str = BEST,
    *,
    rotate: int = ROTATE,
    epochs: int | None = None,
    seed: int = 0,
    workers: int = 1,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Leave each speaker out in turn (or those of `only`) and score what the others' models make of them."""
    started, before = time.perf_counter(), sum(os.times()[:4])
    with tempfile.TemporaryDirectory() as name:
        corpus = read(source, Path(name))
        if RECIPES[recipe].evened:
            (Path(name) / "evened").mkdir()
            corpus = evened(corpus, Path(name) / "evened")
        speakers = corpus.column("speaker")
        asked = [pair for pair in pairs(sorted(set(speakers)), rotate) if not only or pair[0] in only]
        job = partial(trained, corpus=corpus, recipe=RECIPES[recipe], epochs=epochs, seed=seed)
        if workers > 1:
            with ProcessPoolExecutor(workers) as pool:
                answers = list(pool.map(job, asked))
        else:
            answers = [job(pair) for pair in asked]
        p = np.zeros((len(corpus.ids), len(corpus.labels)))
        for (test, _), answer in zip(asked, answers, strict=True):
            p[speakers == test] += answer.p
        scored = np.isin(speakers, [test for test, _ in asked])
        p[scored] /= p[scored].sum(axis=1, keepdims=True)
        found = summary(p, corpus) if scored.all() else {"uar_by_speaker": _those(p, corpus, asked)}
    return {
        "recipe": recipe,
        "utterances": len(p),
        "speakers": len(set(speakers)),
        "models": len(asked),
        "models_a_speaker": rotate,
        "seed": seed,
        "development_uar": float(np.mean([answer.development for answer in answers])),
        **found,
        "seconds_a_model": float(np.mean([answer.seconds for answer in answers])),
        "seconds": time.perf_counter() - started,
        "core_seconds": sum(os.times()[:4]) - before,  # of this process and of the workers, which have ended
    }


def _those(p: np.ndarray, corpus: Corpus, asked: Sequence[tuple[str, str]]) -> dict[str, float]:
    speakers, counts = corpus.column("speaker"), one_hot(corpus)
    return {s: own_uar(p[speakers == s], counts[speakers == s]) for s, _ in asked}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--recipe", choices=RECIPES, default=BEST)
    parser.add_argument("--rotate", type=int, default=ROTATE, help="development speakers, and so models, a speaker")
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="trainings at once, a core each")
    parser.add_argument("--only", default="", help="only these speakers, a list")
    given = parser.parse_args()
    corpora = os.environ.get("SERANN_CORPORA")
    if not corpora:
        print("error: set SERANN_CORPORA to the folder that holds emo-db", file=sys.stderr)
        return 2
    only = [name for name in given.only.split(",") if name]
    asked = {"rotate": given.rotate, "epochs": given.epochs, "seed": given.seed, "workers": given.workers}
    found = run(Path(corpora) / "emo-db", given.recipe, **asked, only=only)
    print(json.dumps(found) if given.json else "\n".join(f"{name}: {value}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
