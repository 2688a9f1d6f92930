"""Imports point down, and one file knows the engine."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import vaekit
from vaekit.data import registry
from vaekit.disk import layout

ROOT = Path(vaekit.__file__).parent

LAYERS = [
    {"errors", "files", "nn"},
    {"config", "core", "distributions", "figures"},
    {"models", "measures", "training"},
    {"data", "anomaly"},
    {"assembly", "disk"},
    {"tasks"},
    {"estimators", "runs", "report"},
    {"api"},
    {"cli"},
]
"""From the ground up: a file may import its own layer and those below it."""

MAY_IMPORT = {
    "nn": {"nn"},
    "core": {"core", "distributions"},
    "measures": {"core", "measures"},
    "training": {"core", "errors", "training"},
    "models": {"core", "distributions", "errors", "models", "nn"},
}
"""Where the design asks for more than the order of the layers."""

LEVEL = {name: i for i, layer in enumerate(LAYERS) for name in layer}
FILES = [
    path
    for path in ROOT.rglob("*.py")
    if path.parent != ROOT or path.stem not in ("__init__", "__main__")
]


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path) -> set[str]:
    """The rooms of vaekit that a file imports from."""
    return {n.split(".")[1] for n in imports(path) if n.startswith("vaekit.")} & set(LEVEL)


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    assert here in LEVEL, f"{here} has no layer yet: give it one"
    up = {other for other in rooms(path) if LEVEL[other] > LEVEL[here]}
    assert not up, f"{path.name} imports {up} from above"
    assert here not in MAY_IMPORT or rooms(path) <= MAY_IMPORT[here] | {here}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_one_file_knows_the_engine_and_nothing_unpickles(path: Path) -> None:
    names = {name.split(".")[0] for name in imports(path)}
    assert "lightning_fabric" not in names or path.name == "engine.py"
    assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
    text = path.read_text(encoding="utf-8")
    assert "torch.load(" not in text
    assert "allow_pickle=True" not in text


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_public_names_exist() -> None:
    for name in vaekit.__all__:
        assert getattr(vaekit, name) is not None


KINDS = tuple(registry.BUILT_IN)

WORDS = {*KINDS, "image", "picture", "pictures", "pixel", "pixels"}
"""No string of generic code is one of these: as a default it would be wrong for all other kinds."""

NAMES_A_KIND = {
    "data/registry.py": "the list of the kinds that come with vaekit",
    "runs/run.py": "the key of runs of older versions",
    "tasks/status.py": "the key of runs of older versions",
}


def is_of_a_kind(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return parts[0] == "estimators" or (parts[:1] == ("data",) and parts[1] in KINDS)


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if not is_of_a_kind(path)],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_no_kind_of_data_is_named_outside_its_folder(path: Path) -> None:
    """Estimators are of tables, as scikit-learn's are; all else asks the modality."""
    named = {
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in WORDS
    }
    assert not named or str(path.relative_to(ROOT)) in NAMES_A_KIND
    homes = tuple(f"vaekit.data.{kind}" for kind in KINDS)
    assert not [name for name in imports(path) if name.startswith(homes)]


def test_every_exception_is_one() -> None:
    for name in NAMES_A_KIND:
        assert any(f'"{kind}"' in (ROOT / name).read_text() for kind in KINDS), name


def test_the_names_of_a_run_s_files_stand_in_one_place() -> None:
    names = {value for name, value in vars(layout).items() if name.isupper()}
    assert len(names) >= 16
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert path == Path(layout.__file__) or not names & words, path


FLAG = re.compile(r"(?<!vaekit train )(?<![\w-])--[a-z]")
SPEAK_OF_FLAGS = {"cli", "report", "data", "figures"}  # figures: variables of CSS


def test_below_the_command_line_messages_name_no_flags_of_it() -> None:
    """Whole commands, to be pasted, may."""
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        if name.split("/")[0] in SPEAK_OF_FLAGS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not FLAG.search(node.value), (name, node.value)
