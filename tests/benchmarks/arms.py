"""What a model is taught, on simulated speech: seven kinds of targets from two human votes per utterance and a panel.

    python tests/benchmarks/arms.py [--json] [--seeds 5] [--sizes 250,500,1000] [--keep DIR] [--quick]

A SIMULATION: programs made the voices, the votes and the panel. It checks the code, and is no evidence about listeners.

2,000 utterances of 40 voices from the embedded corpus's generator (espeak-ng), 24 of them to learn from, 8 votes each
of 21 simulated raters, of which two an utterance of the train split are seen. The same small WavLM is trained from
random weights on each arm's targets and scored on all votes of ten voices never heard:

    hard            the plurality of the seen votes, by lot where they tie
    disaggregated   each seen vote an example of its own; half the epochs, so as many steps
    soft            the seen votes' frequencies
    smoothed        these drawn to the class marginal
    human-mixture   the posterior mean under a mixture of Dirichlets fitted to the seen votes (`fuse`)
    proxy           the panel alone (`fuse --strategy synthetic`)
    fused           votes and panel (`fuse`, its default)

A seed is another division of the votes, another panel, other weights. Figures are means over seeds; intervals are over
speakers, paired for differences (from `soft`, and `fused` from `human-mixture`). The panel (`panel_of`) hears .3 of
each label as another, is too sure, and errs alike in all its listeners, on an utterance and on a speaker. The curve
draws fewer utterances to learn from; they are heard oftener, up to three times. With `--keep` a run that was
stopped goes on where it was. `--quick`: a few embedded utterances, one epoch: shows that it runs, and needs no
espeak-ng. Exit code 1 where `soft` does not beat `hard` in log score (not with --quick).
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import numpy as np
from fixtures.simulated import simulated_run
from make_demo.make_corpus import make_corpus
from serann.annotator.fusion import fuse
from serann.annotator.run.run import Run, open_run
from serann.data.corpus import Corpus, open_corpus, take
from serann.data.errors import OptionError
from serann.data.holdout import divide_votes, write_division
from serann.data.scores.scoring import VOTES_SCORED
from serann.data.seeds import rng_from, uniforms
from serann.data.tables import DISTRIBUTIONS, distribution_array, read_table
from serann.trainer import open_model, train
from serann.trainer.network.loading import small_config
from serann.trainer.predict import predict_corpus
from serann.trainer.scoring.held_out import HeldOut, held_out, reference
from serann.trainer.scoring.measures import Measure, difference, measures, scored
from serann.trainer.targets import seen_marginal

SIMULATION = "a simulation: it checks the code and is no evidence about real listeners"
SEEN = 2
CORPUS = {"utterances": 2000, "voices": 40, "seed": 7, "sentence_set": "other", "name": "arms"}
# A fusion strategy, the targets that `train` makes of it, and the share of the epochs.
ARMS = {
    "hard": ("human", "hard", 1.0),
    "disaggregated": ("human", "disaggregated", 1 / SEEN),
    "soft": ("human", "primary", 1.0),
    "smoothed": ("human", "smoothed", 1.0),
    "human-mixture": ("human-mixture", "fused", 1.0),
    "proxy": ("synthetic", "fused", 1.0),
    "fused": ("auto", "fused", 1.0),
}
CURVE = ("hard", "soft", "human-mixture", "fused")
METRICS = ("sq_unbiased", "log_score", f"jsd_bits@{VOTES_SCORED}", "accuracy", "uar", "macro_f1")
# The small WavLM with fewer and shorter filters: twice as fast.
CONFIG = {"conv_dim": (64, 64, 64), "conv_kernel": (400, 4, 3)}
OPTIONS = {"dimensional_weight": 0.0, "batch_size": 16}
EPOCHS, MOST_OFTEN = 6, 3
LISTENERS, OWN_ERROR, SHARED_ERROR, SPEAKER_ERROR = 8, 0.6, 1.0, 0.4
SHARPNESS, MISHEARD, AT_NEUTRAL = 1.3, 0.3, -0.4
Say = Callable[[str], None]


class Setting(NamedTuple):
    """The corpus with its truth [U, K], how long to train, and where everything lies."""

    corpus: Corpus
    truth: np.ndarray
    epochs: int
    place: Path
    config: Path


def panel_of(truth: np.ndarray, corpus: Corpus, seed: int) -> np.ndarray:
    """What all listeners hear alike [U, K]: p ~ exp(1.3 ln((1 - s) t_k + s t_(k-1)) + b_k + u_k + v_k), t the truth,
    s = .3, b = -.4 for neutral, u ~ N(0, 1) of the utterance and v ~ N(0, .4^2) of the speaker.

    Each listener then adds errors of N(0, .6^2) (`simulated_run`): the errors of two of them correlate by .76.
    """
    misheard = (1 - MISHEARD) * truth + MISHEARD * np.roll(truth, 1, axis=1)
    speakers, labels = corpus.column("speaker"), truth.shape[1]
    spoken = {s: rng_from("panel", "speaker", seed, s).normal(0, SPEAKER_ERROR, labels) for s in set(speakers)}
    heard = np.array([rng_from("panel", seed, name).normal(0, SHARED_ERROR, labels) for name in corpus.ids])
    z = SHARPNESS * np.log(np.maximum(misheard, 1e-6)) + heard + np.array([spoken[s] for s in speakers])
    z[:, 0] += AT_NEUTRAL
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def prepare(place: Path, quick: bool, say: Say) -> Setting:
    """Make the corpus, or take a few embedded utterances, and read the truth behind its votes."""
    if quick:
        corpus = open_corpus("demo")
        folder = corpus.path
        speakers = corpus.column("speaker")
        nth = np.array([(speakers[:i] == speaker).sum() for i, speaker in enumerate(speakers)])
        corpus = take(corpus, nth < 3)
    else:
        folder = place / "corpus"
        if not folder.exists():
            say(f"speaking {CORPUS['utterances']} utterances")
            make_corpus(folder, **CORPUS, seen=SEEN)
        corpus = open_corpus(folder)
    table = read_table(folder / "truth.parquet", DISTRIBUTIONS, labels=corpus.labels)
    known = dict(zip(table["utterance_id"].to_pylist(), distribution_array(table["p"]), strict=True))
    config = small_config()
    config.update(CONFIG)
    config.save_pretrained(place / "config")
    (place / "config" / "preprocessor_config.json").write_text('{"do_normalize": false}')
    truth = np.array([known[name] for name in corpus.ids])
    return Setting(corpus, truth, 1 if quick else EPOCHS, place, place / "config")


def smaller(corpus: Corpus, size: int | None) -> np.ndarray:
    """Mask [U]: all but the train split, and of that `size` utterances, by a draw by utterance (so nested)."""
    inside = corpus.in_split("train")
    if size is None:
        return np.ones(len(inside), dtype=bool)
    lots = np.where(inside, uniforms(corpus.ids, 1, "size")[:, 0], np.inf)
    mask = ~inside
    mask[np.argsort(lots, kind="stable")[:size]] = True
    return mask


def epochs_of(setting: Setting, size: int | None, share: float) -> int:
    """Epochs of an arm: of a smaller train split more, for as many steps, but at most three times as many."""
    whole = int(setting.corpus.in_split("train").sum())
    often = 1.0 if size is None else min(MOST_OFTEN, whole / size)
    return max(1, round(setting.epochs * often * share))


def answers_of(setting: Setting, seed: int, size: int | None, arms: Sequence[str], say: Say) -> dict[str, np.ndarray]:
    """Distributions [T, K] of the test speakers' utterances of each arm; what lies in `place` is not trained again."""
    kept = {arm: setting.place / f"{size or 'all'}-{seed}-{arm}.npy" for arm in (*arms, "panel", "constant")}
    if not all(path.exists() for path in kept.values()):
        work = setting.place / f"work-{size or 'all'}-{seed}"
        shutil.rmtree(work, ignore_errors=True)
        mask = smaller(setting.corpus, size)
        part, truth = take(setting.corpus, mask), setting.truth[mask]
        corpus = write_division(part, divide_votes(part, seen=SEEN, seed=seed), work / "corpus")
        heard = panel_of(truth, corpus, seed)
        run = open_run(simulated_run(work / "panel", corpus, heard, listeners=LISTENERS, spread=OWN_ERROR, seed=seed))
        rows, _ = reference(corpus, "test")
        np.save(kept["panel"], heard[rows])
        np.save(kept["constant"], np.tile(_marginal(corpus, work), (len(rows), 1)))
        for arm in arms:
            if not kept[arm].exists():
                started = time.perf_counter()
                epochs = epochs_of(setting, size, ARMS[arm][2])
                found = _train(setting, corpus, run, work, arm, seed=seed, epochs=epochs)
                np.save(kept[arm], predict_corpus(open_model(found), corpus, rows=rows, device="cpu").distributions)
                say(f"{size or 'all'} utterances, seed {seed}, {arm}: {time.perf_counter() - started:.0f} s")
        shutil.rmtree(work)
    return {name: np.load(path) for name, path in kept.items()}


def _marginal(corpus: Corpus, work: Path) -> np.ndarray:
    return seen_marginal(fuse(corpus, [], strategy="human", out=work / "human"))


def _train(setting: Setting, corpus: Corpus, run: Run, work: Path, arm: str, *, seed: int, epochs: int) -> Path:
    strategy, targets, _ = ARMS[arm]
    fused = work / strategy
    if not fused.exists():
        runs = [] if strategy in ("human", "human-mixture") else [run]
        fuse(corpus, runs, strategy=strategy, out=fused, seed=seed)
    return train(
        fused,
        model=str(setting.config),
        from_scratch=True,
        out=work / "models" / arm,
        device="cpu",
        targets=targets,
        epochs=epochs,
        seed=seed,
        **OPTIONS,
    ).path


def over_seeds(each: Sequence[Sequence[Measure]]) -> dict[str, Measure]:
    """The mean over seeds of each measure, as a measure: the sums side by side, and the mean of what they come to."""
    found = {}
    for parts in zip(*each, strict=True):
        if parts[0].name not in METRICS:
            continue
        ends = np.cumsum([part.sums.shape[1] for part in parts])

        def of(totals: np.ndarray, parts: Sequence[Measure] = parts, ends: np.ndarray = ends) -> np.ndarray:
            pieces = np.split(totals, ends[:-1], axis=-1)
            return np.mean([part.of(piece) for part, piece in zip(parts, pieces, strict=True)], axis=0)

        found[parts[0].name] = replace(parts[0], sums=np.hstack([p.sums for p in parts]), of=of)
    return found


def run(
    place: Path,
    *,
    seeds: int = 5,
    arms: Sequence[str] = tuple(ARMS),
    sizes: Sequence[int] = (250, 500, 1000),
    curve_seeds: int = 1,
    quick: bool = False,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Train every arm under every seed, then the curve, and score all of them."""
    started, used = time.perf_counter(), time.process_time()
    place.mkdir(parents=True, exist_ok=True)
    _refuse_other_settings(place / "settings.json", quick)
    setting = prepare(place, quick, say)
    corpus = setting.corpus
    rows, counts = reference(corpus, "test")
    ref = held_out(corpus, "test", rows, counts, (), m=VOTES_SCORED, seed=0)
    found = [answers_of(setting, seed, None, arms, say) for seed in range(seeds)]
    averaged = _averaged(found, ref)
    averaged["truth"] = over_seeds([measures(setting.truth[rows], None, ref)])
    curve = []
    for size in (*sizes, None):
        chosen = [arm for arm in CURVE if arm in arms]
        answers = [answers_of(setting, seed, size, chosen, say) for seed in range(min(curve_seeds, seeds))]
        for arm, row in _averaged(answers, ref).items():
            if arm in chosen:
                utterances = int(smaller(corpus, size)[corpus.in_split("train")].sum())
                curve.append({"utterances": utterances, "arm": arm, **_rows(row, None, ref)})
    pairs = [(arm, "soft") for arm in arms if arm != "soft"] + [("fused", "human-mixture"), ("fused", "proxy")]
    return {
        "about": SIMULATION,
        "quick": quick,
        "utterances": {split: int(corpus.in_split(split).sum()) for split in ("train", "development", "test")},
        "speakers": len(set(corpus.column("speaker"))),
        "seen_votes": SEEN,
        "seeds": seeds,
        "curve_seeds": min(curve_seeds, seeds),
        "epochs": setting.epochs,
        "arms": {arm: _rows(row, None, ref) for arm, row in averaged.items()},
        "by_seed": {arm: [_values(each[arm], ref) for each in found] for arm in arms},
        "differences": [
            {"arm": arm, "less": other, **_rows(averaged[arm], averaged[other], ref)}
            for arm, other in pairs
            if arm in averaged and other in averaged
        ],
        "curve": curve,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - used,
    }


def _refuse_other_settings(path: Path, quick: bool) -> None:
    """Write what decides the answers beside them, or stop where those that lie there were made otherwise."""
    panel = [LISTENERS, OWN_ERROR, SHARED_ERROR, SPEAKER_ERROR, SHARPNESS, MISHEARD, AT_NEUTRAL]
    asked = {"quick": quick, "corpus": CORPUS, "config": CONFIG, "options": OPTIONS, "panel": panel}
    asked |= {"arms": ARMS, "epochs": [EPOCHS, MOST_OFTEN]}
    found = json.loads(path.read_text()) if path.exists() else None
    if found is not None and found != json.loads(json.dumps(asked)):
        raise OptionError(f"{path.parent} holds answers of other settings than these; choose another folder")
    path.write_text(json.dumps(asked, indent=1))


def _averaged(found: Sequence[dict[str, np.ndarray]], ref: HeldOut) -> dict[str, dict[str, Measure]]:
    return {name: over_seeds([measures(each[name], None, ref) for each in found]) for name in found[0]}


def _values(p: np.ndarray, ref: HeldOut) -> dict[str, float]:
    return {name: scored(x, ref).value for name, x in over_seeds([measures(p, None, ref)]).items()}


def _rows(mine: dict[str, Measure], other: dict[str, Measure] | None, ref: HeldOut) -> dict[str, Any]:
    """Value and bounds of each score, or of its difference."""
    found = {}
    for name, x in mine.items():
        row = scored(x, ref) if other is None else difference(x, other[name], ref)
        found[name] = {"value": row.value, "low": row.low, "high": row.high}
    return found


def show(found: dict[str, Any]) -> None:
    """The tables, in text."""
    print(f"{found['about']}\n{found['utterances']} utterances, {found['speakers']} speakers, {found['seeds']} seeds")

    def line(name: str, row: dict[str, Any]) -> str:
        cells = [f"{row[m]['value']:+.4f} [{row[m]['low']:+.4f}, {row[m]['high']:+.4f}]" for m in METRICS if m in row]
        return f"{name:30s} " + "  ".join(cells)

    print(f"{'':30s} " + "  ".join(f"{metric:26s}" for metric in METRICS))
    for arm, row in found["arms"].items():
        print(line(arm, row))
    for row in found["differences"]:
        print(line(f"{row['arm']} less {row['less']}", row))
    print(f"curve over the train split, {found['curve_seeds']} seeds")
    for row in found["curve"]:
        print(line(f"{row['utterances']} {row['arm']}", row))
    print(f"{found['seconds']:.0f} s, {found['cpu_seconds']:.0f} s of a processor (what was kept before not counted)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--curve-seeds", type=int, default=1)
    parser.add_argument("--sizes", default="250,500,1000", help="smaller train splits, a list, or none")
    parser.add_argument("--keep", default=None, help="a folder for corpus and answers, to go on from")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    sizes = [] if given.quick or given.sizes == "none" else [int(size) for size in given.sizes.split(",")]
    with tempfile.TemporaryDirectory() as name:
        place = Path(given.keep or name)
        asked = {"seeds": 1 if given.quick else given.seeds, "curve_seeds": given.curve_seeds, "sizes": sizes}
        found = run(place, **asked, quick=given.quick, say=lambda text: print(text, file=sys.stderr, flush=True))
    if given.json:
        print(json.dumps(found))
    else:
        show(found)
    gap = next(row for row in found["differences"] if (row["arm"], row["less"]) == ("hard", "soft"))
    return int(not given.quick and gap["log_score"]["value"] >= 0)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
