"""What must hold of experiments: plain data that come back as they were, checked where the user's words come in."""

import re
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from vaekit import api
from vaekit.api import assignment, train
from vaekit.assembly.recipes import choose, recipes
from vaekit.assembly.settle import resolve
from vaekit.config import Experiment, fields
from vaekit.errors import VaekitError
from vaekit.models.fitted_priors import sampler

laws = settings(max_examples=60, deadline=None)
SECTIONS = {name: section.annotation for name, section in Experiment.model_fields.items()}
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


def annotation(name: str) -> Any:
    section, field = name.split(".")
    info = SECTIONS[section].model_fields[field]
    return (info.annotation, *info.metadata)


def candidates(kind: Any) -> st.SearchStrategy:
    """Values of about the right kind; those that the field doesn't take are left out by `valid`."""
    choices = [*get_args(kind)] if get_origin(kind) else [kind]
    named = [
        choice
        for choice in choices
        if isinstance(choice, (str, int)) and not isinstance(choice, bool)
    ]
    return st.one_of(
        st.none(), st.booleans(), st.integers(0, 2**31 - 1), st.floats(0, 1e6), WORDS,
        st.lists(st.integers(1, 512), min_size=1, max_size=3),
        *([st.sampled_from(named)] if named else []),
    )  # fmt: skip


@st.composite
def settings_of_one_field(draw) -> tuple[str, Any]:
    name = draw(st.sampled_from(sorted(fields())))
    section, field = name.split(".")
    value = draw(candidates(annotation(name)[0]))
    try:
        return name, SECTIONS[section].model_validate({field: value}).model_dump(mode="json")[field]
    except ValueError:
        return name, SECTIONS[section]().model_dump(mode="json")[field]


def flat(experiment: Experiment) -> dict[str, Any]:
    return {
        f"{section}.{field}": value
        for section, part in experiment.model_dump(mode="json").items()
        for field, value in part.items()
    }


@laws
@given(settings_of_one_field())
def test_a_valid_value_set_by_field_is_there_alone_and_comes_back_from_yaml(
    tmp_path_factory, setting
):
    name, value = setting
    changed = Experiment().override(assignment(name, value))
    assert flat(changed) == flat(Experiment()) | {name: value}
    path = tmp_path_factory.mktemp("experiment") / "experiment.yaml"
    path.write_text(changed.to_yaml(), encoding="utf-8")
    assert Experiment.read(path) == changed
    assert Experiment.checked(changed.model_dump(mode="json")) == changed


@laws
@given(st.lists(settings_of_one_field(), max_size=6))
def test_of_several_values_for_a_field_the_last_one_counts(settings):
    changed = Experiment().override(*(assignment(name, value) for name, value in settings))
    assert flat(changed) == flat(Experiment()) | dict(settings)


def test_without_changes_an_override_changes_nothing():
    assert Experiment().override() == Experiment()


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_is_an_experiment_that_comes_back_from_yaml(tmp_path, name):
    experiment = choose("digits", name)
    (tmp_path / "e.yaml").write_text(experiment.to_yaml())
    assert Experiment.read(tmp_path / "e.yaml") == experiment
    assert experiment.data.source == "digits"


@pytest.mark.parametrize("name", [name for name in fields() if not name.endswith(".size")])
def test_a_field_goes_by_its_own_name_where_only_one_has_it(name):
    assert (
        Experiment().override(assignment(name.split(".")[1], flat(Experiment())[name]))
        == Experiment()
    )


@pytest.mark.parametrize(
    ("word", "value"),
    [("lr=3e-4", 3e-4), ("lr=1E-4", 1e-4), ("lr=.5", 0.5), ("lr=1", 1.0), ("lr=0.25", 0.25)],
)
def test_numbers_are_read_as_people_write_them(word, value):
    assert Experiment().override(word).train.lr == value


@pytest.mark.parametrize(
    ("words", "value"),
    [("hidden=[32]", (32,)), ("hidden=[512, 512]", (512, 512)), ("hidden=null", None)],
)
def test_lists_are_read_as_people_write_them(words, value):
    assert Experiment().override(words).model.hidden == value


@pytest.mark.parametrize("precision", ["32", "'32'"])
def test_precision_32_is_a_word_and_a_number(precision):
    assert Experiment().override(f"precision={precision}").train.precision == "32"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("lrr=1", "there is no field 'lrr'; did you mean 'lr'?"),
        ("train.lrr=1", "there is no field 'train.lrr'; did you mean 'train.lr'?"),
        ("qqqqqq=1", "there is no field 'qqqqqq'; there are: "),
        ("recepton=1", "there is no field 'recepton'; there are: "),
        ("=1", "there is no field ''; there are: "),
        ("size=8", "'size' could be data.size or model.size; say which"),
        ("lr", "'lr': expected field=value, such as train.lr=3e-4"),
        ("lr=0", "train.lr: input should be greater than 0, got 0"),
        (
            "lr=fast",
            "train.lr: input should be a valid number, unable to parse string as a number, got 'fast'",
        ),
        ("lr=", "train.lr: input should be a valid number, got None"),
        ("lr=nan", "train.lr: "),
        (
            "latent=2.5",
            "model.latent: input should be a valid integer, got a number with a fractional part, got 2.5",
        ),
        ("channels=2", "data.channels: input should be 1 or 3, got 2"),
        ("holdout=1", "data.holdout: input should be less than 1, got 1"),
        ("ema=1", "train.ema: input should be less than 1, got 1"),
        (
            "model.size=huge",
            "model.size: input should be 'tiny', 'small', 'base' or 'large', got 'huge'",
        ),
        ("seed=-1", "train.seed: input should be greater than or equal to 0, got -1"),
        ("hidden=[0]", "model.hidden: input should be greater than 0, got 0"),
        ("epochs=0", "train.epochs: input should be greater than 0, got 0"),
        ("clip=1", "train.clip: input should be greater than 1, got 1"),
    ],
)
def test_a_mistake_is_told_in_one_line_that_names_the_field_and_what_came(assignment, words):
    with pytest.raises(VaekitError) as caught:
        Experiment().override(assignment)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {lrr: 1}", "there is no field 'train.lrr'; did you mean 'train.lr'?"),
        ("train: {lr: -1}", "train.lr: input should be greater than 0, got -1"),
        ("trian: {}", "there is no field 'trian'"),
        ("train: [1", "is not valid YAML"),
    ],
)
def test_a_mistake_in_a_file_is_told_in_one_line(tmp_path, text, words):
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(VaekitError) as caught:
        Experiment.read(tmp_path / "e.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told_as_such(tmp_path):
    with pytest.raises(
        VaekitError, match=r"none.yaml: cannot be read \(No such file or directory\); expected an"
    ):
        Experiment.read(tmp_path / "none.yaml")
    with pytest.raises(VaekitError, match="cannot be read"):
        Experiment.read(tmp_path)


def test_yaml_that_would_build_objects_is_refused(tmp_path):
    (tmp_path / "e.yaml").write_text("data: !!python/object/apply:os.system ['touch /tmp/broken']")
    with pytest.raises(VaekitError, match="is not valid YAML"):
        Experiment.read(tmp_path / "e.yaml")


def test_an_experiment_is_never_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        Experiment().train.lr = 1.0
    with pytest.raises(ValueError, match="frozen"):
        Experiment().train = None


@pytest.mark.parametrize("name", fields())
def test_every_field_describes_itself_in_json_schema(name):
    kind = annotation(name)[0]
    assert TypeAdapter(kind).json_schema()


def test_python_values_mean_what_they_are_not_what_their_text_would(monkeypatch):
    """Tuples, None, and words that look like numbers or like YAML."""
    seen = []
    monkeypatch.setattr("vaekit.api.read", lambda experiment: seen.append(experiment) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(
            "digits",
            hidden=(32, 16),
            array="7",
            labels="a: [b",
            max_minutes=None,
            lr=1e-5,
            compile=False,
        )
    (experiment,) = seen
    assert experiment.model.hidden == (32, 16)
    assert (experiment.data.array, experiment.data.labels) == ("7", "a: [b")
    assert (experiment.train.max_minutes, experiment.train.lr, experiment.train.compile) == (
        None,
        1e-5,
        False,
    )


@pytest.mark.parametrize(
    ("change", "example"),
    [
        ("prior=mixture:", "prior 'mixture:': expected a number after the colon, as in mixture:10"),
        ("prior=vamp:", "prior 'vamp:': expected a number after the colon, as in vamp:500"),
        ("latent=vq:", "latent 'vq:': expected a number after the colon, as in vq:512"),
        ("latent=fsq:", "as in fsq:8,5,5,5"),
        ("bound=iwae:", "bound 'iwae:': expected a number after the colon, as in iwae:5"),
        ("bound=ciwae:", "as in ciwae:8,0.5"),
        ("bound=elbo+beta-tc:", "'beta-tc:': expected a number after the colon, as in beta-tc:6"),
        ("likelihood=gaussian:", "likelihood 'gaussian:': expected a number after the colon"),
        ("likelihood=logistic-mixture:", "as in logistic-mixture:10"),
    ],
)
def test_a_word_with_a_colon_and_nothing_behind_it_lacks_a_number(
    change: str, example: str
) -> None:
    experiment = choose("digits").override(change)
    with pytest.raises(VaekitError, match=re.escape(example)):
        resolve(experiment, api.read(experiment))


def test_a_word_with_a_colon_is_no_mapping_and_a_mapping_is_none_of_its_words() -> None:
    assert Experiment().override("prior=mixture:").model.prior == "mixture:"
    changed = Experiment().override("kinds={zip: category}")
    assert changed.data.kinds == {"zip": "category"}


@pytest.mark.parametrize("word", ["gmm:", "diag:"])
def test_a_sampler_with_a_colon_and_nothing_behind_it_lacks_a_number(word: str) -> None:
    with pytest.raises(VaekitError, match=f"'{word}': expected a number after the colon, as in"):
        sampler(word, 2)
