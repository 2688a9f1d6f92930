"""Training pictures are changed at random as asked for; nothing else is, and a resumed run goes on alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from commands import call
from vaekit import Experiment, VaekitError
from vaekit.api import read, reopen
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import resolve
from vaekit.data.dataset import Resident
from vaekit.data.images.augment import NAMES, augmentation, flip, shift
from vaekit.data.images.collection import Images
from vaekit.data.images.schema import ImageSchema
from vaekit.disk import checkpoint
from vaekit.runs.events import Ended
from vaekit.runs.run import Run

TINY = ["architecture=mlp", "hidden=[16]", "latent=2", "device=cpu", "steps=12", "compile=false"]
WORDS = ("flip", "shift", "shift:3", "crop", "crop:0.5", "brightness", "brightness:0.4")
SHAPE = (3, 8, 10)


def schema(dtype: str = "uint8") -> ImageSchema:
    return ImageSchema(channels=3, height=8, width=10, dtype=dtype)  # type: ignore[arg-type]


def pictures(n: int = 64, dtype: str = "uint8") -> Tensor:
    raw = torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8)
    return raw if dtype == "uint8" else raw / 256


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("word", WORDS)
def test_changed_pictures_are_of_the_same_form_and_differ(word: str, dtype: str) -> None:
    raw = pictures(dtype=dtype)
    changed = augmentation([word], schema(dtype))(raw)
    assert (changed.shape, changed.dtype) == (raw.shape, raw.dtype)
    assert changed.min() >= raw.min() * 0.5
    assert changed.max() <= (255 if dtype == "uint8" else 1)
    same = (changed == raw).flatten(1).all(1)
    assert not same.all()
    assert not torch.equal(augmentation([word], schema(dtype))(raw), changed)


def test_flipping_mirrors_about_half_of_the_pictures() -> None:
    raw = pictures(400)
    changed = flip(raw)
    mirrored = (changed == raw.flip(-1)).flatten(1).all(1)
    assert (mirrored | (changed == raw).flatten(1).all(1)).all()
    assert 150 < mirrored.sum() < 250


def test_shifting_moves_by_whole_pixels_and_repeats_the_edge() -> None:
    raw = pictures(200)
    padded = torch.nn.functional.pad(raw.float(), (2, 2, 2, 2), mode="replicate").to(torch.uint8)
    changed = shift(raw, 2)
    moves = [(down, right) for down in range(5) for right in range(5)]
    windows = torch.stack([padded[:, :, d : d + 8, r : r + 10] for d, r in moves], dim=1)
    found = (windows == changed[:, None]).flatten(2).all(2)
    assert found.any(1).all()
    assert found.any(0).all()  # every move comes


def test_a_crop_of_a_slope_is_a_gentler_slope_within_it() -> None:
    slope = torch.arange(10, dtype=torch.uint8).mul(20).expand(50, *SHAPE).contiguous()
    changed = augmentation(["crop:0.5"], schema())(slope).float()
    steps = changed[..., 1:] - changed[..., :-1]
    assert (steps >= 0).all()
    inner = steps[..., 2:-2].mean((1, 2, 3))
    assert (inner > 8).all()
    assert (inner < 21).all()
    assert inner.std() > 1


def test_brightness_multiplies_each_picture_by_one_number() -> None:
    raw = pictures(50).clamp(1, 200)
    changed = augmentation(["brightness:0.2"], schema())(raw)
    factor = (changed.double() / raw).flatten(1).median(1).values
    assert ((factor > 0.79) & (factor < 1.21)).all()
    assert factor.std() > 0.05
    assert ((changed - raw * factor[:, None, None, None]).abs() <= 1.5).all()


def test_words_work_one_after_the_other_and_none_changes_nothing() -> None:
    raw = pictures()
    assert torch.equal(augmentation([], schema())(raw), raw)
    torch.manual_seed(1)
    both = augmentation(["flip", "shift:1"], schema())(raw)
    torch.manual_seed(1)
    assert torch.equal(shift(flip(raw), 1), both)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("flop", "did you mean 'flip'"),
        ("rotate", "there are: flip, shift:K"),
        ("shift:0", "whole number of pixels from 1 to 7"),
        ("shift:8", "whole number of pixels from 1 to 7"),
        ("shift:", "whole number of pixels"),
        ("crop:1.5", "above 0 and below 1"),
        ("brightness:x", "above 0 and below 1"),
        ("flip:2", "there is no 'flip:2'"),
    ],
)
def test_words_that_make_no_sense_are_refused(word: str, says: str) -> None:
    with pytest.raises(VaekitError, match=says):
        augmentation([word], schema())


def made(bits: bool = False) -> Images:
    raw = pictures()
    return Images(Resident((raw > 127).byte() * 255 if bits else raw), None, schema(), "made")


def test_pixels_that_must_stay_black_or_white_are_not_made_grey() -> None:
    for word in ("crop", "brightness:0.2"):
        with pytest.raises(VaekitError, match="makes grey levels"):
            resolve(Experiment().override(f"augment={word}"), made(bits=True))
    resolve(Experiment().override("augment=flip,shift"), made(bits=True))
    resolve(Experiment().override("augment=crop", "likelihood=bernoulli"), made())


def test_training_says_what_is_changed() -> None:
    told = resolve(Experiment().override("augment=flip,shift:2"), made()).reasons
    assert "training images are changed at random: flip, shift:2" in told
    assert not any("changed" in why for why in resolve(Experiment(), made()).reasons)


def test_tables_have_no_augmentation(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n5,7\n")
    experiment = choose(str(tmp_path / "t.csv")).override("augment=flip")
    with pytest.raises(VaekitError, match="--augment is for pictures"):
        read(experiment)


# A run


def begin(folder: Path, *changes: str) -> Run:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (90, 8, 10, 3), dtype=np.uint8)
    np.savez(folder / "set.npz", images=pixels)
    experiment = choose(str(folder / "set.npz"), "images").override(*TINY, *changes)
    return Run(resolve(experiment, read(experiment)), lambda: folder)


def learnt(folder: Path) -> dict[str, Tensor]:
    return checkpoint.load_tensors(folder / checkpoint.RESUME)[0]


def alike(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    weights = [name for name in a if name.startswith(("weights.", "random"))]
    return all(torch.equal(a[name], b[name]) for name in weights)


AUGMENT = "augment=flip,shift:1,crop:0.9,brightness:0.1"


def test_a_resumed_run_sees_the_same_changes(tmp_path: Path) -> None:
    list(begin(tmp_path / "whole", AUGMENT).events())
    stopped = begin(tmp_path / "parts", AUGMENT)
    for event in stopped.events(lambda: stopped.progress.step >= 5):
        if isinstance(event, Ended):
            assert event.why == "stopped"
    list(reopen(tmp_path / "parts").events())
    assert alike(learnt(tmp_path / "whole"), learnt(tmp_path / "parts"))


def test_augmentation_changes_what_is_learnt_and_is_kept_with_the_run(tmp_path: Path) -> None:
    for name, changes in (("plain", []), ("changed", [AUGMENT])):
        list(begin(tmp_path / name, *changes).events())
    assert not alike(learnt(tmp_path / "plain"), learnt(tmp_path / "changed"))
    kept = Experiment.read(tmp_path / "changed" / "experiment.yaml").data.augment
    assert kept == ("flip", "shift:1", "crop:0.9", "brightness:0.1")


def test_what_is_held_out_is_measured_as_it_is(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", AUGMENT)
    held = run.data.raw.take(run.val_index)
    seen = torch.cat([x for x, _ in run._held_out()])
    assert torch.equal(seen, held / 255)
    (fed, *_) = next(iter(run.feed.epoch(0)))
    rows = {tuple(x.flatten().tolist()) for x in run.data.raw.take(run.train_index) / 255}
    assert not any(tuple(x.flatten().tolist()) in rows for x in fed)


def test_every_word_is_named_in_the_help() -> None:
    shown = " ".join(call("train", "--help").out.split())
    assert all(name in shown for name in NAMES)
