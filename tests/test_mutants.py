"""The laws know the mistakes that they are there for."""

from __future__ import annotations

import pytest
import torch

from mutants import Mutant, function_at
from mutants_of_bounds import BOUNDS, GRADIENTS
from mutants_of_latents import LATENTS
from mutants_of_priors import PRIORS
from mutants_of_terms import TERMS

MUTANTS = [*BOUNDS, *GRADIENTS, *LATENTS, *PRIORS, *TERMS]

EACH = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
BROKEN = (AssertionError, pytest.fail.Exception)
"""What a law raises when it does not hold."""


@EACH
def test_the_law_holds_and_knows_the_mistake(mutant: Mutant) -> None:
    """It passes as the library is, fails with the mistake in it, and the mistake is gone afterwards."""
    was = function_at(mutant.where).__code__
    mutant.law()
    with mutant.made():
        torch.manual_seed(0)
        with pytest.raises(BROKEN):
            mutant.law()
    assert function_at(mutant.where).__code__ is was


def test_no_two_mistakes_have_one_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
