"""What `serann fuse` prints of a fusion: the compact form of its report, from the figures that report.json holds."""

from typing import Any

SHARE_COLUMNS = {
    "seen_votes": "seen votes",
    "fused": "fused",
    "dominant": "dominant",
    "augmented": "fused, augmented",
    "augmented_dominant": "dominant, augmented",
}

# The lower temperatures of folds were measured: with 600 train utterances .938 on all, .927 on 80 % of them, and .928
# on all with the pseudo-votes of the confusion map raised by 1 / .8.
ABOUT_PARAMETERS = """\
strength: how many human votes the panel counts for; temperature: above 1 flattens the panel, below 1 sharpens it.
The value is that of all train speakers. A fold is fitted without its own speakers, so on fewer votes, where the fit's
pseudo-votes and weak priors (strength 4, temperature 1) weigh more: the folds' values may all lie to one side of it."""


def print_report(info, figures: dict[str, Any]) -> None:
    """Print `fusion.json` (a FusionInfo) and the figures of report.json as tables on stdout."""
    from .console import print_table

    print_table("Utterances", ["what", "number"], [[k.replace("_", " "), v] for k, v in info.counts.items()])
    _print_parameters(info, figures["strengths"])
    _print_gains(figures["fallback"])
    _print_moved(figures["moved"])
    columns = [name for name in SHARE_COLUMNS if name in info.shares]
    print_table(
        "\nShares in the train split",
        ["label", *(SHARE_COLUMNS[name] for name in columns)],
        [[label, *(info.shares[name][label] for name in columns)] for label in figures["labels"]],
    )
    if figures["added"] is not None:
        _print_added(figures["added"], figures["labels"])


def _print_parameters(info, strengths: dict[str, Any]) -> None:
    from .console import print_table

    rows = [[name, value, None, None, None, None] for name, value in _plain_parameters(info.parameters)]
    for one in strengths["estimates"]:
        if not one["name"].startswith("bias"):
            folds = [min(one["of_folds"]), max(one["of_folds"])] if one["of_folds"] else [None, None]
            rows.append([f"{one['name']}: {one['of']}", one["value"], one["low"], one["high"], *folds])
    if rows:
        heads = ["parameter", "value", "low", "high", "folds, lowest", "folds, highest"]
        print_table("\nParameters, with 95 % intervals by speaker", heads, rows)
    if strengths["method"]:
        print(f"intervals: {strengths['method']}")
    if any(one["name"] == "temperature" for one in strengths["estimates"]):
        print(ABOUT_PARAMETERS)
    for name, kinds in strengths["kinds"].items():
        print_table(
            f"\nClass weights of {name}, by the label that their votes say most",
            ["label", "weight", "low", "high", "votes they count for", "low", "high"],
            [[k["label"], *_ends(k["weight"]), *_ends(k["votes"])] for k in kinds],
        )
    if strengths["reason"]:
        print(strengths["reason"])


def _ends(interval: dict[str, Any]) -> list[float | None]:
    return [interval[name] for name in ("value", "low", "high")]


def _plain_parameters(parameters: dict[str, Any]) -> list[tuple[str, Any]]:
    """Numbers among the parameters of the blend and of the augmentation, and the cross-fitted scores."""
    inner = parameters.get("blend", parameters)
    numbers = {
        name.replace("_", " "): value
        for part in (inner, parameters.get("dime-aug", {}))
        for name, value in part.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    scores = inner.get("cross_fitted_log_score_per_seen_vote", {})
    return [*numbers.items(), *((f"log score a seen vote, cross-fitted: {name}", s) for name, s in scores.items())]


def _print_gains(fallback: dict[str, Any]) -> None:
    from .console import print_table

    rows = [
        [s["stratum"], *(s[key] for key in ("gain", "low", "high", "utterances", "proxy_taken", "reason"))]
        for s in fallback["strata"]
        if s["speakers"]
    ]
    if rows:
        title = "\nGain of the proxy model over the human mixture, log score a seen vote, 95 % by speaker"
        print_table(title, ["stratum", "gain", "low", "high", "utterances", "proxy taken", "why"], rows)
    for sentence in fallback["sentences"]:
        print(sentence)


def _print_moved(moved: dict[str, Any]) -> None:
    from .console import print_table

    rows = [
        [s["stratum"], s["utterances"], *_ends(s["jsd_bits"]), s["l2"]["value"], s["changed"], s["settled"]]
        for s in moved["strata"]
    ]
    if rows:
        heads = ["train utterances", "number", "JSD, bits", "low", "high", "L2", "label changed", "ties settled"]
        print_table("\nWhat moved, from the seen votes' frequencies to the fused p", heads, rows)
    most = [[e["utterance_id"], e["seen_label"], e["fused_label"], e["jsd_bits"]] for e in moved["most"][:5]]
    if most:
        print_table("\nMoved most", ["utterance", "seen votes said", "fused says", "JSD, bits"], most)


def _print_added(added: dict[str, Any], labels: list[str]) -> None:
    from .console import print_table

    size = "size unknown" if added["bytes"] is None else f"{added['bytes'] / 1e6:.2f} MB of FLAC"
    guess = "" if added["measured"] else " (a guess, from a few of them)"
    print(f"\nnew utterances: {added['new']}, {added['seconds']:.1f} seconds of sound, {size}{guess}")
    masses, titles = added["masses"], {"mass": "before", "target": "target", "reached": "after"}
    print_table(
        "Expected utterances of a label in the train split: the sum of p",
        ["label", "new, by dominant label", *(titles[name] for name in masses)],
        [[label, added["by_label"][label], *(masses[name][label] for name in masses)] for label in labels],
    )
