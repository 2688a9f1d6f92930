"""What the words of the command line cannot ask for: each mistake is told in one sentence that says what fits."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

import vaekit
from commands import call
from kinds import IMAGES, TINY, refused, run_of, write_digits
from vaekit.assembly.objectives import TERMS

LABELLED, PLAIN, CODES = (
    "prior=learned condition=label,age",
    "prior=standard",
    "latent=vq:8 prior=uniform",
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folder(digits: Path) -> Callable[[str], Path]:
    """The folder of a run of that kind, which was trained for two steps."""

    @cache
    def of(kind: str) -> Path:
        run = run_of(digits, digits.parent / f"run-{len(kind)}", *kind.split())
        list(run.events())
        return run.folder

    return of


LYING = ("factor", "beta-tc", "dip", "dip-i", "mmd")
"""Terms about where the draws of one continuous latent lie."""

WRONG = [
    ("condition=lable", "no array 'lable'.*did you mean 'label'"),
    ("condition=label,label", "'label' is named twice"),
    ("condition=short", f"'short' has 7 values for {IMAGES} images"),
    ("condition=same", "'same' has only one value"),
    ("condition=word:number", "'cat', which is not a finite number: .* use word:category"),
    ("condition=age:colour", "expected age:category or age:number"),
    *(
        (f"latent={word}", f"'{word}': expected .*whole number")
        for word in ("vq:0", "vq:1", "vq-gradient:0")
    ),
    *(
        (f"latent={word}", f"'{word}': expected 2 whole numbers with 'x'")
        for word in ("rvq:0x4", "rvq:4x0", "rvq:4")
    ),
    *((f"latent=categorical:{numbers}", "each of at least 2") for numbers in ("0x4", "4x1", "4")),
    *((f"latent=fsq:{levels}", "each of at least 3") for levels in ("1", "8,1", "2", "8,x")),
    ("latent=0", "model.latent.*greater than 0"),
    ("latent=rvq:2x1", "2 codes or more"),
    ("latent=vq:9999", "9,999 codes are more than the 1,728 places.*ask for fewer, such as vq:216"),
    ("latent=vq:100000", "100,000 is more than the 65,536"),
    ("latent=fsq:255,255,255", "16,581,375 codes, more than 65,536"),
    *(
        (f"prior={word}:0", f"'{word}:0': expected a whole number of at least 1")
        for word in ("mixture", "vamp")
    ),
    *((f"prior={word}:100000", "100,000 is more than the 10,000") for word in ("mixture", "vamp")),
    *(
        (f"prior={word}:500", "500 components are too many for 108 training data; ask for fewer")
        for word in ("mixture", "vamp")
    ),
    *(
        (f"bound={word}:0", f"'{word}:0': expected a whole number of at least 1")
        for word in ("iwae", "dreg", "ciwae")
    ),
    *(
        (f"bound=miwae:{numbers}", "expected 2 whole numbers with 'x'")
        for numbers in ("0x3", "3x0", "3")
    ),
    ("bound=ciwae:4,2", "expected a number between 0 and 1, got '2'"),
    ("bound=iwae:100000", "100,000 is more than the 4,096"),
    *((f"bound=elbo+{name}:0", f"'{name}:0': expected a positive number") for name in TERMS),
    *((f"bound=elbo+{name}:nan", f"'{name}:nan': expected a positive number") for name in TERMS),
    ("bound=elbo+free-bits:0.1/dims", "expected one of /dim, /latent, /total"),
    (
        "latent=vq:8 prior=flow",
        "'flow' is for latents that are continuous, these are codes; there are: autoregressive",
    ),
    (
        "prior=autoregressive",
        "'autoregressive' is for latents that are codes, these are continuous; there are: standard",
    ),
    ("latent=categorical:3x4 prior=vamp:3", "these are categories; there are: learned, uniform"),
    ("latent=vq:8 posterior=flow", "'flow' is for continuous latents such as 16, not for 'vq:8'"),
    ("latent=categorical:3x4 posterior=flow", "'flow' is for continuous latents such as 16"),
    (
        "latent=vq:8 levels=2",
        "a hierarchy has normal latents such as 20, not latent 'vq:8'; use levels=1",
    ),
    ("latent=categorical:3x4 levels=2", "not latent 'categorical:3x4'; use levels=1"),
    ("posterior=flow levels=2", "not posterior 'flow'; use levels=1"),
    ("levels=0", "model.levels.*greater than 0"),
    ("levels=99", "expected at most 16"),
    (
        "bound=dreg:3 levels=2",
        "defined for one latent, but this model has 2; train it with the iwae",
    ),
    ("bound=dreg:3 latent=vq:8", "all draws of an image's codes are the same.*use elbo"),
    ("bound=dreg:3 posterior=flow", "with the elbo.*normal posterior"),
    ("bound=stl latent=categorical:3x4", "with the elbo.*normal posterior"),
    ("bound=iwae:3 latent=vq:8", "all draws of an image's codes are the same.*use elbo"),
    ("bound=miwae:2x3 latent=fsq:4,4", "all draws of an image's codes are the same.*use elbo"),
    ("bound=elbo+free-bits:0.1 prior=mixture:3", "dimensions are independent.*latent.*total"),
    ("bound=elbo+free-bits:0.1/dim prior=vamp:3", "dimensions are independent.*latent.*total"),
    *(
        (
            f"bound=elbo+{n}:5 latent=vq:8",
            "latents that are continuous, these are codes; leave it out",
        )
        for n in LYING
    ),
    *(
        (
            f"bound=elbo+{n}:5 levels=2",
            "defined for one latent, but the model has 2; leave the term out",
        )
        for n in LYING
    ),
    ("bound=elbo+beta-tc:5 posterior=flow", "dimensions are independent given the data"),
    ("latent=categorical:60000x60000", "3,600,000,000 is more than the 65,536"),
    ("bound=miwae:4096x4096", "16,777,216 is more than the 4,096"),
    *(
        (f"latent=vq:8 bound=elbo+{term}", "would make the prior of codes worse")
        for term in ("target-rate:9", "free-bits:9/latent")
    ),
    ("bound=elbo+beta-tc:6+factor:3", "'factor:3' does about the same"),
    ("bound=elbo+dip:1+dip-i:1", "'dip-i:1' does about the same"),
    ("bound=elbo+beta-tc:0.5", "expected at least 1"),
    ("bound=elbo+mmd:3+mmd:4", "'mmd:4' does about the same"),
    ("bound=iwae:3+free-bits:1", "'free-bits:1' replaces the KL"),
    ("bound=iwae:3 beta=2", "the iwae bound has no beta"),
    ("architecture=conv hidden=[8]", "model.hidden belongs to the mlp; leave it out"),
    ("architecture=conv hidden=null dropout=0.1", "model.dropout belongs to the mlp; leave it out"),
    ("activation=gated levels=2", "cannot be gated; use model.activation=silu"),
    # words that are nearly right
    ("latent=vqq:8", "no latent 'vqq:8'; did you mean 'vq"),
    ("latent=categoric:3x4", "did you mean 'categorical"),
    ("posterior=flo", "no posterior 'flo'; did you mean 'flow'"),
    ("prior=vampp:5", "no prior 'vampp:5'; did you mean 'vamp"),
    ("prior=standrad", "did you mean 'standard'"),
    ("prior=flow:3", "no prior 'flow:3'; did you mean 'flow'"),
    ("latent=vq:8 prior=autoregresive", "did you mean 'autoregressive'"),
    ("latent=categorical:3x4 prior=unifrom", "did you mean 'uniform'"),
    ("bound=iwea:5", "no bound 'iwea:5'; did you mean 'iwae"),
    ("bound=elbo+betatc:3", "did you mean 'beta-tc"),
    ("likelihood=bernouli", "did you mean 'bernoulli'"),
    ("activation=gatd", "'silu', 'gelu', 'softplus' or 'gated', got 'gatd'"),
    ("lattent=3", "no field 'lattent'; did you mean 'latent'"),
]


@pytest.mark.parametrize(("words", "says"), WRONG)
def test_what_does_not_fit_is_told_before_anything_starts(
    digits: Path, tmp_path: Path, words: str, says: str
) -> None:
    line = refused(
        "train", digits, "--recipe", "images", *TINY, *words.split(), "--out", tmp_path / "run"
    )
    assert re.search(says, line), line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--where", "label=33"], "condition label: there is no class '33'"),
        (["--where", "lable=3"], "no condition 'lable'; did you mean 'label'"),
        (["--where", "label"], "expected field=value, such as label=7"),
        (["--where", "age=old"], "age=old: expected a number"),
        (["--guidance", "2"], "give one, such as where label=7"),
    ],
)
def test_what_cannot_be_asked_for_is_told(
    folder: Callable, tmp_path: Path, words: list[str], says: str
) -> None:
    run = folder(LABELLED)
    assert says in refused("generate", run, *words, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_class_that_was_never_seen_is_told_with_the_one_that_was(
    folder: Callable, tmp_path: Path
) -> None:
    line = refused(
        "generate", folder("condition=word"), "--where", "word=catt", "--out", tmp_path / "new"
    )
    assert "no class 'catt'; did you mean 'cat'" in line


def test_a_run_without_conditions_is_asked_for_none(folder: Callable) -> None:
    run = folder(PLAIN)
    assert "it was trained without conditions" in refused("generate", run, "--where", "label=3")
    with pytest.raises(
        vaekit.VaekitError, match=r"expected a context of shape \(2, 0\), got \(2, 1\)"
    ):
        vaekit.load(run).encode(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1))


@pytest.mark.parametrize("shape", [(2, 1), (3, 2), (2,)])
def test_conditions_of_another_form_are_refused(folder: Callable, shape: tuple[int, ...]) -> None:
    run = folder(LABELLED)
    model = vaekit.load(run)
    for use in (
        lambda c: model.encode(torch.zeros(2, 1, 8, 8), c),
        lambda c: model.decode(torch.zeros(2, 3), c),
    ):
        with pytest.raises(vaekit.VaekitError, match=r"expected a context of shape \(2, 2\)"):
            use(torch.zeros(shape))


@pytest.mark.parametrize(
    ("kind", "word", "says"),
    [
        (CODES, "gmm:3", "latents that are codes"),
        (PLAIN, "gmm:0", "gmm:10"),
        (PLAIN, "gm:3", "gmm:10"),
        (
            LABELLED,
            "gmm:3",
            "supports is one category; this model has the conditions label, age; use sampler flow",
        ),
        ("levels=2", "flow", "this model has several latents"),
    ],
)
def test_a_sampler_that_does_not_fit_is_told(
    folder: Callable, tmp_path: Path, kind: str, word: str, says: str
) -> None:
    assert says in refused("generate", folder(kind), "--sampler", word, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_measure_that_a_model_does_not_have_is_left_out_and_why(folder: Callable) -> None:
    run = folder(CODES)
    result = call("evaluate", run, "--metrics", "nll", "--draws", 2)
    assert result.code == 0
    assert "nll left out: a datum has exactly one code" in result.err
    assert "codes_used" in result.out


def test_disentanglement_wants_known_factors(digits: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    list(run_of(digits.with_name("bare.npz"), run).events())
    for words, says in (([], "no array 'label'"), (["--factors", "shape"], "no array 'shape'")):
        assert says in refused("evaluate", run, "--metrics", "disentanglement", *words)
    assert "expected some of nll, samples, disentanglement, aug" in refused(
        "evaluate", run, "--metrics", "nlll"
    )
