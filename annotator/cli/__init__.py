"""The command line: each command is one thin file that parses, calls one function of the rooms, and prints its
table.
"""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

app = typer.Typer(
    name="serann",
    help="Synthetic perceptual votes for speech-emotion corpora: draw them from audio-language models, audit them "
    "against human votes, fuse both, train on the result.\n\nTry it: serann demo --fast",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
corpus_app = typer.Typer(
    help="Bring corpora, look at them, divide their votes, and give them out again.", no_args_is_help=True
)
app.add_typer(corpus_app, name="corpus")
benchmark_app = typer.Typer(help="Measure how fast exact scoring is, and which fusion helps.", no_args_is_help=True)
app.add_typer(benchmark_app, name="benchmark")

# Name of the command, and its file; its function is of the command's name (a hyphen is an underscore, `import` has one
# at its end). The files import little until a command runs.
COMMANDS = {
    "demo": "demo",
    "annotate": "annotate",
    "audit": "audit",
    "alt-test": "alt_test",
    "fuse": "fuse",
    "train": "train",
    "predict": "predict",
    "evaluate": "evaluate",
    "compare": "evaluate",
    "models": "panels",
    "prompts": "panels",
    "panels": "panels",
}
CORPUS_COMMANDS = ("import", "readers", "info", "check", "split", "holdout", "distributions", "export")
BENCHMARK_COMMANDS = ("annotate", "fusion")


def _register() -> None:
    for name, file in COMMANDS.items():
        app.command(name)(_function(file, name.replace("-", "_")))
    for name in CORPUS_COMMANDS:
        corpus_app.command(name)(_function("corpus", f"{name}_" if name == "import" else name))
    for name in BENCHMARK_COMMANDS:
        benchmark_app.command(name)(_function("benchmark", name))


def _function(file: str, name: str) -> Callable[..., None]:
    return getattr(import_module(f".{file}", __name__), name)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"serann {version('serann')}")
        raise typer.Exit


@app.callback()
def _serann(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


_register()


def _interrupted(*_: object) -> None:
    print("\ninterrupted; what was finished is kept: run the same command again to go on", file=sys.stderr)
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; a user's mistake is one sentence on stderr and exit code 2, ours is a traceback."""
    # OpenMP's threads spin while they wait for each other; when another program wants a core, that spinning took a
    # four-epoch training from 12 s to more than 150 s. It must be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGINT, _interrupted)
    from ...data.errors import SerannError

    try:
        app()
    except SerannError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
