"""What must hold of the command line where the data are a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import vaekit
from commands import call

SHORT = ["--size", "tiny", "--steps", "400", "validations=4", "--seed", "0"]
COLOURS = ("red", "green", "blue")


def made(n: int, seed: int = 0) -> list[list[str]]:
    """Rows of a table with a bit of everything: `height` follows `colour`, `paid` follows `height`; some cells lack."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        colour = random.choice(3, p=[0.6, 0.3, 0.1])
        height = 10.0 * colour + random.normal()
        paid = "yes" if height > 5 else "no"
        weight = "" if random.random() < 0.2 else f"{random.lognormal():.2f}"
        rows.append(
            [
                f"k{i}",
                COLOURS[colour],
                f"{height:.3f}",
                weight,
                paid,
                "7",
                f"2024-01-{1 + i % 28:02d}",
            ]
        )
    return rows


HEADER = ["key", "colour", "height", "weight", "paid", "always", "day"]


def write(path: Path, rows: list[list[str]], header: list[str] = HEADER) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def source(place) -> Path:
    return write(place / "people.csv", made(400))


@pytest.fixture(scope="module")
def trained(place, source):
    result = call("train", source, *SHORT, "--out", place / "run")
    assert result.code == 0, result.err
    return result


@pytest.fixture(scope="module")
def run(place, trained) -> Path:
    return place / "run"


@pytest.fixture(scope="module")
def told(place, source) -> Path:
    """A model that is told the colour."""
    result = call("train", source, *SHORT, "--condition", "colour", "--out", place / "told")
    assert result.code == 0, result.err
    return place / "told"


def done(*words: object) -> dict:
    result = call(*words, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


def refused(*words: object) -> str:
    result = call(*words)
    assert result.code == 1, result.out
    assert "Traceback" not in result.err
    assert "this is a bug" not in result.err
    return result.err.splitlines()[-1].removeprefix("error: ")


def test_free_bits_are_explained_in_the_log(trained) -> None:
    assert "KL below 3 nats in total costs nothing" in trained.err
    assert "KL in the loss 3.00" in trained.err


def test_training_shows_what_columns_are_taken_for(trained, run) -> None:
    kinds = {
        line.split()[0]: line
        for line in trained.err.splitlines()
        if line.split()[:1] and line.split()[0] in HEADER
    }
    assert "left out" in kinds["key"]
    assert "left out" in kinds["always"]
    for name, kind in (
        ("colour", "category"),
        ("height", "number"),
        ("paid", "boolean"),
        ("day", "date"),
    ):
        assert f" {kind} " in kinds[name], kinds[name]
    assert "rows" in trained.out
    page = (run / "report.html").read_text()
    assert "New rows" in page
    assert "images" not in page.partition("<details>")[0]


def test_quiet_means_the_result_alone(source, tmp_path) -> None:
    words = ("--size", "tiny", "--steps", "8", "validations=4", "--seed", "0", "-q")
    result = call("train", source, *words, "--out", tmp_path / "run")
    assert result.code == 0
    assert result.err == ""
    assert [line.split()[0] for line in result.out.splitlines()] == ["elbo", "report:"]


def test_new_rows_are_as_the_old_ones(run, place) -> None:
    out = place / "new.csv"
    assert done("generate", run, "-n", 500, "--seed", 1, "--out", out)["n"] == 500
    rows = read(out)
    assert list(rows[0]) == [
        name for name in HEADER if name != "key"
    ]  # a constant comes back, an id does not
    assert {row["colour"] for row in rows} <= set(COLOURS)
    assert {row["always"] for row in rows} == {"7"}
    assert {row["paid"] for row in rows} <= {"yes", "no"}
    assert (
        0.1 < np.mean([row["weight"] == "" for row in rows]) < 0.3
    )  # cells are missing as often as they were
    assert all(row["day"].startswith("2024-01-") for row in rows)
    share = np.mean([row["colour"] == "red" for row in rows])
    assert 0.45 < share < 0.75
    again = place / "again.csv"
    done("generate", run, "-n", 500, "--seed", 1, "--out", again)
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("model", ["run", "told"])
def test_rows_come_as_asked(request, model, place) -> None:
    """Of a rare class, and with what goes with it: by holding a column, or by telling the model."""
    out = place / f"blue-{model}.csv"
    done(
        "generate", request.getfixturevalue(model), "-n", 50, "--where", "colour=blue", "--out", out
    )
    rows = read(out)
    assert {row["colour"] for row in rows} == {"blue"}
    assert np.median([float(row["height"]) for row in rows]) > 12


def test_empty_cells_are_filled_and_the_others_left(run, place) -> None:
    rows = made(60, seed=5)
    holes = [[*row[:1], "", *row[2:]] for row in rows]
    answer = done("impute", run, write(place / "holes.csv", holes), "--out", place / "filled.csv")
    filled = read(place / "filled.csv")
    assert answer["cells"] == 60 + sum(row[3] == "" for row in rows)
    assert all(row["colour"] in COLOURS and row["weight"] for row in filled)
    for before, after in zip(holes, filled, strict=True):
        assert list(after) == HEADER
        came = dict(zip(HEADER, before, strict=True))
        assert all(
            float(after[name]) == float(came[name]) for name in ("height", "weight") if came[name]
        )
        assert all(after[name] == came[name] for name in ("key", "paid", "always", "day"))
    right = np.mean([row["colour"] == truth[1] for row, truth in zip(filled, rows, strict=True)])
    assert right > 0.8  # the height tells the colour


def test_what_the_model_does_not_draw_stays_as_it_came(told, place) -> None:
    """Classes and columns that it does not know, cells of what it is told, and every copy the same."""
    rows = [[*row, "=1+1"] for row in made(30, seed=6)]
    rows[0][4], rows[1][1], rows[2][1] = "", "", "violet"
    came = write(place / "came.csv", rows, [*HEADER, "remark"])
    result = call("impute", told, came, "--draws", 2, "--out", place / "kept.csv")
    assert "colour: 1 empty cell stays empty" in result.err
    assert "1 rows" not in result.err
    kept = read(place / "kept.csv")
    for i, (before, after) in enumerate(zip(read(came) * 2, kept, strict=True)):
        assert after.pop("draw") == str(i // 30)
        assert all(
            after[name] == before[name] for name in ("key", "colour", "always", "day", "remark")
        )
        assert after["paid"] == before["paid"] or not before["paid"]
        assert after["paid"]
        assert after["weight"]
    again = refused("impute", told, place / "kept.csv", "--draws", 2, "--out", place / "never.csv")
    assert "has a column 'draw' already" in again


def test_what_new_rows_do_without_is_told(told, run, place) -> None:
    plain = call("generate", told, "-n", 5, "--out", place / "without.csv").err
    assert "New rows come without key (an id: 400 rows, all different)" in plain
    assert "so new rows come without them: colour; give one, such as --where colour=red" in plain
    asked = call(
        "generate", told, "-n", 5, "--where", "colour=red", "--out", place / "with.csv"
    ).err
    assert "say it, such as" not in asked
    both = call("augment", run, "--balance", "paid", "-n", 300, "--out", place / "both.csv").err
    assert "All rows, also the real ones, come without key" in both
    assert "360 rows of the training part; held-out rows are left out" in both


def test_what_cannot_be_drawn_is_refused_without_notes(told, place) -> None:
    refused = call(
        "generate", told, "-n", 5, "--where", "paid=maybe", "--out", place / "none.csv"
    ).err
    (line,) = refused.splitlines()
    assert line.startswith("error: ")


def test_columns_left_out_as_too_large_are_named_as_unwritten(place) -> None:
    rows = [[*row, 2**60 + i] for i, row in enumerate(made(60))]
    source = write(place / "serials.csv", rows, [*HEADER, "serial"])
    call("train", source, "--size", "tiny", "--steps", "3", "--out", place / "serials")
    told = call("generate", place / "serials", "-n", 5, "--out", place / "serials-new.csv").err
    assert "key (an id: 60 rows, all different), serial (whole numbers beyond 2^53" in told
    assert "serial" not in read(place / "serials-new.csv")[0]


def test_rare_classes_are_filled_up(run, place) -> None:
    answer = done("augment", run, "--balance", "colour", "--out", place / "more.parquet")
    counts = {name: answer.get(name, 0) for name in COLOURS}
    assert answer["new"] == sum(counts.values())
    assert counts["red"] == 0 < counts["green"] < counts["blue"]
    assert "every class has" in refused("augment", run, "--balance", "colour", "-n", "1")


NUMBERS = [
    "score",
    "p_value",
    *(f"score of {name}" for name in ("colour", "height", "weight", "paid", "day")),
]


def test_odd_rows_are_found_and_why(run, place) -> None:
    """Of rows like the others, about as many as allowed; of odd ones, by the column that made them so."""
    plain = made(300, seed=11)
    height = [["x", "red", "400.0", "1.0", "no", "7", "2024-01-02"]]  # a height beyond all
    clash = [
        ["y", "red", "20.0", "1.0", "no", "7", "2024-01-02"]
    ]  # red is low, and what is high is paid
    source = write(place / "odd.csv", [*plain, *height, *clash])
    answer = done("score", run, source, "--fpr", "0.05", "--out", place / "scores.csv")
    rows = read(place / "scores.csv")
    assert answer["n"] == len(rows) == 302
    flagged = [row["odd"] == "true" for row in rows]
    assert 0 <= sum(flagged[:300]) <= 35
    assert flagged[300:] == [True, True]
    assert rows[300]["because"].startswith("height=400")
    assert all(bool(row["because"]) == (row["odd"] == "true") for row in rows)
    assert answer["odd"] == sum(flagged)
    assert {odd["row"] for odd in answer["oddest"][:2]} == {301, 302}
    assert answer["oddest"][0]["because"] in (rows[300]["because"], rows[301]["because"])
    assert all(
        float(row[name]) == float(f"{float(row[name]):.6g}") for row in rows for name in NUMBERS
    )
    own = [
        float(rows[0][f"score of {name}"]) for name in ("colour", "height", "weight", "paid", "day")
    ]
    assert sum(own) == pytest.approx(float(rows[0]["score"]), abs=1e-4)
    again = place / "again-scores.csv"
    done(
        "score", run, write(place / "alone.csv", [plain[0]]), "--out", again
    )  # by the detector that is kept
    assert read(again)[0]["score"] == rows[0]["score"]


def test_the_oddest_rows_are_shown(run, place) -> None:
    """At most ten, with the cells that made them odd; a class that was never seen is odd, and named."""
    far = [[f"z{i}", "red", f"{400 + i}", "1.0", "no", "7", "2024-01-02"] for i in range(12)]
    unseen = [
        ["u", "mauve", "0.1", "1.0", "no", "7", "2024-01-02"],
        ["v", "", "0.1", "1.0", "no", "7", "2024-01-02"],
    ]
    source = write(place / "shown.csv", [*far, *unseen])
    result = call("score", run, source, "--fpr", "0.05", "--out", place / "shown-scores.csv")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split() == ["row", "score", "p_value", "because"]
    assert lines[11] == ""
    assert "height=411" in lines[1]
    rows = read(place / "shown-scores.csv")
    assert "colour of a class never seen" in rows[12]["because"]
    assert "classes that training did not see (mauve), which are odd in themselves" in result.err
    assert float(rows[13]["score of colour"]) + 1 < float(rows[12]["score of colour"])


@pytest.mark.parametrize("model", ["run", "told"])
@pytest.mark.parametrize("by", ["reconstruction", "elbo", "nll", "latent"])
def test_rows_are_scored_by_the_runs_own_model(request, model, by, place) -> None:
    """Column by column, what the latents add apart, the same alone as in a file, p-values by what was held out."""
    folder, out = request.getfixturevalue(model), place / f"{model}-{by}.csv"
    far = ["x", "red", "400.0", "1.0", "no", "7", "2024-01-02"]
    plain = made(90, seed=12)
    done(
        "score",
        folder,
        write(place / "by.csv", [*plain, far]),
        "--by",
        by,
        "--fpr",
        "0.1",
        "--out",
        out,
    )
    rows = read(out)
    adds = [name for name in rows[0] if name.startswith("score of ")]
    assert ("score of (latents)" in adds) == (by != "reconstruction")
    for row in rows:
        assert sum(float(row[name]) for name in adds) == pytest.approx(
            float(row["score"]), abs=2e-3
        )
    assert np.mean([row["odd"] == "true" for row in rows[:90]]) < 0.35
    if by != "latent":
        assert rows[90]["odd"] == "true"
        assert "height=400" in rows[90]["because"]
    alone = place / f"{model}-{by}-alone.csv"
    done("score", folder, write(place / "by-one.csv", [plain[7]]), "--by", by, "--out", alone)
    assert read(alone)[0]["score"] == rows[7]["score"]


def test_elbo_bounds_nll(run, place, source) -> None:
    """log p(x) by importance sampling is at least the bound, but for the noise of the draws."""
    scores = {}
    for by in ("elbo", "nll"):
        done("score", run, source, "--by", by, "--out", place / f"all-{by}.csv")
        scores[by] = np.array([float(row["score"]) for row in read(place / f"all-{by}.csv")])
    assert scores["nll"].mean() < scores["elbo"].mean()
    told = done("evaluate", run, source, "--draws", 0)["elbo"]
    assert scores["elbo"].mean() == pytest.approx(-told["value"], abs=6 * told["error"])


def test_codes_and_numbers(run, source, place) -> None:
    assert done("encode", run, source, "--out", place / "codes.csv")["n"] == 400
    codes = read(place / "codes.csv")
    assert list(codes[0]) == [
        "row",
        *(f"{what}_{i}" for what in ("mean", "scale") for i in range(8)),
    ]
    assert [code["row"] for code in codes] == [str(i) for i in range(1, 401)]
    trained = vaekit.load(run)
    assert float(codes[0]["mean_0"]) == float(trained.encode(source).mean[0, 0])
    assert len(trained.reconstruct(source)) == 400
    assert len(trained.interpolate(source, source, 3)) == 3
    numbers = done(
        "evaluate",
        run,
        write(place / "held.csv", made(200, seed=9)),
        "--draws",
        4,
        "--target",
        "paid",
    )
    assert numbers["samples"]["column_error"] < 0.2
    assert numbers["samples"]["utility"]["auroc"] > 0.8
    assert numbers["samples"]["utility"]["floor"]["auroc"] > 0.8
    assert numbers["samples"]["privacy"]["copies"] == 0
    page = Path(numbers["page"])
    assert (page.parents[1], page.name) == (run, "evaluation.html")
    assert all(
        f"<strong>{mark.capitalize()}." in page.read_text() for mark in numbers["verdicts"].values()
    )


def test_the_terminal_says_what_the_measures_of_rows_mean(run) -> None:
    lines = call("evaluate", run, "--draws", 0).out.splitlines()
    shown = {line.split()[0]: line for line in lines if "  " in line}
    assert shown["ratio"].endswith("good: at least held_ratio")
    assert shown["two_sample"].endswith("good: near 0.5, or as for training rows")
    parts = ("column_error", "pair_error", "copies", "near_copies", "closer", "membership")
    assert all("; good: " in shown[name] for name in parts)


def test_the_page_is_where_it_is_wanted_and_nothing_else(run, place) -> None:
    page = place / "pages" / "page.html"
    page.parent.mkdir()
    assert done("evaluate", run, "--draws", 0, "--out", page)["page"] == str(page)
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]
    before = page.read_bytes()
    assert "is there already" in refused("evaluate", run, "--draws", 0, "--out", page)
    assert page.read_bytes() == before


def test_new_rows_are_left_out_where_there_are_too_few_to_compare_with(run, place) -> None:
    few = write(place / "few.csv", made(12, seed=3))
    numbers = done("evaluate", run, few, "--draws", 2)
    assert "expected at least 20" in numbers["left_out"]["samples"]
    assert "nll" in numbers
    assert "page" not in numbers
    assert "there are 12" in refused("evaluate", run, few, "--metrics", "samples")


MISTAKES = {
    ("generate", "--where", "colur=blue"): "did you mean 'colour'?",
    ("generate", "--where", "colour=bleu"): "did you mean 'blue'?",
    ("generate", "--where", "height=tall"): "height",
    ("generate", "--where", "height=1e9"): "outside the range seen in training",
    ("generate", "--where", "key=k1"): "it is left out",
    ("generate", "--pixels", "mean"): "--pixels: is for images, and this run is of tables",
    ("generate", "--guidance", "2"): "--guidance: is for images",
    ("generate", "--out", "rows.xlsx"): "expected a file that ends in",
    ("augment", "--balance", "height"): "is not a category; there are: colour, paid",
    ("augment", "--balance", "nothing"): "no such column",
    ("score", "--by", "distance"): "expected ensemble, reconstruction, elbo, nll or latent",
    (
        "score",
        "--by",
        "elbo",
        "--contamination",
        "0.1",
    ): "contamination: only the score by ensemble uses it",
    ("encode", "--resize", "8"): "--resize: is for images",
    ("evaluate", "--target", "nothing"): "no such column",
    ("evaluate", "--out", "page.csv"): "that ends in .html",
    ("evaluate", "--metrics", "nll", "--out", "page.html"): "add --metrics nll,samples",
    ("encode", "missing.csv"): "there is no such file",
    ("generate", "-n", "0"): "-n 0: expected at least 1",
    ("generate", "--where", "height>1e9"): "outside the range seen in training",
    (
        "generate",
        "--where",
        "day>=soon",
    ): "where day>=soon: 'soon' is not a date; write it like 2024-01-01 (year-month-day)",
    ("generate", "--where", "colour>red"): "a range is for numbers and dates",
}


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_is_told_in_one_line(run, words) -> None:
    verb, *rest = words
    assert MISTAKES[words] in refused(verb, run, *rest)


def test_a_detector_of_one_training_row_is_refused_in_the_users_words(place) -> None:
    source = write(place / "two.csv", [["1.5", "2.5"], ["2.5", "3.7"]], ["a", "b"])
    assert call("train", source, *SHORT, "--out", place / "two").code == 0
    said = refused("score", place / "two")
    assert "at least 2 training rows; this run has 1, besides its held-out rows" in said
    assert (
        done("score", place / "two", "--by", "reconstruction", "--out", place / "two-scores.csv")[
            "n"
        ]
        == 1
    )


TRAINING = {
    ("--levels", "2"): "there is no hierarchy for tables",
    ("--latent", "vq:16"): "codes lie on a grid",
    ("--architecture", "conv"): "rows need chain or mlp",
    ("--likelihood", "bernoulli"): "there is no likelihood 'bernoulli' for columns",
    ("--resize", "8"): "--resize is for pictures",
    ("--condition", "colur"): "did you mean 'colour'?",
    ("--condition", "always"): "cannot be a condition or the labels",
    ("data.kinds={colour: kategory}",): "kategory",
    ("--binarise", "dynamic"): "is for pictures",
}


@pytest.mark.parametrize("words", TRAINING, ids=" ".join)
def test_what_does_not_suit_is_refused_before_training(source, place, words) -> None:
    assert TRAINING[words] in refused("train", source, *SHORT, *words, "--out", place / "never")
    assert not (place / "never").exists()


def test_tables_of_very_many_columns_are_refused(place) -> None:
    random = np.random.default_rng(0).normal(size=(5, 2001))
    wide = write(
        place / "wide.csv",
        [[f"{v:.3f}" for v in row] for row in random],
        [f"c{i}" for i in range(2001)],
    )
    assert "2,001 columns are more than the 2,000" in refused(
        "train", wide, "--out", place / "never"
    )


def test_wide_tables_share_one_network(place) -> None:
    random = np.random.default_rng(0).normal(size=(60, 160))
    wide = write(
        place / "wider.csv",
        [[f"{v:.3f}" for v in row] for row in random],
        [f"c{i}" for i in range(160)],
    )
    result = call("train", wide, "--size", "tiny", "--steps", "4", "--out", place / "wide-run")
    assert result.code == 0, result.err
    assert "architecture mlp: 160 columns" in result.err
    assert done("generate", place / "wide-run", "-n", 3, "--out", place / "wide-rows.csv")["n"] == 3


def test_a_run_is_resumed_on_its_own_rows_only(source, place) -> None:
    mine = write(place / "mine.csv", made(100))
    result = call("train", mine, *SHORT, "--max-time", "0.0001", "--out", place / "cut")
    assert result.code == 0, result.err
    write(mine, made(99))
    assert "put the data back" in refused("train", "--resume", place / "cut")
    write(mine, made(100))
    assert call("train", "--resume", place / "cut", "--max-time", "5").code == 0


@pytest.fixture(scope="module")
def orders(place) -> Path:
    """Goods at a price in cents, and what they cost together; the amount comes late on one line."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(300):
        price, pieces = round(random.lognormal(2, 0.5), 2), int(random.integers(1, 40))
        rows.append([f"{price:.2f}", str(pieces), f"{price * pieces + (i == 50):.2f}", "ab"[i % 2]])
    return write(place / "orders.csv", rows, ["price", "pieces", "total", "kind"])


@pytest.fixture(scope="module")
def ruled(place, orders) -> Path:
    words = ["--constraint", "total = price * pieces", "--constraint", "0.01 <= price"]
    result = call("train", orders, *SHORT, *words, "--out", place / "ruled")
    assert result.code == 0, result.err
    assert "broken by 1 of 300 rows, first on line 52" in result.err
    assert "computed" in next(line for line in result.err.splitlines() if line.startswith("total"))
    return place / "ruled"


def adds_up(row: dict[str, str]) -> bool:
    return abs(float(row["total"]) - float(row["price"]) * float(row["pieces"])) <= 0.005 + 1e-9


def test_constraints_hold_in_every_row_that_comes_out(ruled, orders, place) -> None:
    done(
        "generate",
        ruled,
        "-n",
        200,
        "--where",
        "pieces>20",
        "--where",
        "total=50..500",
        "--out",
        place / "r.csv",
    )
    rows = read(place / "r.csv")
    assert list(rows[0]) == ["price", "pieces", "total", "kind"]
    assert all(
        adds_up(row) and int(row["pieces"]) > 20 and 50 <= float(row["total"]) <= 500
        for row in rows
    )
    holes = [[*row.values()] for row in read(orders)]
    for i, row in enumerate(holes):
        row[i % 3] = ""
    done(
        "impute",
        ruled,
        write(place / "gaps.csv", holes, ["price", "pieces", "total", "kind"]),
        "--out",
        place / "f.csv",
    )
    broken = [
        ["0.10", "", "7.77", "a"],
        ["0.10", "3", "", "b"],
        ["0.10", "", "7.77", "a"],
    ]  # 77.7 pieces
    header = ["price", "pieces", "total", "kind"]
    for few, said in (
        (2, "1 row was left as it was (line 2)"),
        (3, "2 rows were left as they were (line 2, line 4)"),
    ):
        gaps = write(place / f"{few}.csv", broken[:few], header)
        assert said in call("impute", ruled, gaps, "--out", place / f"{few}-filled.csv").err
    whole = [row for row in read(place / "f.csv") if all(row.values())]
    assert len(whole) >= 299
    assert all(adds_up(row) for row in whole)
    done("augment", ruled, "--balance", "kind", "-n", 180, "--out", place / "a.csv")
    added = read(place / "a.csv")
    assert all(adds_up(row) for row in added if row["synthetic"] == "true")
    assert sum(not adds_up(row) for row in added) <= 1  # a real row stays as it came


RULES = {
    "totl = price * pieces": "did you mean 'total'",
    "total = price * __import__('os')": "there is no column '__import__'",
    "total = price": "is broken by",
    "price > kind": "constraints need numbers or dates",
    "kind = basic": "there is no column 'basic'; there are: price, pieces, total, kind (a rule can use",
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_cannot_be_is_told_before_training(orders, place, rule) -> None:
    assert RULES[rule] in refused(
        "train", orders, *SHORT, "--constraint", rule, "--out", place / "never"
    )
    assert "for tables" in refused(
        "train", "digits", "--constraint", rule, "--out", place / "never"
    )
    assert not (place / "never").exists()


def test_a_folder_of_tables_is_pointed_out(source, place) -> None:
    folder = place / "folder"
    folder.mkdir()
    (folder / "x.csv").write_bytes(source.read_bytes())
    assert f"did you mean {folder / 'x.csv'}?" in refused("train", folder, "--out", place / "never")
    (folder / "y.csv").write_bytes(source.read_bytes())
    assert "of 2 such files in it" in refused("train", folder, "--out", place / "never")


@pytest.mark.parametrize("verb", ["score", "impute", "encode", "evaluate"])
def test_a_table_without_rows_is_told(run, place, verb) -> None:
    assert "has 0 rows; expected at least 1" in refused(verb, run, write(place / "none.csv", []))


def test_rows_go_through_the_latent_space_and_back(run, tmp_path) -> None:
    told = done("reconstruct", run, "-n", 5, "--out", tmp_path / "copies.csv")
    assert told["n"] == 5
    line = tmp_path / "line.csv"
    done("interpolate", run, "0", "1", "--steps", 4, "--out", line)
    assert len(read_rows(tmp_path / "copies.csv")) == 5
    ends = [read_rows(line)[i] for i in (0, -1)]
    assert ends == read_rows(tmp_path / "copies.csv")[:2]


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_info_tells_the_rows_and_what_each_column_is(run, source) -> None:
    page = call("info", run)
    assert page.code == 0, page.err
    assert f"400 rows, 40 of them held out, of {source}" in page.out
    for name, kind in (("colour", "category"), ("height", "number"), ("key", "left out")):
        assert any({name, kind.split()[0]} <= {*line.split()} for line in page.out.splitlines())


def test_python_scores_and_measures_a_file_as_the_command_line_does(run, source, tmp_path) -> None:
    trained = vaekit.load(run)
    done("score", run, source, "--out", tmp_path / "scores.csv")
    told = [float(row["score"]) for row in read_rows(tmp_path / "scores.csv")]
    assert np.allclose(trained.score(source).scores, told, rtol=1e-5)
    numbers = done("evaluate", run, source, "--metrics", "nll", "--draws", 3)
    assert trained.evaluate(source, draws=3)["elbo"] == numbers["elbo"]


def test_what_cannot_be_written_is_refused_before_any_work(run, source, tmp_path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    for verb in (["generate"], ["impute", source], ["augment", "--balance", "colour"]):
        words = [verb[0], run, *verb[1:], "--out", tmp_path / "there.csv"]
        result = call(*words)
        assert result.code == 1
        assert result.err.count("\n") == 1  # no note of work before it
        assert "is there already" in result.err
    assert (tmp_path / "there.csv").read_text() == "mine"
