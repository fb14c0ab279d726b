"""The papers hold: links lead somewhere, files and commands that they name are there, the README's program runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fetfast import image
from fetfast.cli import main

ROOT = Path(__file__).parents[1]
PAPERS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TOP = "fetfast kernels csrc bench tests docs demo".split()


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_files(paper: Path) -> None:
    text = paper.read_text()
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", link):
            assert (paper.parent / link).exists(), link
    for name in re.findall(r"`([\w./-]+)`", text):
        if name.split("/")[0] in TOP and "/" in name and "NAME" not in name:
            assert list(ROOT.glob(name.rstrip("/"))), name


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands(paper: Path) -> None:
    """Each command that a paper names in code is one, and has the options that stand behind it on the line."""
    text = paper.read_text()
    blocks = re.findall(r"^```\n(.*?)^```", re.sub(r"^```[a-z]+\n.*?^```", "", text, flags=re.S | re.M), re.S | re.M)
    code = [*blocks, *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))]
    assert blocks or paper.name != "README.md"
    for line in "\n".join(code).splitlines():
        for name, rest in re.findall(r"\bfetfast ([a-z]+)((?:, [a-z]+)*[^|]*)", line):
            assert name in main.commands, line
            known = {flag for p in main.commands[name].params for flag in (*p.opts, *p.secondary_opts)}
            known |= {flag for sub in getattr(main.commands[name], "commands", {}).values() for p in sub.params
                      for flag in (*p.opts, *p.secondary_opts)}  # fmt: skip
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.split(r"\s{3,}|fetfast", rest)[0]):
                assert option in known, f"{name}: {option}"


def test_the_readme_s_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    exec(compile(program, "README.md", "exec"), {})
    assert image.is_marked(tmp_path / "out.png") and len(program.strip().splitlines()) <= 12
