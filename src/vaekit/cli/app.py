"""The application. Exit codes: 0 done, 1 error (told in one line), 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import os
import sys
import textwrap
import time

import typer

from vaekit.cli.kinds import with_options
from vaekit.cli.measure import evaluate, info
from vaekit.cli.score import score
from vaekit.cli.terminal import complain
from vaekit.cli.train import train
from vaekit.cli.verbs import augment, encode, generate, impute, interpolate, reconstruct
from vaekit.cli.words import leading
from vaekit.errors import VaekitError

PATIENCE = 30
"""Seconds that a process other than the leading one waits before it prints an error itself."""

VERBS = (
    train,
    generate,
    reconstruct,
    encode,
    interpolate,
    impute,
    score,
    augment,
    evaluate,
    info,
)


def build() -> typer.Typer:
    """The application, with the options of all kinds of data that are registered when it is called."""
    app = typer.Typer(
        help="Learn to compress data into a probabilistic latent space, and create new data from it.",
        epilog="Begin with: [bold]vaekit train digits[/bold], then [bold]vaekit generate runs/digits -n 64[/bold]",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for verb in VERBS:
        examples = (verb.__doc__ or "").split("Examples:")
        app.command(help=examples[0], epilog="Examples:" + examples[1])(with_options(verb))
    app.callback(invoke_without_command=False)(_options)
    return app


def _options(
    debug: bool = typer.Option(
        False, "--debug", help="Show the traceback of an error (can also stand after a verb)."
    ),
    version: bool = typer.Option(
        False, "--version", help="Show the version.", is_eager=True, callback=lambda v: _version(v)
    ),
) -> None:
    pass


def _version(asked: bool) -> None:
    if asked:
        from vaekit import __version__

        print(f"vaekit {__version__}")
        raise typer.Exit


def _leader_ends() -> bool:
    """Whether the leading process of several ends within `PATIENCE` seconds.

    An error that all processes meet is printed by the leading one only. When that one ends, the launcher ends this
    process too, or this process loses its parent. If the leader does not end, only this process failed, and it has
    to print the error itself.
    """
    parent, until = os.getppid(), time.monotonic() + PATIENCE
    while os.getppid() == parent:
        if time.monotonic() >= until:
            return False
        time.sleep(0.1)
    return True


SPINS = "2000"
"""How often a waiting thread checks whether the others are done before it sleeps (some microseconds)."""


def _let_threads_sleep() -> None:
    """Let waiting threads of GNU OpenMP spin only briefly. Must run before torch is imported.

    Threads that spin for milliseconds, as they do by default, made steps many times slower if another program used
    the same cores. Threads that sleep at once made the steps of small nets twice as slow on a quiet machine.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def main() -> None:
    """Run the command line."""
    _let_threads_sleep()
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        build()(arguments, prog_name="vaekit")
    except VaekitError as error:
        if debug:
            raise
        if leading() or not _leader_ends():
            complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}; what was saved before is kept")
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        reason = textwrap.shorten(str(error), 400, placeholder=" ...")
        complain(
            f"unexpected {type(error).__name__}: {reason} (this is a bug: run again with --debug and report it)"
        )
        sys.exit(1)
