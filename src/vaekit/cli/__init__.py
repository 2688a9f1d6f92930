"""The command line: one short function per verb. Results go to stdout, progress to stderr."""

from vaekit.cli.app import main

__all__ = ["main"]
