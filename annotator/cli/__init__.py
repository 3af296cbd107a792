"""The command line: each command is one thin file that parses, calls one function of the rooms, and prints its
table.
"""

import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from .choices import Command

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
# Commands of a class of their own, which their file has: their options are not all in their function's signature.
CLASSES = {"fuse": "FuseCommand"}
CORPUS_COMMANDS = ("import", "readers", "info", "check", "split", "holdout", "distributions", "export", "relocate")
BENCHMARK_COMMANDS = ("annotate", "fusion")
RUNS_COMMANDS = ("show",)


class _Lazily(TyperGroup):
    """A group whose commands are imported when they are used: a command costs its own imports alone."""

    functions: Mapping[str, tuple[str, str]]

    def list_commands(self, ctx: Any) -> list[str]:
        return [*self.functions, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.functions:
            return super().get_command(ctx, cmd_name)
        file, function = self.functions[cmd_name]
        module, alone = import_module(f".{file}", __name__), typer.Typer(**SETTINGS)
        alone.command(cmd_name, cls=getattr(module, CLASSES.get(cmd_name, ""), Command))(getattr(module, function))
        return typer.main.get_command(alone)


def _lazily(functions: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    return type("Commands", (_Lazily,), {"functions": functions})


SETTINGS: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(
    name="serann",
    help="Synthetic perceptual votes for speech-emotion corpora: draw them from audio-language models, audit them "
    "against human votes, fuse both, train on the result.\n\nTry it: serann demo --fast",
    no_args_is_help=True,
    cls=_lazily({name: (file, name.replace("-", "_")) for name, file in COMMANDS.items()}),
    **{**SETTINGS, "add_completion": True},
)
app.add_typer(
    typer.Typer(
        help="Bring corpora, look at them, divide their votes, and give them out again.",
        no_args_is_help=True,
        cls=_lazily({name: ("corpus", f"{name}_" if name == "import" else name) for name in CORPUS_COMMANDS}),
    ),
    name="corpus",
)
app.add_typer(
    typer.Typer(
        help="Look at runs that are there.",
        no_args_is_help=True,
        cls=_lazily({name: ("runs", name) for name in RUNS_COMMANDS}),
    ),
    name="runs",
)
app.add_typer(
    typer.Typer(
        help="Measure how fast exact scoring is, and which fusion helps.",
        no_args_is_help=True,
        cls=_lazily({name: ("benchmark", name) for name in BENCHMARK_COMMANDS}),
    ),
    name="benchmark",
)


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
    from .console import printable

    try:
        app()
    except SerannError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        sys.exit(error.exit_code)
