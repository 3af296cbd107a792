"""`serann demo`: the whole loop on the embedded corpus with the embedded checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    import numpy as np

    from ...data.corpus import Corpus
    from ..run.run import Run

SEEN = 2
# Targets that a model is trained on, in the order of the table; DiME-Aug follows in the full demo.
TARGETS = ("human", "empirical-bayes")


class Size(NamedTuple):
    """How much the demo does: utterances per speaker (None: all), epochs of training, fusions beside `TARGETS`."""

    utterances: int | None
    epochs: int
    further: tuple[str, ...]


FULL = Size(None, 20, ("dime-aug",))
FAST = Size(3, 2, ())


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where everything goes.")] = Path("serann-demo"),
    fast: Annotated[
        bool, typer.Option("--fast", help="Three utterances per speaker and two epochs: shows that it runs, no more.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier demo at the output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the final figures as one JSON document.")] = False,
) -> None:
    """Run the whole loop, offline: divide, annotate, audit, fuse, train, evaluate.

    It uses the embedded corpus (simulated speech and simulated raters) and the
    embedded checkpoint (a small Qwen2-Audio). Its figures show that the method
    runs; they are no evidence about real listeners.

    Example: serann demo --fast -o first-look
    """
    from ...data.files import finite, write_json
    from .console import print_json

    options = {"fast": fast, "seed": seed}
    start_afresh(output, options, overwrite=overwrite)
    figures = run_loop(output, FAST if fast else FULL, seed)
    write_json(output / "demo.json", finite({**options, "finished": True, **figures}))
    figures["report"] = str(output / "report.html")
    if as_json:
        print_json(figures)
    else:
        show(figures, output)


def start_afresh(output: Path, options: dict[str, Any], *, overwrite: bool) -> None:
    """Make the output, in place of an earlier demo if `overwrite`; each stage then writes a folder of its own."""
    import shutil

    from ...data.files import refuse_existing, write_json

    earlier = (output / "demo.json").exists()
    refuse_existing(output, what="demo", overwrite=overwrite and earlier)
    if earlier:
        shutil.rmtree(output)
    write_json(output / "demo.json", {**options, "finished": False})


def run_loop(place: Path, size: Size, seed: int) -> dict[str, Any]:
    """Run every stage below `place` and return the final figures."""
    from ..audit import audit
    from ..engines.memory import keep_freed_memory
    from ..report.audit_words import answers
    from ..report.files import write_report
    from ..run.annotate import annotate

    keep_freed_memory()
    corpus = divided_corpus(place / "corpus", size, seed)
    with stage("annotate: every utterance, every listener") as step:
        run = annotate(corpus, "demo", out=place / "run", seed=seed, progress=step)
    with stage("audit: the panel against held-out votes") as step:
        result = audit(corpus, [run], seed=seed, progress=step)
        write_report(result, place / "report.html", corpus)
    fused = fuse_all(corpus, run, place / "fused", size, seed)
    predictions = train_all(fused, corpus, place, size, seed)
    return {"audit": {"answers": answers(result)}, **evaluate_all(predictions, corpus, seed)}


def divided_corpus(out: Path, size: Size, seed: int) -> "Corpus":
    """Divide the embedded corpus, or the first few utterances of each speaker of it."""
    import numpy as np

    from ...data.corpus import open_corpus, take
    from ...data.holdout import divide_votes, write_division

    corpus = open_corpus("demo")
    if size.utterances is not None:
        speakers = corpus.column("speaker")
        place = np.array([(speakers[:i] == speaker).sum() for i, speaker in enumerate(speakers)])
        corpus = take(corpus, place < size.utterances)
    return write_division(corpus, divide_votes(corpus, seen=SEEN, seed=seed), out)


def fuse_all(corpus: "Corpus", run: "Run", out: Path, size: Size, seed: int) -> dict[str, Path]:
    """Fuse by every strategy of the demo; return each fused corpus's directory."""
    from ..fusion import fuse
    from ..report.fusion_page import render

    found = {}
    for strategy in (*TARGETS, *size.further):
        with stage(f"fuse: {strategy}") as step:
            runs = [] if strategy == "human" else [run]
            options = {"strategy": strategy, "seed": seed}
            found[strategy] = fuse(corpus, runs, out=out / strategy, page=render, progress=step, **options).path
    return found


def train_all(fused: dict[str, Path], corpus: "Corpus", out: Path, size: Size, seed: int) -> dict[str, Path]:
    """Train one WavLM a target, from scratch, and let each predict the whole corpus; return the predictions."""
    from ...trainer import predict, train

    predictions = {}
    for target, path in fused.items():
        with stage(f"train: WavLM from scratch, targets {target}") as step:
            options = {"from_scratch": True, "epochs": size.epochs, "seed": seed}
            model = train(path, model="wavlm", out=out / "models" / target, progress=step, **options).path
        with stage(f"predict: the model of {target}") as step:
            predictions[target] = out / "predictions" / target
            predict(model, corpus, out=predictions[target], progress=step)
    return predictions


def evaluate_all(predictions: dict[str, Path], corpus: "Corpus", seed: int) -> dict[str, Any]:
    """Score every model on the test speakers' human votes, and the fused targets against the human-only ones."""
    from ...trainer import evaluate

    found = {target: evaluate(path, corpus, split="test", seed=seed) for target, path in predictions.items()}
    first = next(iter(found.values()))
    constant = [row.score._asdict() for row in first.rows if (row.system, row.stratum) == ("constant", "all")]
    systems = [{"targets": "none (constant)", "scores": constant}]
    for target, evaluation in found.items():
        rows = [row for row in evaluation.rows if row.system != "constant"]
        systems.append(
            {
                "targets": target,
                "scores": [row.score._asdict() for row in rows if row.stratum == "all"],
                "thirds": [{"third": r.stratum, **r.score._asdict()} for r in rows if r.stratum != "all"],
            }
        )
    return {
        "split": "test",
        "utterances": first.utterances,
        "speakers": first.speakers,
        "votes_scored": first.votes_scored,
        "systems": systems,
        "differences": [
            {"targets": target, "less": "human", "scores": difference(predictions, target, corpus, seed)}
            for target in predictions
            if target != "human"
        ],
        "notes": first.notes,
    }


def difference(predictions: dict[str, Path], target: str, corpus: "Corpus", seed: int) -> list[dict[str, Any]]:
    """Paired differences of one model's scores less those of the model of human votes alone."""
    from ...data.scores.scoring import VOTES_SCORED, paired_table
    from ...trainer import read_prediction
    from ...trainer.scoring.held_out import reference

    rows, counts = reference(corpus, "test")
    ids = [corpus.ids[row] for row in rows]

    def predicted(name: str) -> "np.ndarray":
        prediction = read_prediction(predictions[name])
        row_of = {utterance: row for row, utterance in enumerate(prediction.ids)}
        return prediction.distributions[[row_of[utterance] for utterance in ids]]

    groups = corpus.column("speaker")[rows]
    both = predicted(target), predicted("human")
    table = paired_table(both[0], both[1], counts, ids=ids, groups=groups, m=VOTES_SCORED, seed=seed)
    return [row._asdict() for row in table]


@contextmanager
def stage(description: str) -> Iterator[Any]:
    """Show one stage's progress on stderr."""
    from .console import progress

    with progress(description) as step:
        yield step


def show(figures: dict[str, Any], output: Path) -> None:
    """Print the table, what differs, and where the report is."""
    from ...data.scores.metric import metric_of
    from .console import note, plain_signs, print_table

    found = dict.fromkeys(score["metric"] for system in figures["systems"] for score in system["scores"])
    metrics = [name for name in found if "summary" in metric_of(name).at]
    rows = []
    for system in figures["systems"]:
        scores = {score["metric"]: score for score in system["scores"]}
        rows.append([system["targets"], *(_cell(scores.get(name), name) for name in metrics)])
    print_table(
        f"\nWavLM trained from scratch on each kind of target, scored on the same held-out human votes\n"
        f"({figures['utterances']} utterances of {figures['speakers']} unseen speakers; simulated speech and raters)",
        ["targets", *metrics],
        rows,
    )
    for compared in figures["differences"]:
        score = next(s for s in compared["scores"] if s["metric"] == "sq_unbiased")
        print(
            f"{compared['targets']} less human, sq_unbiased: {score['value']:+.4f} "
            f"[{score['low']:+.4f}, {score['high']:+.4f}] (95 %, {score['method']} over {score['groups']} speakers)"
        )
    print()
    for answer in figures["audit"]["answers"]:
        print(f"- {plain_signs(answer)}")
    for sentence in figures["notes"]:
        note(f"note: {plain_signs(sentence)}")
    print(f"\nreport: {output / 'report.html'}")


def _cell(score: dict[str, Any] | None, metric: str) -> str:
    if score is None:
        return "-"
    if metric in ("sq_unbiased", "log_score"):
        return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
    return f"{score['value']:.3f}"
