"""The command line: one thin function a verb. Results on stdout, progress on stderr."""

from vaekit.cli.app import main

__all__ = ["main"]
