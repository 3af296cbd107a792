"""`serann benchmark annotate`: how fast exact scoring is, against what else the same model could do."""

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
    from .console import note, print_json, print_table

    found = benchmark_annotate(device=device, quick=quick, say=note)
    if as_json:
        print_json(found)
        return
    aims, meanings = found.get("aims", {}), found.get("meanings", {})
    rows = [[name, value, aims.get(name), meanings.get(name)] for name, value in found["ratios"].items()]
    print_table("Ratios", ["name", "ratio", "aim", "what"], rows)
    print_table("With", ["what", "value"], [[name, _shown(value)] for name, value in _setting(found)])


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
