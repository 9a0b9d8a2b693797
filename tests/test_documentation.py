"""The documents: no broken link, no page that nobody finds, and examples that are what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmir.commands.run import COMMANDS
from cmir.data import load_dataset
from cmir.space.search_space import checked_space
from cmir.space.space_file import parse_sweep

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def pages_in(entry: Any) -> Iterator[str]:
    """The pages that a part of the navigation names."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from pages_in(part)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *PAGES])
def test_every_link_leads_to_a_file(page: str) -> None:
    links = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    files = {link.partition("#")[0] for link in links if "://" not in link}
    assert [
        file for file in files if file and not (ROOT / page).parent.joinpath(file).exists()
    ] == []


def test_the_navigation_names_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = sorted(f"docs/{page}" for page in pages_in(yaml.safe_load(text)["nav"]))
    assert named == PAGES


def test_every_command_has_its_line() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `cmir (\w+)` \|", text, re.MULTILINE)
    assert sorted(told) == sorted(COMMANDS)


def test_the_tutorial_writes_a_data_set_and_a_sweep_file_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(blocks("tutorial.md", "python")[0], {})
    data = load_dataset("data/clips")
    assert set(data.sizes) == {"train", "id_val", "ood_val", "ood_test"}
    file = parse_sweep(yaml.safe_load(blocks("tutorial.md", "yaml")[0]), "clips.yaml")
    space = checked_space(file, "clips.yaml")
    assert len(space.file.start_from) == 3
    assert {"audio", "vision"} == set(data.development().modalities)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    method = (tmp_path / "method.html").read_text(encoding="utf-8")
    assert "<math" in method
    assert "arithmatex" not in method
    assert "cmir.sweep" in (tmp_path / "reference" / "python.html").read_text(encoding="utf-8")
