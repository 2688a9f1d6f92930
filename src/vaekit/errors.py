"""The one error that users see."""


class VaekitError(Exception):
    """A mistake the user can mend: one sentence that says what was expected, what came and what to do."""
