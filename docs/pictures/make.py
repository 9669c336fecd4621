"""Make the pictures of the README anew: record the demo's workload, and photograph the viewer's pages in Chromium.

    make pictures        (as root)
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
OFFWAKE = Path(sys.executable).with_name("offwake")
WORKLOAD = HERE.parents[1] / "examples" / "workload.py"
PAGES = {"off-wake": "flame/off-wake?comm=shop*"}
SIZE = {"width": 1280, "height": 860}


@contextmanager
def served(recording: Path) -> Iterator[str]:
    """Serve one recording, and yield the address that the command says it serves on."""
    command = [OFFWAKE, "serve", recording, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        yield server.stderr.readline().split()[3]
        server.terminate()


def main() -> None:
    """Write a PNG a page beside this script."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        recording = Path(folder, "shop.offwake")
        subprocess.run([OFFWAKE, "record", "-o", recording, "--", sys.executable, WORKLOAD, "6"], check=True)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        with served(recording) as address:
            page = browser.new_page(viewport={"width": SIZE["width"], "height": SIZE["height"]})
            page.goto(address)
            page.click("main table a")
            base = page.url.partition("/flame")[0]
            for name, path in PAGES.items():
                page.goto(f"{base}/{path}")
                page.screenshot(path=HERE / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
