"""The spine of the command line: exit codes, one sentence for each error, nothing imported that is not needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tuiwb.base.errors import InputFault
from tuiwb.cli import config, main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tuiwb", *arguments], capture_output=True, text=True, check=False)


def test_version_imports_nothing_beyond_the_entry_point() -> None:
    code = "import sys; from tuiwb.cli.main import main; main(['--version']); print(*sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    version, modules = out.splitlines()
    assert version.startswith("tuiwb ")
    assert not {"argparse", "json", "rich", "textual", "torch", "tuiwb.cli.config"} & set(modules.split())


def test_wrong_use_ends_with_2() -> None:
    done = run("config", "nothing")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_input_fault_is_one_sentence_and_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise InputFault("no rows\x1b[2J", file="data.jsonl", line=3, key="text")

    monkeypatch.setattr(config, "_path", fail)
    assert main.main(["config", "path", "--json"]) == 3
    out, err = capsys.readouterr()
    assert err == "tuiwb: data.jsonl:3: text: no rows␛[2J\n"
    assert json.loads(out) == {
        "error": "no rows\x1b[2J",
        "file": "data.jsonl",
        "line": 3,
        "key": "text",
        "exit_code": 3,
    }


def test_a_bug_is_told_without_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(config, "_path", fail)
    assert main.main(["config", "path"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert len(err.splitlines()) == 1
    assert "Traceback" in Path(err.rsplit(" ", 1)[1].strip()).read_text()


def test_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        f"{sys.executable} -m tuiwb config show | head -1", shell=True, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


@pytest.mark.parametrize("verb", sorted(main.VERBS))
def test_every_verb_explains_itself(verb: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: tuiwb" in done.stdout


def test_a_closed_stdout_leaves_its_number_to_no_other_file(tmp_path: Path) -> None:
    code = "import os, sys; from tuiwb.cli.main import main; main(['-V']); print(os.open('x', 64), file=sys.stderr)"
    done = subprocess.run(
        f'exec "{sys.executable}" -c "{code}" >&-', shell=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert int(done.stderr) > 2


def test_the_help_of_an_action_says_what_it_does() -> None:
    assert "Show a row as the model sees it" in run("data", "render", "--help").stdout


def test_a_misspelt_option_is_told_with_the_nearest_one_and_the_usage_of_its_verb() -> None:
    done = run("plan", "demo", "--jsn")
    assert done.returncode == 2
    assert "usage: tuiwb plan" in done.stderr
    assert "did you mean --json?" in done.stderr


def test_a_state_that_no_run_can_have_is_refused() -> None:
    done = run("runs", "list", "--state", "bogus")
    assert done.returncode == 2
    assert "'finished'" in done.stderr
