"""The error that vaekit raises for mistakes of the user."""


class VaekitError(Exception):
    """A mistake the user can correct. Its sentence says what was expected, what came and what to do."""


def require_number(kind: str, word: str, example: str) -> None:
    """Raise a VaekitError if nothing follows the colon in a setting such as `mixture:`."""
    if word.endswith(":"):
        raise VaekitError(f"{kind} '{word}': expected a number after the colon, as in {example}")
