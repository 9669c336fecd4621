"""Make the pictures of docs/reading.md anew: run the commands that it shows, and photograph what they draw.

    .venv/bin/python docs/pictures/reading.py [pgbench.offwake]

Without a recording it makes one, as root and with PostgreSQL (postgres.sh). The figures in the text are those of the
pictures: a new recording wants new ones.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from make import keep
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
PAGE = HERE.parent / "reading.md"
PICTURES = HERE / "reading"
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def draw(recording: Path, folder: Path) -> list[Path]:
    """Run every command of the page in the folder, on the recording; the SVG files that they leave there."""
    (folder / "pgbench.offwake").symlink_to(recording)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for commands in COMMANDS.findall(PAGE.read_text()):
        subprocess.run(["sh", "-euc", commands], cwd=folder, env=environment, check=True)
    return sorted(folder.glob("*.svg"))


def main() -> None:
    """Write a picture for each SVG that the page draws."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        recording = Path(sys.argv[1]).resolve() if sys.argv[1:] else folder / "recorded.offwake"
        if not sys.argv[1:]:
            subprocess.run([HERE / "postgres.sh", recording], check=True)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        for picture in draw(recording, folder):
            page.goto(picture.as_uri())
            keep(browser, page.locator("svg").first.screenshot(), PICTURES / f"{picture.stem}.webp")
        browser.close()


if __name__ == "__main__":
    main()
