"""Several processes are one: the same losses, weights and scores, one folder; none waits for another that failed."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from peftkit.record import Record
from peftkit.suites.process import PRELOADED, start_method
from tests.conftest import toy_rows, write_jsonl
from tests.test_cli import call, told, well, write_recipe

OWN_CODE = ("full", "head", "bitfit", "lora", "adalora", "bottleneck", "prefix-tuning")
"""Methods with code of their own."""
PASSED_THROUGH = ("ia3", "oft", "prompt-tuning")
"""Some of those that peft does alone. Products of small factors (loha, lokr) would do too, but not to these digits:
their first gradients are so small that Adam makes rounding visible."""
LIMIT = 240
"""Seconds after which a run counts as hanging."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, toys: Any) -> Path:
    """A recipe without any randomness in training; no number of rows can be divided by 2, and the last batch has 1."""
    from tests.conftest import save_toy

    folder = tmp_path_factory.mktemp("processes")
    model = save_toy(folder / "model")
    config = json.loads((model / "config.json").read_text())
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config | still))
    (folder / "data").mkdir()
    write_jsonl(folder / "data" / "train.jsonl", toy_rows(49))
    write_jsonl(folder / "data" / "validation.jsonl", toy_rows(25, offset=200))
    write_jsonl(folder / "data" / "test.jsonl", toy_rows(31, offset=300))
    path = write_recipe(folder / "recipe.yaml", model, folder / "data")
    path.write_text(path.read_text() + "  logging_steps: 1\n")
    return path


def losses(record: Record) -> list[float]:
    """Training loss and validation loss, step by step."""
    return [value for entry in record.history for name, value in entry.items() if name.endswith("loss")]


def check_same(one: Path, two: Path) -> None:
    """The run in `two`, by two processes, is the run in `one`."""
    from safetensors.torch import load_file
    from torch.testing import assert_close

    single, double = Record.load(one), Record.load(two)
    assert (single.environment["hardware"]["processes"], double.environment["hardware"]["processes"]) == (1, 2)
    assert single.resolved == double.resolved and single.data == double.data
    assert losses(double) == pytest.approx(losses(single), rel=1e-5)
    assert double.scores == pytest.approx(single.scores, rel=1e-5)
    assert double.detail == single.detail
    assert {file.name for file in two.iterdir()} == {file.name for file in one.iterdir()}
    weights = "model.safetensors" if (one / "model.safetensors").exists() else "adapter_model.safetensors"
    expected, found = load_file(one / weights), load_file(two / weights)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if not name.endswith("key.bias"):  # it has no gradient (softmax), and moves by Adam's rounding alone
            assert_close(found[name], tensor, atol=1e-4, rtol=1e-3, msg=lambda message, name=name: f"{name}: {message}")


@pytest.mark.slow
def test_torchrun_gives_the_run_of_one_process(recipe: Path, tmp_path: Path) -> None:
    well("train", recipe, "--json", "-o", tmp_path / "one")
    two = tmp_path / "two"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "-m", "peftkit"]
    command = [*torchrun, "train", str(recipe), "training.batch_size=4", "--json", "-o", str(two)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert ended.returncode == 0, ended.stderr
    record = Record.model_validate_json(ended.stdout)  # one document: the first process alone prints
    assert record == Record.load(two)
    check_same(tmp_path / "one", two)
    # rank 0 refuses the finished run; the other process, which would wait for it, is ended by torchrun
    again = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert again.returncode == 1 and again.stdout == ""
    assert again.stderr.count("peftkit: ") == 1 and "already holds a finished run" in again.stderr
    assert Record.load(two) == record


def rank(
    number: int, port: int, commands: list[list[str]], folder: Path, fail: Mapping[int, str], written: Path
) -> None:
    """One of two processes: `peftkit` with every one of `commands`, its output and exit codes below `written`."""
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "1"}
    touched: list[str] = []
    sys.addaudithook(lambda event, values: watch(event, values, folder, touched))
    if number in fail:
        sabotage(fail[number])
    codes, outs = [], []
    for command in commands:
        try:
            ended = call(*command)
            codes, outs = [*codes, ended.code], [*outs, ended.out + ended.err]
        except Exception as error:
            codes, outs = [*codes, 1], [*outs, repr(error)]
    (written / f"{number}.json").write_text(json.dumps({"codes": codes, "outs": outs, "touched": touched}))
    os._exit(codes[-1])  # as a process ends that another waits for: without a word


def watch(event: str, values: tuple[Any, ...], folder: Path, touched: list[str]) -> None:
    """Notes what is written below `folder` (sys.addaudithook)."""
    writes = event == "open" and isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir"):
        path = values[0]
        if isinstance(path, str | Path) and Path(path).is_relative_to(folder):
            touched.append(f"{event} {path}")


def sabotage(place: str) -> None:
    """Makes this process fail at `place`."""
    if place == "step":
        from peftkit.training import Loop

        step = Loop._step

        def fails(self: Any, number: int, rows: list[int]) -> Any:
            return step(self, number, rows) if number < 3 else 1 / 0

        Loop._step = fails  # type: ignore[method-assign]
    elif place == "save":
        from peftkit.adapters import Adapter

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        Adapter.save = full  # type: ignore[method-assign]
    else:
        from peftkit.tasks.text_classification import TextClassification

        def refuses(*_: Any) -> None:
            from peftkit.errors import UserError

            raise UserError("these rows are not there on this machine")

        TextClassification.learn = refuses  # type: ignore[method-assign]


def in_two(commands: list[list[str]], folder: Path, fail: Mapping[int, str] | None = None) -> list[dict[str, Any]]:
    """Runs `commands` in two processes without torchrun, which would end one when the other fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    written = folder.parent / "written"
    written.mkdir(exist_ok=True)
    context = multiprocessing.get_context(start_method())
    context.set_forkserver_preload(PRELOADED)
    processes = [
        context.Process(target=rank, args=(number, port, commands, folder, fail or {}, written)) for number in (0, 1)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(LIMIT)
            assert process.exitcode is not None, "hangs"
    finally:
        for process in processes:
            process.kill()
    return [json.loads((written / f"{number}.json").read_text()) for number in (0, 1)]


@pytest.mark.slow
def test_every_method_and_a_4_bit_base_give_the_run_of_one_process(recipe: Path, tmp_path: Path) -> None:
    """And the first process alone writes and prints."""
    cases = [[f"method={name}"] for name in (*OWN_CODE, *PASSED_THROUGH)] + [["quantization=4bit"]]
    commands = [
        ["train", str(recipe), *case, "training.epochs=1", "training.eval_strategy=no", "--json"] for case in cases
    ]
    for number, command in enumerate(commands):
        well(*command, "-o", tmp_path / "one" / str(number))
    (tmp_path / "two").mkdir()
    two = [
        [*command, "training.batch_size=4", "-o", str(tmp_path / "two" / str(number))]
        for number, command in enumerate(commands)
    ]
    first, second = in_two(two, tmp_path / "two")
    assert first["codes"] == second["codes"] == [0] * len(cases), first["outs"] + second["outs"]
    assert [json.loads(out)["status"] for out in first["outs"]] == ["ok"] * len(cases)
    assert second["outs"] == [""] * len(cases) and second["touched"] == [] != first["touched"]
    for number in range(len(cases)):
        check_same(tmp_path / "one" / str(number), tmp_path / "two" / str(number))


@pytest.mark.slow
@pytest.mark.parametrize(
    "failing, place, codes",
    [(1, "step", [1, 1]), (0, "save", [2, 1]), (1, "read", [1, 2])],
)
def test_a_failure_in_one_process_ends_both(
    failing: int, place: str, codes: list[int], recipe: Path, tmp_path: Path
) -> None:
    command = ["train", str(recipe), "training.batch_size=4", "training.epochs=1", "-o", str(tmp_path / "run")]
    ended = in_two([command], tmp_path / "run", {failing: place})
    assert [process["codes"] for process in ended] == [[code] for code in codes], ended
    if place != "read":
        record = Record.load(tmp_path / "run")
        assert record.status == "failed" and record.error


@pytest.mark.parametrize("processes", [1, 2])
def test_accelerate_launch_on_cpu_is_held_to_the_processes_it_promised(
    processes: int, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts one process for any number, and says nothing. What it would start is started here, in this process."""
    from accelerate.commands import launch

    started: list[tuple[list[str], dict[str, str]]] = []

    class Started:
        returncode = 0

        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            started.append((command, env))

        def wait(self) -> None:
            pass

    command = ["train", str(recipe), "method=head", "training.max_steps=2", "--json", "-o", str(tmp_path / "run")]
    arguments = ["--cpu", f"--num_processes={processes}", "-m", "peftkit", *command]
    monkeypatch.setattr(launch.subprocess, "Popen", Started)
    launch.launch_command(launch.launch_command_parser().parse_args(arguments))
    monkeypatch.undo()
    ((line, environment),) = started
    assert line[1:3] == ["-m", "peftkit"]
    for name in environment.keys() - os.environ.keys():
        monkeypatch.setenv(name, environment[name])
    if processes == 1:
        assert json.loads(well(*line[3:]))["environment"]["hardware"]["processes"] == 1
    else:
        said = told(*line[3:])
        assert "torchrun --nproc_per_node" in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize("environment", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}])
def test_processes_that_were_promised_and_did_not_join_are_missed(
    environment: dict[str, str], recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a launcher's plugin leaves every process to train alone."""
    from accelerate import PartialState

    PartialState(cpu=True)  # one process, whatever the environment comes to say
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "launched as one of 2 processes, but only 1 joined" in told("train", recipe, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()
