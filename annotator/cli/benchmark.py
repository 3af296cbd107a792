"""`serann benchmark annotate`: how fast exact scoring is; `serann benchmark fusion`: which fusion helps, and whom."""

from typing import Annotated, Any

import typer


def annotate(
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="A tiny model: to see that it runs; no measure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure exact scoring against generating, sampling and a bare prefill.

    A random checkpoint of the true architecture is made in a temporary
    folder: mid-size on a CPU (one thread, about three minutes), of the 7B
    model's shape on a GPU. Nothing is downloaded. With --quick the figures
    mean nothing: a tiny model's time is that of starting up.

    Example: serann benchmark annotate --quick
    """
    from ..benchmark import benchmark_annotate
    from ..engines.memory import keep_freed_memory
    from .console import note, print_json, print_table

    keep_freed_memory()
    found = benchmark_annotate(device=device, quick=quick, say=note)
    if as_json:
        print_json(found)
        return
    aims, meanings = found.get("aims", {}), found.get("meanings", {})
    rows = [[name, value, aims.get(name), meanings.get(name)] for name, value in found["ratios"].items()]
    print_table("Ratios", ["name", "ratio", "aim", "what"], rows)
    print_table("With", ["what", "value"], [[name, _shown(value)] for name, value in _setting(found)])


def fusion(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus with many votes.", show_default=False)],
    proxy: Annotated[
        list[str],
        typer.Option(metavar="RUN_OR_CORPUS", help="A run, or another human panel; repeatable.", show_default=False),
    ],
    seen: Annotated[str, typer.Option(help="Human votes an utterance that are fused, a list.")] = "2,3,5",
    heldout: Annotated[int, typer.Option(help="Other votes an utterance that are scored.")] = 4,
    seeds: Annotated[int, typer.Option(help="Draws of these votes.")] = 5,
    strategies: Annotated[str | None, typer.Option(help="Only these strategies, a list.", show_default="all")] = None,
    stress: Annotated[bool, typer.Option(help="Spoilt proxies too, that must do no harm.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fuse part of the human votes with a proxy, and score on other human votes.

    Every strategy meets the same votes; scores by gender, label of the seen
    votes and ambiguity; differences from the human mixture (the best model
    without a proxy) are paired, with intervals by speaker. Spoilt proxies:
    shuffled, mode-collapsed, class-collapsed, good for one gender only.

    Example: serann benchmark fusion crema --proxy crema-av --seen 2,3,5
    """
    from ...data.corpus import open_corpus
    from ...data.errors import OptionError
    from ..fusion.benchmark import benchmark_fusion
    from ..proxies import open_panel
    from .console import note, print_json

    try:
        numbers = [int(word) for word in seen.split(",")]
    except ValueError as error:
        raise OptionError(f"--seen is '{seen}'; expected numbers with commas between, as in --seen 2,3,5") from error
    found = benchmark_fusion(
        open_corpus(corpus),
        [open_panel(path, "audit") for path in proxy],
        seen=numbers,
        heldout=heldout,
        seeds=seeds,
        strategies=[word.strip() for word in strategies.split(",")] if strategies else None,
        stress=stress,
        say=note,
    )
    if as_json:
        print_json(found)
    else:
        _print_fusion(found)


def _print_fusion(found: dict[str, Any]) -> None:
    from ..fusion.benchmark import SCORES
    from .console import note, print_table

    columns = ["proxy", "seen", "strategy", *SCORES, "low", "high"]
    titles = [*columns[:5], "log score", found["setting"]["scores"][2], "low", "high"]
    whole = [row for row in found["rows"] if row["stratum"] == "all"]
    print_table("Scores", titles, [[row[name] for name in columns] for row in whole])
    harmed = [row for row in found["rows"] if row["strategy"] == "auto" and row["low"] is not None and row["low"] > 0]
    shown = [[row["proxy"], row["seen"], row["stratum"], row["low"], row["high"]] for row in harmed]
    if shown:
        print_table("Strata where auto is worse than human-mixture", ["proxy", "seen", "stratum", "low", "high"], shown)
    for line in found["notes"]:
        note(line)
    for name, reason in found["skipped"].items():
        note(f"skipped: {name}: {reason}")


def _setting(found: dict[str, Any]) -> list[tuple[str, Any]]:
    apart = ("ratios", "aims", "meanings", "setting")
    rest = {name: value for name, value in found.items() if name not in apart}
    return [*found["setting"].items(), *rest.items()]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "; ".join(_shown(item) for item in value)
    return str(value)
