"""`dannet --print-completion SHELL`, in the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dannet_core.cli.main import VERBS, main

BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
$(complete -p dannet | sed -E 's/.*-F ([^ ]+).*/\\1/') dannet "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
CASES = [
    ("dannet tr", {"train"}),
    ("dannet train --optimiser.lr-", {f"--optimiser.lr-{part}" for part in ("head", "relighting", "discriminator")}),
    ("dannet train --no-optimiser.com", {"--no-optimiser.compile"}),
    ("dannet pretrain --preset o", {"official"}),
    ("dannet predict --model nig", {"night.onnx"}),
    ("dannet train --config n.", {"n.yaml"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab", reason="pip install shtab")
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        command = [sys.executable, "-m", "dannet_core", "--print-completion", shell]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        (folder / f"dannet.{shell}").write_text(done.stdout)
    return folder


def run(shell: str, *arguments: str, cwd: Path) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"no {shell} here: apt install {shell}")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=100, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("night.onnx", "day.onnx", "n.yaml"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_bash_completes(scripts, models, line, expected):
    said = run("bash", "--norc", "-c", BASH, "bash", str(scripts / "dannet.bash"), *line.split(), cwd=models)
    assert set(said.split()) == expected


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_fish_completes(scripts, models, line, expected):
    script = f"source {scripts / 'dannet.fish'}; complete -C '{line}'"
    said = run("fish", "--no-config", "-c", script, cwd=models)
    assert {word.split("\t")[0] for word in said.splitlines()} == expected


def test_zsh_reads_its_script(scripts, models):
    run("zsh", "--no-rcs", "-n", str(scripts / "dannet.zsh"), cwd=models)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_knows_every_verb(scripts, shell):
    text = (scripts / f"dannet.{shell}").read_text()
    assert [verb for verb in VERBS if verb not in text] == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["cmd"], "got 'cmd', expected one of bash, zsh, fish"),
        ([], "got 0 shells, expected one of bash, zsh, fish"),
        (["bash", "zsh"], "got 2 shells, expected one of bash, zsh, fish"),
    ],
)
def test_another_shell_is_one_line(capsys, argv, said):
    assert main(["--print-completion", *argv]) == 2
    assert capsys.readouterr().err == f"dannet: --print-completion: {said}\n"


def test_without_shtab_one_line_names_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print_completion", "bash"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("dannet: shtab is needed to complete in a shell but cannot be imported")
    assert said.endswith(": pip install shtab\n")
