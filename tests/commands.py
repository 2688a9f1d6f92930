"""The command line, called from a test."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from vaekit.cli import app as application


class Result(NamedTuple):
    code: int
    out: str
    err: str


def call(*words: object) -> Result:
    """The command line, in this process."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["vaekit", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            application.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.argv = before
    return Result(code, out.getvalue(), err.getvalue())
