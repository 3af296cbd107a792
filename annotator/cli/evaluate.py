"""`serann evaluate`: a model against human votes that it has not seen."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..report.figures import figure
from .console import print_table
from .corpus import AudioRoot


def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL|PRED", help="A trained model, or a prediction.", show_default=False)
    ],
    corpus: Annotated[
        str, typer.Argument(metavar="CORPUS", help="The corpus that it was fused from.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a page there (.html) with its figures beside it (.json)."),
    ] = None,
    split: Annotated[str, typer.Option(help="test, development, train (held-out votes), or another.")] = "test",
    votes_scored: Annotated[
        int | None,
        typer.Option(help="Votes behind a divergence, and in a third; 4, or fewer where there are fewer."),
    ] = None,
    speaker_support: Annotated[
        int, typer.Option(help="Utterances of a label that a speaker must have for it to count in his or her UAR.")
    ] = 3,
    snr: Annotated[
        str | None, typer.Option(metavar="DB", help="Listen to noise, too, at these levels, such as 5,10,20.")
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="KINDS",
            help="Noise to listen to with --snr (default white,speech-shaped,babble).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws of votes and of noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    audio_root: AudioRoot = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score a model on human votes that neither fusion nor training has seen.

    Proper scores first (sq_unbiased: lower is better, 0 is perfect; log score in
    nats per vote: higher is better), intervals over speakers, and each third of the
    utterances by ambiguity, cut by votes that are not scored (means of 50 draws).
    'constant' is the best answer without listening. Then label by label, speaker
    by speaker (paUAR), women and men, the prior, and noise where --snr asks.

    Example: serann evaluate model demo -o evaluation.html
    """
    from ...trainer import evaluate as run_evaluation
    from ...trainer.scoring.noise import asked_noise
    from ..report.evaluation_page import render_evaluation, write_scores
    from ..report.page import EVALUATION, check_page
    from .console import NOTHING_WRITTEN, note, note_failures, open_last, print_json, progress, stopped_in_a_sentence

    snrs, kinds = asked_noise(snr, noise)
    if output is not None:
        check_page(output, EVALUATION, overwrite=overwrite)
    opened = open_last(corpus, command="evaluate MODEL CORPUS", audio_root=audio_root)
    with stopped_in_a_sentence(NOTHING_WRITTEN), progress("evaluate") as step:
        found = run_evaluation(
            model,
            opened,
            split=split,
            votes_scored=votes_scored,
            speaker_support=speaker_support,
            snrs=snrs,
            noises=kinds,
            seed=seed,
            device=device,
            progress=step,
        )
    if output is not None:
        write_scores(found.to_json(), output, render_evaluation)
    if as_json:
        print_json(found.to_json())
    else:
        show(found)
        if output is not None:
            print(f"\npage: {output}")
    for text in found.warnings:
        note(f"warning: {text}")
    for text in found.notes:
        note(f"note: {text}")
    note_failures(found.failures.items(), table="what --json prints")
    if found.failures:
        raise typer.Exit(1)


# --------------------
# `serann compare`: models side by side on the same human votes.


def compare(
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL|PRED... CORPUS",
            help="Two or more trained models or predictions, and last the corpus.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a page there (.html) with its figures beside it (.json)."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="MODEL|PRED", help="Which of them the others are compared with; the first.")
    ] = None,
    split: Annotated[str, typer.Option(help="test, development, train (held-out votes), or another.")] = "test",
    votes_scored: Annotated[
        int | None, typer.Option(help="Votes behind a divergence; 4, or fewer where there are fewer.")
    ] = None,
    speaker_support: Annotated[
        int, typer.Option(help="Utterances of a label that a speaker must have for it to count in his or her UAR.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the draws of votes.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    audio_root: AudioRoot = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score models side by side on human votes that none has seen.

    On the utterances that all of them heard, each score of each system, and of
    the constant that needs no listening, with its interval over speakers, and its
    difference to the first (or to --against) with another, paired: what a voice or
    an utterance adds to both cancels.

    Example: serann compare model other-model demo -o comparison.html
    """
    from ...data.errors import OptionError
    from ...trainer import compare as run_comparison
    from ..report.evaluation_page import render_comparison, write_scores
    from ..report.page import COMPARISON, check_page
    from .console import NOTHING_WRITTEN, note, open_last, print_json, progress, stopped_in_a_sentence

    if len(systems) < 3:
        raise OptionError(
            f"compare takes two or more models or predictions and then the corpus; found {' '.join(systems)}: name "
            "another, or use 'serann evaluate MODEL CORPUS'"
        )
    *paths, corpus = systems
    if output is not None:
        check_page(output, COMPARISON, overwrite=overwrite)
    opened = open_last(corpus, command="compare MODEL OTHER CORPUS", audio_root=audio_root)
    with stopped_in_a_sentence(NOTHING_WRITTEN), progress("compare") as step:
        found = run_comparison(
            paths,
            opened,
            against=against,
            split=split,
            votes_scored=votes_scored,
            speaker_support=speaker_support,
            seed=seed,
            device=device,
            progress=step,
        )
    if output is not None:
        write_scores(found.to_json(), output, render_comparison)
    if as_json:
        print_json(found.to_json())
    else:
        show_comparison(found)
        if output is not None:
            print(f"\npage: {output}")
    for text in found.warnings:
        note(f"warning: {text}")
    for text in found.notes:
        note(f"note: {text}")


# --------------------
# What `serann evaluate` and `serann compare` print.

UNDEFINED = "–"


def cell(score: Any) -> str:
    """A value with its interval in brackets, or with the reason why there is none; `score` is a row or its mapping."""
    if score is None:
        return UNDEFINED
    found = score if isinstance(score, Mapping) else score._asdict()
    shown = figure(found["value"], found["low"], found["high"])
    if math.isfinite(found["value"]) and math.isnan(found["low"]) and "method" in found:
        return f"{shown} ({found['method'].replace('none', 'no interval')})"
    return shown


def show(found: Any) -> None:
    """Print an evaluation, table by table."""
    _overall(found)
    _by_ambiguity(found)
    _by_class(found)
    _by_speaker(found)
    _genders(found)
    _priors(found)
    _noise(found)


def _overall(found: Any) -> None:
    from ...data.scores.metric import metric_of

    rows = {(row.system, row.stratum, row.score.metric): row.score for row in found.rows}
    model, bins = found.model.name, len(found.calibration)
    overall = []
    for metric in dict.fromkeys(row.score.metric for row in found.rows):
        ours, constant = rows.get((model, "all", metric)), rows.get(("constant", "all", metric))
        if ours is not None:
            better = metric_of(metric).better
            overall.append([metric, better, cell(ours), cell(constant), ours.utterances])
    print_table(
        f"{model} on {found.corpus}, {found.split}: {found.utterances} utterances of {found.speakers} speakers",
        ["metric", "better", "model [95 % over speakers]", "constant", "utterances"],
        overall,
    )
    print(
        f"kl_nats is KL(votes || model); ece and distribution_ece have {bins} bins of equal width. The page (-o) says "
        "what each score is."
    )


def _by_ambiguity(found: Any) -> None:
    rows = {(row.system, row.stratum, row.score.metric): row.score for row in found.rows}
    model = found.model.name
    strata = [s for s in dict.fromkeys(row.stratum for row in found.rows) if s != "all"]
    if not strata:
        return
    sizes = [rows[model, stratum, "sq_unbiased"].utterances for stratum in strata]
    heads = [h for stratum, n in zip(strata, sizes, strict=True) for h in (f"{stratum} (n = {n})", "constant")]
    by_third = []
    for metric in dict.fromkeys(row.score.metric for row in found.rows):
        cells = [rows.get((system, stratum, metric)) for stratum in strata for system in (model, "constant")]
        if any(cells):
            # the constant's own interval would make the table too wide for a terminal
            of_constant = [UNDEFINED if flat is None else figure(flat.value) for flat in cells[1::2]]
            shown = zip(map(cell, cells[::2]), of_constant, strict=True)
            by_third.append([metric, *(words for pair in shown for words in pair)])
    print_table(f"\nBy ambiguity ({found.votes_scored} votes scored, the others cut)", ["metric", *heads], by_third)
    print(found.thirds)


def _by_class(found: Any) -> None:
    rows = [
        [
            row["label"],
            f"{row['support']:.1f}",
            f"{row['answered']:.1f}",
            figure(row["recall"]),
            figure(row["precision"]),
            cell(row["f1"]),
        ]
        for row in found.classes["labels"]
    ]
    print_table("\nBy label", ["label", "support", "answered", "recall", "precision", "F1"], rows)
    print("support and answered: utterances whose plurality it is, people's and the model's; a tie is shared.")


def _by_speaker(found: Any) -> None:
    own = found.speakers_own
    rule = f"{own['least_support']} utterances or more of each of {own['least_classes']} labels or more"
    if own["reason"]:
        print(f"\nBy speaker: nothing, for {own['reason']} (--speaker-support chooses)")
        return
    rows = [[row["metric"], cell(row), cell(row["equal"]), cell(row["chance"])] for row in own["shares"]]
    print_table(
        f"\nBy speaker: share of the {own['speakers']} (of {own['named']}) speakers with {rule}",
        ["whose own UAR is above", "share", "if all were heard equally well", "if answers were blind"],
        rows,
    )
    spread = own["distribution"][0]
    at = ", ".join(f"{name} {spread[name]:.3f}" for name in ("least", "q25", "median", "q75", "most"))
    print(
        f"own UAR over these speakers: {at}; standard deviation {spread['sd']:.3f}, and {spread['sd_if_equal']:.3f} if "
        "all were heard equally well (binomial, central 95 % in brackets)."
    )


def _genders(found: Any) -> None:
    gaps = found.genders
    if gaps["reason"]:
        print(f"\nWomen and men: no gap, for {gaps['reason']}")
        return
    sizes = gaps["speakers"]
    rows = [[row["metric"], cell(row["female"]), cell(row["male"]), cell(row["gap"])] for row in gaps["gaps"]]
    print_table(
        f"\nWomen and men ({sizes['female']} and {sizes['male']} speakers; UAR and macro-F1 over the "
        f"{len(gaps['classes'])} labels that both have)",
        ["metric", "female", "male", "female less male"],
        rows,
    )


def _priors(found: Any) -> None:
    from ...data.scores.metric import metric_of

    corrected = [row for row in found.corrected if "summary" in metric_of(row["metric"]).at]
    rows = [
        [row["metric"], f"{row['system']}, {_corrected(row)}", cell(row)]
        for row in [*found.balanced["scores"], *corrected]
    ]
    print_table(
        "\nAs if all labels were equally common (_balanced), and with the prior that was taught corrected",
        ["metric", "system, prior corrected", "value"],
        rows,
    )


def _corrected(row: Mapping[str, Any]) -> str:
    return "as it is" if row["correction"] == "none" else row["correction"]


def _noise(found: Any) -> None:
    if not found.noise:
        return
    metrics = list(dict.fromkeys(row["metric"] for row in found.noise))
    cells = {(row["noise"], row["snr"], row["metric"]): row for row in found.noise}
    rows = [["none", "", *(figure(found.value(metric)) for metric in metrics)]]
    for kind, snr in dict.fromkeys((row["noise"], row["snr"]) for row in found.noise):
        rows.append([kind, f"{snr:g}", *(_marked(cells.get((kind, snr, metric))) for metric in metrics)])
    print_table("\nUnder noise", ["noise", "SNR, dB", *metrics], rows)
    print("*: differs from the same utterances without noise (95 % over speakers, paired).")


def _marked(row: Mapping[str, Any] | None) -> str:
    """A value, with a star where its change has an interval without 0."""
    if row is None:
        return UNDEFINED
    change = row["change"]
    return figure(row["value"]) + ("*" if change["low"] > 0 or change["high"] < 0 else "")


def show_comparison(found: Any) -> None:
    """Print a comparison: a row for each score and system, and what it is less the one compared with."""
    from ...data.scores.metric import metric_of

    gaps = {(name, row.metric): row for name, rows in found.differences.items() for row in rows}
    scores = {(name, row.metric): row for name, rows in found.scores.items() for row in rows}
    rows = [
        [
            metric,
            metric_of(metric).better,
            name,
            cell(scores[name, metric]),
            "" if name == found.against else cell(gaps.get((name, metric))),
        ]
        for metric in dict.fromkeys(metric for _, metric in scores)
        for name in found.scores
        if (name, metric) in scores
    ]
    print_table(
        f"{found.corpus}, {found.split}: {found.utterances} utterances of {found.speakers} speakers that all "
        f"{len(found.systems)} systems heard (95 % over speakers, differences paired)",
        ["metric", "better", "system", "score", f"less {found.against}"],
        rows,
    )
    print("constant: the best answer without listening, the shares of the labels among the seen votes.")
    if found.left_out:
        print(f"{found.left_out} utterances that some system could not hear, or did not predict, are left out.")
    if any(metric.startswith("pauar") for _, metric in scores):
        print(
            f"pauar_50: share of speakers whose own UAR is above .50, over labels with {found.speaker_support} "
            "utterances or more."
        )
