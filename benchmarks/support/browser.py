"""A headless Chromium: what a page says once its scripts have run, and a picture of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Milliseconds that a page's own clock may run: MLflow asks its server several times.
BUDGET = 20_000


def found_browser() -> str | None:
    """The command of a browser, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def shown(browser: str, url: str, picture: Path | None, profile: Path, height: int = 1000) -> str:
    """The words on a page, in the order in which they stand in it; a picture of it, if wanted.

    Args:
        browser: its command.
        url: of the page.
        picture: PNG file, or None: none is wanted.
        profile: folder for what the browser remembers from page to page.
        height: of the window.
    """
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += [f"--window-size=2600,{height}", f"--user-data-dir={profile}"]
    options += [f"--virtual-time-budget={BUDGET}", "--run-all-compositor-stages-before-draw"]
    pictures = [] if picture is None else [f"--screenshot={picture}"]
    for what in (*pictures, "--dump-dom"):
        done = subprocess.run(
            [browser, *options, what, url], capture_output=True, text=True, timeout=180, check=True
        )
    return words(done.stdout)


def words(page: str) -> str:
    """A page without its marks.

    Example:
        >>> words("<p>one<b>two</b></p><script>three()</script>")
        'one two'
    """
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
