"""One process at a time trains in a run's folder."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vaekit.api import read, reopen
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import resolve
from vaekit.disk import lock
from vaekit.errors import VaekitError
from vaekit.runs.run import Run

HERE = socket.gethostname()
ELSEWHERE = {"pid": os.getpid(), "host": "another-machine"}


def put(folder: Path, holder: object) -> Path:
    (folder / lock.LOCK).write_text(holder if isinstance(holder, str) else json.dumps(holder))
    return folder / lock.LOCK


@pytest.fixture
def other():
    """A process that does nothing, for a while."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.communicate()


def test_a_folder_that_another_process_has_is_refused_and_left_to_it(tmp_path, other):
    path = put(tmp_path, {"pid": other.pid, "host": HERE})
    before = path.read_text()
    with pytest.raises(
        VaekitError, match=f"process {other.pid} on {HERE} is training there.*delete {path} if"
    ):
        lock.take(tmp_path)
    lock.release(tmp_path)
    assert path.read_text() == before
    assert lock.busy(tmp_path)


@pytest.mark.parametrize("wreck", ["", "[]", '{"pid": '])
def test_a_wreck_of_a_lock_stops_nobody(tmp_path, wreck):
    """A lock is written whole or not at all, so that this is nobody's."""
    put(tmp_path, wreck)
    assert not lock.busy(tmp_path)
    lock.take(tmp_path)
    lock.release(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_lock(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lock.Path, "write_text", full)
    with pytest.raises(VaekitError, match="No space left"):
        lock.take(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_known_to_be_dead_is_refused(tmp_path):
    put(tmp_path, ELSEWHERE)
    with pytest.raises(VaekitError, match="is training there"):
        lock.take(tmp_path)


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot be asked whether a process is dead"
)
def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    path = put(tmp_path, {"pid": process.pid, "host": HERE})
    assert not lock.busy(tmp_path)
    assert lock.take(tmp_path) == tmp_path
    assert json.loads(path.read_text()) == {"pid": os.getpid(), "host": HERE}
    lock.take(tmp_path)  # a process does not stand in its own way
    lock.release(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("linked", [True, False])
def test_of_two_that_take_over_at_once_only_one_does(tmp_path, monkeypatch, other, linked):
    """The other one has buried the dead and placed its own lock between this one's look and its deed."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    path = put(tmp_path, {"pid": process.pid, "host": HERE})
    bury, theirs = lock._bury, {"pid": other.pid, "host": HERE}
    monkeypatch.setattr(lock, "_bury", lambda at: (put(tmp_path, theirs), bury(at)))
    if not linked:
        monkeypatch.setattr(
            lock.os, "link", lambda a, b: (_ for _ in ()).throw(OSError(1, "not permitted"))
        )
    with pytest.raises(VaekitError, match=f"process {other.pid} on {HERE} is training there"):
        lock.take(tmp_path)
    assert json.loads(path.read_text()) == theirs
    assert [p.name for p in tmp_path.iterdir()] == [lock.LOCK]


def test_a_run_holds_its_folder_from_before_it_reads_until_its_end(tmp_path, other):
    tiny = choose("digits", "images").override(
        "architecture=mlp", "hidden=[4]", "latent=1", "steps=3", "validations=3"
    )
    folder = tmp_path / "run"
    folder.mkdir()
    run = Run(resolve(tiny, read(tiny)), lambda: folder)
    events = run.events()
    assert (folder / lock.LOCK).exists()
    next(events)
    assert (folder / lock.LOCK).exists()
    assert not lock.busy(folder)
    events.close()
    assert not (folder / lock.LOCK).exists()

    list(run.events(lambda: True))
    partial = folder / ".model.safetensors.1.part"
    partial.write_text("what the other process is writing")
    put(folder, {"pid": other.pid, "host": HERE})
    with pytest.raises(VaekitError, match="is training there"):
        reopen(folder)
    assert partial.exists()
    (folder / lock.LOCK).unlink()
    reopen(folder)
    assert not partial.exists()
    assert (folder / lock.LOCK).exists()
    lock.release(folder)
