"""Make the pictures of docs/viewer.md and the README anew: record the demo's workload, and photograph the viewer's pages.

    make pictures        (as root)

Each page is taken light and dark, as WebP, which Chromium itself makes of what it photographs.
"""

import base64
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
VIEWER = HERE / "viewer"
OFFWAKE = Path(sys.executable).with_name("offwake")
WORKLOAD = HERE.parents[1] / "examples" / "workload.py"
PAGES = {
    "recordings": "",
    "summary": "words/summary?comm=shop*",
    "off-wake": "flame/off-wake?comm=shop*",
    "chain": "flame/chain?comm=shop-logger",
    "time": "flame/off-cpu?comm=shop*&from=2&to=2.5",
    "heatmap": "heatmap/off-cpu?comm=shop*&from=2&to=4&min_us=1000&max_us=20000&ended=1",
    "histogram": "histogram/off-cpu?comm=shop*&each=state",
    "threads": "table/threads?sort=blocked_ns&down=1&comm=shop*",
    "idle": "words/idle?comm=shop*",
}
"""The pages by the names of their pictures; of the list itself, no path in a recording."""
README_PAGE = "off-wake"
SIZE = {"width": 1280, "height": 860}
TO_WEBP = """async png => {
  const image = new Image();
  image.src = "data:image/png;base64," + png;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/webp", 0.6).split(",")[1];
}"""


@contextmanager
def served(recording: Path) -> Iterator[str]:
    """Serve one recording, and yield the address that the command says it serves on."""
    command = [OFFWAKE, "serve", recording, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        yield server.stderr.readline().split()[3]
        server.terminate()


def main() -> None:
    """Write a picture a page and theme, and the README's as PNG."""
    VIEWER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shop-") as folder, sync_playwright() as playwright:
        recording = Path(folder, "shop.offwake")
        workload = shutil.copy(WORKLOAD, folder)  # its path is in its stacks
        subprocess.run([OFFWAKE, "record", "-o", recording, "--", sys.executable, workload, "6"], check=True)
        report = Path(folder, "report.html")
        subprocess.run([OFFWAKE, "report", recording, "-o", report, "--comm", "shop*"], check=True)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        with served(recording) as address:
            for scheme in ("light", "dark"):
                photograph(browser, address, report, scheme)
        browser.close()


def photograph(browser: Browser, address: str, report: Path, scheme: str) -> None:
    """Take every page in one theme."""
    page = browser.new_page(viewport={"width": SIZE["width"], "height": SIZE["height"]})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(address)
    base = address.rstrip("/") + str(page.locator("main table a").first.get_attribute("href"))
    for name, path in PAGES.items():
        page.goto(base + path if path else address)
        png = page.screenshot()
        keep(browser, png, VIEWER / f"{name}-{scheme}.webp")
        if (name, scheme) == (README_PAGE, "light"):
            (HERE / f"{name}.png").write_bytes(png)
    page.goto(report.as_uri())
    keep(browser, page.screenshot(), VIEWER / f"report-{scheme}.webp")
    page.close()


def keep(browser: Browser, png: bytes, path: Path) -> None:
    """Write a picture as WebP."""
    blank: Page = browser.new_page()
    path.write_bytes(base64.b64decode(blank.evaluate(TO_WEBP, base64.b64encode(png).decode())))
    blank.close()


if __name__ == "__main__":
    main()
