"""What each score of an evaluation is, in a line: its variant, and whether more of it is better."""

from collections.abc import Iterable
from typing import NamedTuple

HIGHER, LOWER = "higher", "lower"


class Definition(NamedTuple):
    """Which values are better, and what the score is."""

    better: str
    words: str


def definition(metric: str, *, bins: int) -> Definition:
    """The definition of a score by its name, which may end in `@m`; KeyError for one that is no score here.

    h are the human votes of an utterance, q the answer; `bins` those of the calibration errors.

    >>> definition("jsd_bits@4", bins=10).better
    'lower'
    """
    name, _, m = metric.partition("@")
    if name.startswith("ccc_"):
        return _of_ratings(name.removeprefix("ccc_"))
    if name.startswith("pauar_"):
        return _of_speakers(name)
    found = DEFINITIONS[name]
    votes = f"{m} drawn votes" if m else "the votes"
    return found._replace(words=found.words.format(votes=votes, bins=bins))


def definitions(metrics: Iterable[str], *, bins: int) -> dict[str, Definition]:
    """The definitions of several scores, each once, in their order."""
    return {metric: definition(metric, bins=bins) for metric in dict.fromkeys(metrics)}


def _of_ratings(dimension: str) -> Definition:
    return Definition(
        HIGHER,
        f"concordance of answered {dimension} with the mean human rating, 2 cov / (var + var + (difference of the "
        "means)²), moments over n; 1 is perfect",
    )


def _of_speakers(name: str) -> Definition:
    _, percent, *best = name.split("_")
    hit = f", hit where the human plurality is among the {best[0].removesuffix('best')} likeliest" if best else ""
    return Definition(HIGHER, f"share of speakers whose own UAR{hit} is above .{percent}")


DEFINITIONS = {
    "sq_unbiased": Definition(
        LOWER,
        "Σ (q − p)² over labels, p the distribution behind the votes; freed of the votes' sampling noise, so that 0 is "
        "perfect whatever their number",
    ),
    "log_score": Definition(HIGHER, "mean natural logarithm (nats a vote) of the probability given to each vote"),
    "jsd_bits": Definition(
        LOWER, "Jensen-Shannon divergence of q and the shares of {votes}, logarithm of base 2, 0 to 1"
    ),
    "bhattacharyya": Definition(
        HIGHER, "Bhattacharyya coefficient, Σ √(p q) with p the shares of {votes}, 0 to 1; 1 is equal"
    ),
    "total_variation": Definition(LOWER, "half of Σ |p − q|, p the shares of {votes}, 0 to 1"),
    "accuracy": Definition(HIGHER, "share of utterances whose likeliest label is the human plurality; a tie shares"),
    "uar": Definition(HIGHER, "unweighted average recall: the mean over labels of the share of each that is hit"),
    "macro_f1": Definition(
        HIGHER, "mean over labels that are somebody's plurality of 2 hit / (support + answered); a label never hit is 0"
    ),
    "kl_nats": Definition(
        LOWER, "Kullback-Leibler divergence KL(p || q), p the shares of {votes}, natural logarithm; 0 is equal"
    ),
    "brier": Definition(
        LOWER, "mean over votes of Σ (q − [the vote is this label])², 0 to 2, not divided by the number of labels"
    ),
    "accuracy_2best": Definition(HIGHER, "share of utterances whose human plurality is among the 2 likeliest labels"),
    "accuracy_3best": Definition(HIGHER, "share of utterances whose human plurality is among the 3 likeliest labels"),
    "ece": Definition(
        LOWER,
        "expected calibration error of the likeliest label, {bins} bins of equal width: |said − agreed|, weighted",
    ),
    "distribution_ece": Definition(
        LOWER, "the same of every label's probability against the shares of votes, {bins} bins a label, half their sum"
    ),
    "log_score_balanced": Definition(
        HIGHER, "log score with votes weighted so that all labels somebody chose count alike (nats)"
    ),
    "quadratic_balanced": Definition(
        LOWER, "mean of Σ (q − [the vote is this label])² with votes weighted so that all labels count alike, 0 to 2"
    ),
}
