"""What must hold of hours of work: stopped, killed or interrupted, a run goes on as if nothing had happened."""

import ast
import contextlib
import csv
import json
import math
import os
import pickle
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaekit
from vaekit import files
from vaekit.api import read, reopen
from vaekit.api import train as train_now
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import resolve
from vaekit.cli.app import main
from vaekit.disk import checkpoint
from vaekit.disk.log import Log, read_metrics
from vaekit.errors import VaekitError
from vaekit.runs.events import Ended
from vaekit.runs.run import Run
from vaekit.tasks.own_data import own_part

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="signals and fork are those of Unix"
)

TIMING = {"seconds", "data_per_s"}
TINY = ["architecture=mlp", "hidden=[16]", "latent=2", "device=cpu"]
SOURCE = Path(vaekit.__file__).parent


def begin(folder: Path, *changes: str, source: str = "digits") -> Run:
    experiment = choose(source, "images").override(*TINY, *changes)
    folder.mkdir()
    return Run(resolve(experiment, read(experiment)), lambda: folder)


def go(run: Run, upto: float = math.inf) -> str:
    """Train until that step; why it ended."""
    events = list(run.events(lambda: run.progress.step >= upto))
    assert isinstance(events[-1], Ended)
    return events[-1].why


def rows(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMING} for row in read_metrics(folder)]


def facts(folder: Path) -> dict[str, Any]:
    about = checkpoint.load_tensors(folder / "resume.safetensors")[1]
    for part in ("progress", "window"):
        about.get(part, {}).pop("seconds", None)
    return about


def assert_same(a: Path, b: Path) -> None:
    """Bit for bit: weights, averages, optimiser, random state, progress and log."""
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    one, other = (checkpoint.load_tensors(folder / "resume.safetensors")[0] for folder in (a, b))
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
    assert facts(a) == facts(b)
    assert rows(a) == rows(b)


# Stopped and resumed


LOSSES = {
    "grey levels": [],
    "bits drawn anew": ["likelihood=bernoulli", "binarise=dynamic"],
    "fixed bits": ["likelihood=bernoulli", "binarise=static"],
    "iwae": ["likelihood=bernoulli", "bound=iwae:3"],
    "mixtures": ["prior=mixture:3", "likelihood=logistic-mixture:2", "cycles=2", "ema=0"],
    "convolutions": ["architecture=conv", "hidden=null", "model.size=tiny", "train.batch=256"],
    "soap": ["optimiser=soap", "likelihood=bernoulli"],
}


@pytest.mark.parametrize("loss", LOSSES)
def test_stopped_and_resumed_is_never_having_stopped(tmp_path, loss):
    """Stops within an epoch (26 steps at batch 64), between validations, and at one."""
    changes = ["steps=24", "validations=3", *LOSSES[loss]]
    assert go(begin(tmp_path / "straight", *changes)) == "done"
    assert go(begin(tmp_path / "stopped", *changes), upto=7) == "stopped"
    assert facts(tmp_path / "stopped")["progress"]["step"] == 7
    assert go(reopen(tmp_path / "stopped"), upto=16) == "stopped"
    assert go(reopen(tmp_path / "stopped")) == "done"
    assert_same(tmp_path / "straight", tmp_path / "stopped")


@pytest.mark.parametrize("step", [25, 26, 27, 52])
def test_stopping_at_the_edge_of_an_epoch_loses_and_repeats_no_batch(tmp_path, step):
    changes = ["steps=55", "validations=1", "likelihood=bernoulli"]
    go(begin(tmp_path / "straight", *changes))
    go(begin(tmp_path / "stopped", *changes), upto=step)
    go(reopen(tmp_path / "stopped"))
    assert_same(tmp_path / "straight", tmp_path / "stopped")


def test_a_row_of_the_log_that_a_stop_cuts_in_two_is_the_same_row(tmp_path):
    """In long runs a row is the mean of several steps: here of four."""
    changes = ["steps=1600", "likelihood=bernoulli"]
    go(begin(tmp_path / "straight", *changes), upto=18)
    for step in (6, 11, 13, 18):
        go(
            reopen(tmp_path / "stopped") if step > 6 else begin(tmp_path / "stopped", *changes),
            upto=step,
        )
    assert [row["step"] for row in rows(tmp_path / "straight")] == [4, 8, 12, 16]
    assert rows(tmp_path / "stopped") == rows(tmp_path / "straight")


def test_images_that_stay_on_disk_come_in_the_same_order_again(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 256, (90, 6, 5), dtype=np.uint8)
    np.savez_compressed(tmp_path / "set.npz", images=pixels)
    changes = ["steps=15", "batch=16", "memory_budget=100"]
    run = begin(tmp_path / "straight", *changes, source=str(tmp_path / "set.npz"))
    assert run.feed.ahead > 0  # not in memory
    go(run)
    go(begin(tmp_path / "stopped", *changes, source=str(tmp_path / "set.npz")), upto=8)
    go(reopen(tmp_path / "stopped"))
    assert_same(tmp_path / "straight", tmp_path / "stopped")


def test_a_run_begins_the_same_way_whatever_was_drawn_before(tmp_path):
    go(begin(tmp_path / "first", "steps=6"))
    torch.manual_seed(99)
    torch.rand(7)
    go(begin(tmp_path / "second", "steps=6"))
    assert_same(tmp_path / "first", tmp_path / "second")
    go(begin(tmp_path / "other", "steps=6", "seed=1"))
    assert rows(tmp_path / "other") != rows(tmp_path / "first")


def test_resume_of_the_library_ends_with_the_best_weights_and_a_report(tmp_path):
    changes = ["steps=12", "validations=3"]
    go(begin(tmp_path / "run", *changes), upto=5)
    trained = vaekit.resume(tmp_path / "run")
    kept = checkpoint.load_tensors(tmp_path / "run" / "model.safetensors")[0]
    assert all(
        torch.equal(tensor, kept[name]) for name, tensor in trained.model.state_dict().items()
    )
    numbers = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert trained.evaluate(own_part(trained), 100, 0, 500) | {"data": "held-out"} == numbers


def test_training_from_python_leaves_the_signals_as_they_were(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train_now(
        "digits",
        recipe="images",
        out=tmp_path / "run",
        architecture="mlp",
        hidden=(8,),
        latent=1,
        steps=2,
        validations=1,
    )
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# The log


def test_rows_written_after_the_last_save_are_dropped_on_resume(tmp_path):
    changes = ["steps=20", "validations=4"]
    go(begin(tmp_path / "straight", *changes))
    go(begin(tmp_path / "crashed", *changes), upto=8)
    with open(
        tmp_path / "crashed" / "metrics.jsonl", "a"
    ) as file:  # as a crash at step 11 leaves it
        for step in (9, 10, 11):
            file.write(json.dumps({"step": step, "split": "train", "loss": 1e9}) + "\n")
        file.write('{"step": 12, "spl')
    (tmp_path / "crashed" / "metrics.csv").unlink()
    go(reopen(tmp_path / "crashed"))
    assert_same(tmp_path / "straight", tmp_path / "crashed")
    with open(tmp_path / "crashed" / "metrics.csv", newline="") as file:
        table = [{name: text for name, text in row.items() if text} for row in csv.DictReader(file)]
    log = [
        json.loads(line)
        for line in (tmp_path / "crashed" / "metrics.jsonl").read_text().splitlines()
    ]
    assert table == [{name: str(value) for name, value in row.items()} for row in log]


def test_a_log_cut_anywhere_is_read_up_to_its_last_whole_row(tmp_path):
    log = Log(tmp_path, 0)
    for step in range(1, 5):
        log.add({"step": step, "split": "train", "loss": 1 / step, "word": "ä"})
    log.close()
    whole, content = read_metrics(tmp_path), (tmp_path / "metrics.jsonl").read_bytes()
    for length in range(len(content)):
        (tmp_path / "metrics.jsonl").write_bytes(content[:length])
        lines = content[: length + 1].count(b"\n")  # a whole row may lack its line end
        assert read_metrics(tmp_path) == whole[:lines]


# Killed: a small server forks the processes, so that each has vaekit loaded when it starts


SERVER = """
import json, os, sys
import torch, matplotlib.figure, sklearn.datasets, tensorboardX
torch.set_num_threads(1)
import vaekit.api, vaekit.cli
from lightning_fabric import Fabric
for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        print(os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    for number, name in enumerate(["in", "out", "err"]):
        path = os.devnull if name == "in" else f"{job['at']}.{name}"
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.argv, code = ["vaekit", *job["words"]], 0
    try:
        exec(job["code"])
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)
"""
COMMAND = "vaekit.cli.main()"


class Process:
    """A process of the server's; `at` is where its output goes (.out, .err)."""

    def __init__(self, server: subprocess.Popen, at: Path, code: str, words: list[object]) -> None:
        self.server, self.at, self.code = server, at, None
        job = {"at": str(at), "code": code, "words": [str(word) for word in words]}
        self.pid = int(self._ask(job))

    def _ask(self, job: dict[str, Any]) -> str:
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        return self.server.stdout.readline()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        if self.code is None:
            self.code = int(self._ask({"wait": self.pid}))
        return self.code

    def end(self) -> int:
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                self.send(signal.SIGKILL)
        return self.wait()

    @property
    def out(self) -> str:
        path = Path(f"{self.at}.out")
        return path.read_text() if path.exists() else ""

    @property
    def err(self) -> str:
        return Path(f"{self.at}.err").read_text()


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], text=True, env=environment, **pipes
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def start(server, tmp_path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def one(*words: object, code: str = COMMAND) -> Process:
        started.append(Process(server, tmp_path / f"process{len(started)}", code, list(words)))
        return started[-1]

    yield one
    for process in started:
        process.end()


def until(holds: Callable[[], bool], process: Process | subprocess.Popen) -> None:
    """Wait for it; a minute is a hang, not a measure."""
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError(f"it never came: {process}")


LONG = [
    "train",
    "digits",
    "--recipe",
    "images",
    *TINY,
    "--steps",
    "200000",
    "--batch",
    "32",
    "validations=2000",
]


def logs_something(folder: Path) -> Callable[[], bool]:
    return lambda: bool(read_metrics(folder))


def check_resumable(folder: Path, more: int = 3) -> None:
    """It goes on from its last save, and leaves a whole log and no leftovers behind."""
    step = facts(folder)["progress"]["step"]
    run = reopen(folder)
    assert run.progress.step == step
    assert not list(folder.glob(".*.part"))
    assert go(run, upto=step + more) == "stopped"
    assert facts(folder)["progress"]["step"] == step + more
    logged = [(row["step"], row["split"]) for row in read_metrics(folder)]
    assert logged == sorted(set(logged))
    assert not logged or logged[-1][0] <= step + more


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_and_says_how_to_go_on(start, tmp_path, number):
    folder = tmp_path / "run"
    process = start(*LONG, "--out", folder)
    until(logs_something(folder), process)
    process.send(number)
    assert process.wait() == 130
    step = facts(folder)["progress"]["step"]
    assert process.err.splitlines()[-1] == (
        f"stopped at step {step:,} and saved, without a report yet; go on with: vaekit train --resume {folder}"
    )
    assert "Traceback" not in process.err
    assert step >= read_metrics(folder)[-1]["step"] > 0
    check_resumable(folder)


@pytest.mark.slow
def test_ctrl_c_at_the_command_itself(tmp_path, monkeypatch):
    """With nothing forked or loaded beforehand; the run is then finished by the command that it printed."""
    monkeypatch.chdir(tmp_path)
    words = [
        sys.executable,
        "-m",
        "vaekit",
        "train",
        "digits",
        "--recipe",
        "images",
        *TINY,
        "--steps",
        "4000",
        "--out",
        "run",
    ]
    words += ["validations=4", "train.batch=1600"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        until(logs_something(Path("run")), process)
        process.send_signal(signal.SIGINT)
        error = process.communicate()[1]
    assert process.returncode == 130
    command = error.splitlines()[-1].split("go on with: ")[1].split()
    assert command == ["vaekit", "train", "--resume", "run"]
    card = Path("run/experiment.yaml")  # the rest need not take long
    card.write_text(
        card.read_text().replace(
            "steps: 4000", f"steps: {facts(Path('run'))['progress']['step'] + 2}"
        )
    )
    monkeypatch.setattr(sys, "argv", [*command, "-q"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert Path("run/report.html").is_file()
    assert json.loads(Path("run/evaluation.json").read_text())["n"] == 180


SLOW_STEP = """
import time
from vaekit.training.step import StepByStep
move = StepByStep.__call__
StepByStep.__call__ = lambda *a: (move(*a), print("a step begins", flush=True), time.sleep(20))[0]
vaekit.cli.main()
"""


def test_a_second_ctrl_c_aborts_at_once_and_says_what_is_kept(start, tmp_path):
    """In a step that takes long, so that the first one cannot be answered yet."""
    folder = tmp_path / "run"
    words = [*LONG, "--out", folder]
    process = start(*words)
    until((folder / "resume.safetensors").exists, process)
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = (folder / "resume.safetensors").read_bytes()
    process = start("train", "--resume", folder, code=SLOW_STEP)
    until(lambda: "a step begins" in process.out, process)
    process.send(signal.SIGINT)
    time.sleep(0.2)
    process.send(signal.SIGINT)
    assert process.wait() == 130
    assert "Traceback" not in process.err
    assert process.err.splitlines()[-1].startswith(f"aborted; what {folder} last saved is kept")
    assert (folder / "resume.safetensors").read_bytes() == before
    check_resumable(folder)


def test_killed_at_any_moment_of_training_a_run_goes_on(start, tmp_path):
    folder, moments = tmp_path / "run", random.Random(0)
    words = [*LONG, "--out", folder]
    for _ in range(4):
        process = start(*words)
        path = folder / "resume.safetensors"
        before = path.stat().st_mtime_ns if path.exists() else 0
        until(lambda p=path, b=before: p.exists() and p.stat().st_mtime_ns > b, process)
        time.sleep(moments.random() / 3)
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        checkpoint.load_tensors(folder / "model.safetensors")
        check_resumable(folder)
        words = ["train", "--resume", folder, "-q"]
    assert vaekit.load(folder).generate(2, seed=0).isfinite().all()


SAVING = """
import torch
from pathlib import Path
from vaekit.disk import checkpoint
for i in range(10**9):
    tensors = {"a": torch.full((500_000,), float(i)), "b": torch.full((1_000_000,), i)}
    checkpoint.save_tensors(Path(sys.argv[1]) / "x.safetensors", tensors, {"i": i})
"""


def test_killed_while_saving_the_file_is_the_old_or_the_new_one(start, tmp_path):
    folder, moments, seen = tmp_path / "saved", random.Random(1), []
    folder.mkdir()
    for _ in range(8):
        process = start(folder, code=SAVING)
        until(lambda: any(folder.iterdir()), process)
        time.sleep(moments.random() / 10)
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        if (folder / "x.safetensors").exists():
            tensors, about = checkpoint.load_tensors(folder / "x.safetensors")
            assert {len(tensor): set(tensor.unique().tolist()) for tensor in tensors.values()} == {
                500_000: {about["i"]},
                1_000_000: {about["i"]},
            }
            seen.append(about["i"])
        files.clean(folder)
        assert {path.name for path in folder.iterdir()} <= {"x.safetensors"}
    assert seen


# Nothing is unpickled


def hazards(tree: ast.AST) -> Iterator[str]:
    """What could run code out of a file."""
    for node in ast.walk(tree):
        names = (
            [a.name for a in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        )
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from {n.split(".")[0] for n in names} & {
            "pickle",
            "_pickle",
            "dill",
            "joblib",
            "shelve",
            "marshal",
        }
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {
                "torch.load",
                "eval",
                "exec",
                "yaml.load",
                "yaml.unsafe_load",
                "os.system",
                "__import__",
            }:
                yield called
            for word in node.keywords:
                if (
                    word.arg in {"allow_pickle", "trust_remote_code"}
                    and ast.unparse(word.value) != "False"
                ):
                    yield word.arg
                if word.arg in {"weights_only"} and ast.unparse(word.value) != "True":
                    yield word.arg


def test_the_search_for_hazards_finds_them():
    text = (
        "import pickle, os\nfrom joblib import load\n"
        "torch.load(f, weights_only=False)\nnp.load(f, allow_pickle=True)"
    )
    assert sorted(hazards(ast.parse(text))) == [
        "allow_pickle",
        "joblib",
        "pickle",
        "torch.load",
        "weights_only",
    ]


def test_no_source_file_unpickles_or_evaluates():
    found = {str(path): list(hazards(ast.parse(path.read_text()))) for path in SOURCE.rglob("*.py")}
    assert len(found) > 30
    assert {path: names for path, names in found.items() if names} == {}


def test_loading_and_resuming_work_where_unpickling_is_impossible(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    go(begin(folder, "steps=8", "validations=4"), upto=4)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for module in (pickle, sys.modules["_pickle"]):
        for name in ("Unpickler", "load", "loads"):
            monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert vaekit.load(folder).generate(2, seed=0).shape == (2, 1, 8, 8)
    assert go(reopen(folder)) == "done"


def test_a_pickle_by_the_name_of_a_checkpoint_is_refused(tmp_path):
    folder = tmp_path / "run"
    go(begin(folder, "steps=2"), upto=1)
    torch.save({"weights": torch.ones(2)}, folder / "model.safetensors")
    (folder / "resume.safetensors").write_bytes(pickle.dumps({"step": 1}))
    with pytest.raises(VaekitError, match="is damaged or no safetensors file"):
        vaekit.load(folder)
    with pytest.raises(VaekitError, match="is damaged or no safetensors file"):
        reopen(folder)


# Two processes


UNEVEN = ["steps=34", "validations=2", "batch=101", "likelihood=bernoulli"]
"""1,617 training images: 16 batches of 101, which two processes cannot halve, and a last one of a single image."""

LONGER = ["steps=102", "validations=1", "batch=101", "lr=0.01", "ema=0.9", "likelihood=bernoulli"]

IN_TWO = """
import sys
from pathlib import Path
from vaekit.api import read, reopen
from vaekit.cli import main
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import resolve
from vaekit.runs.run import Run

at, changes = Path(sys.argv[1]), sys.argv[2:]
experiment = choose("digits", "images").override(*changes)


def begin(name):
    return Run(resolve(experiment, read(experiment)), lambda: (at / name).mkdir() or at / name)


def go(run, upto):
    ended = list(run.events(lambda: run.progress.step >= upto))[-1]
    run.engine.barrier()  # one process writes
    return ended.why


assert go(begin("straight"), 99) == "done"
assert go(begin("stopped"), 10) == "stopped"
assert go(reopen(at / "stopped"), 18) == "stopped"  # processes ask each other every tenth step
last = reopen(at / "stopped")
assert last.engine.world == 2
assert 17 <= last.progress.step < 34
assert go(last, 99) == "done"
sys.argv = ["vaekit", "train", "digits", "--recipe", "images", "-q", "--out", str(at / "two"), *changes, *LONGER]
main()
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_resume_as_one_does(tmp_path):
    """Stopped and resumed, bit for bit; and to the held-out ELBO of one process, within the noise of training.

    How large that noise is, three seeds of one process tell. A seed also changes which images are held out and where
    the weights start, so seeds differ by more than two processes may: those share all that with the one process of
    their seed, and differ from it in the draws alone.
    """
    (tmp_path / "two.py").write_text(IN_TWO.replace("*LONGER", f"*{LONGER}"))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    command += [str(tmp_path / "two.py"), str(tmp_path), *TINY, *UNEVEN]
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stderr

    assert_same(tmp_path / "straight", tmp_path / "stopped")
    states = checkpoint.load_tensors(tmp_path / "straight" / "resume.safetensors")[0]["random"]
    assert len(states) == 2
    assert not torch.equal(*states)

    elbos = []
    for seed in range(3):
        go(begin(tmp_path / f"one{seed}", *LONGER, f"seed={seed}"))
        elbos.append(rows(tmp_path / f"one{seed}")[-1]["elbo"])
    last = rows(tmp_path / "two")[-1]
    assert last["step"] == 102
    assert abs(last["elbo"] - elbos[0]) < 2 * statistics.stdev(elbos)
    assert (tmp_path / "two" / "report.html").is_file()
    assert not (tmp_path / "two-2").exists()

    card = tmp_path / "stopped" / "experiment.yaml"  # and one process can go on with what two began
    card.write_text(card.read_text().replace("steps: 34", "steps: 36"))
    assert go(reopen(tmp_path / "stopped")) == "done"
    assert facts(tmp_path / "stopped")["progress"]["step"] == 36


@pytest.mark.slow
def test_sharded_parameters_train_and_resume_as_whole_ones_do(tmp_path):
    """FSDP2 on two processes: the same weights as DDP, stopped and resumed on the way."""
    script = IN_TWO.split("assert go(begin")[0] + (
        'assert go(begin("ddp"), 99) == "done"\n'
        'experiment = experiment.override("strategy=fsdp")\n'
        'assert go(begin("fsdp"), 10) == "stopped"\n'
        'assert go(reopen(at / "fsdp"), 99) == "done"\n'
        "import os; os._exit(0)\n"  # threads of the meshes' process groups may abort a normal exit
    )
    (tmp_path / "two.py").write_text(script)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    command += [str(tmp_path / "two.py"), str(tmp_path), *TINY, *UNEVEN]
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stderr
    whole, sharded = (
        checkpoint.load_tensors(tmp_path / name / "model.safetensors")[0]
        for name in ("ddp", "fsdp")
    )
    for name in whole:
        torch.testing.assert_close(sharded[name], whole[name], rtol=1e-4, atol=1e-5)
