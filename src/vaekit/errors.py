"""The one error that users see."""


class VaekitError(Exception):
    """A mistake the user can mend: one sentence that says what was expected, what came and what to do."""


def require_number(kind: str, word: str, example: str) -> None:
    """Raise a VaekitError where nothing follows the colon of a word such as `mixture:`."""
    if word.endswith(":"):
        raise VaekitError(f"{kind} '{word}': expected a number after the colon, as in {example}")
