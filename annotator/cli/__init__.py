"""The command line: each command is one thin file that parses, calls one function of the rooms, and prints its
table.
"""

import os
import signal
import sys
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
corpus_app = typer.Typer(help="Look at corpora and divide their votes.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")
benchmark_app = typer.Typer(help="Measure how fast the parts are, as ratios in one run.", no_args_is_help=True)
app.add_typer(benchmark_app, name="benchmark")

GROUPS = {"corpus": corpus_app, "benchmark": benchmark_app}
# Name of the command, and the function of the file of that name; the files import little until a command runs.
COMMANDS = ("demo", "annotate", "audit", "fuse", "train", "predict", "evaluate", "models", "prompts", "panels")
CORPUS_COMMANDS = ("holdout", "info")
BENCHMARK_COMMANDS = ("annotate",)


def _register() -> None:
    for name in COMMANDS:
        app.command(name)(getattr(import_module(f".{name}", __name__), name))
    for group, names in (("corpus", CORPUS_COMMANDS), ("benchmark", BENCHMARK_COMMANDS)):
        module = import_module(f".{group}", __name__)
        for name in names:
            GROUPS[group].command(name)(getattr(module, name))


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
