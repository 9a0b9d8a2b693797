"""Where numbers come from: commit, versions, machine. Logged with every sweep and model."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "ray", "optuna", "mlflow", "polars", "numpy", "scikit-learn", "cmir-sweep")


def provenance(folder: Path | None = None) -> dict[str, str]:
    """Tags that name the code and the libraries: git commit and dirty flag, versions, Python."""
    tags = {f"version.{name}": _version(name) for name in LIBRARIES}
    tags["version.python"] = platform.python_version()
    tags["machine"] = f"{platform.system()} {platform.machine()}"
    commit = _git("rev-parse", "HEAD", folder=folder)
    if commit:
        tags["git.commit"] = commit
        tags["git.dirty"] = str(bool(_git("status", "--porcelain", folder=folder))).lower()
    return tags


@cache
def code_checksum() -> str:
    """Twelve hexadecimal digits of the package's source: other code may train otherwise.

    The commands are left out, which only read their command line and print.
    """
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for file in sorted(set(root.rglob("*.py")) - set(root.glob("commands/*.py"))):
        digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _git(*words: str, folder: Path | None) -> str:
    """What a git command prints, empty outside a repository or without git."""
    path = folder or Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", *words], cwd=path, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
