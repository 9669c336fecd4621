"""Make the pictures of docs/viewer.md and the README anew: record the demo's workload, and photograph the viewer's pages.

    make pictures        (as root)

It is recorded twice, the second time on a busy day and with every source there is, so that there is something to compare
and something on each page. Every page is taken light and dark, as WebP, which Chromium itself makes of what it
photographs.
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
BUSY = HERE / "busy_shop.py"
SECONDS = "6"
SOURCES = (
    *("sched", "on-cpu", "block", "tcp", "tcp-rtt", "tcp-bytes", "tcp-drop", "tcp-stats", "dns", "syscalls", "net-stack"),
    *("count:u:libc:*alloc", "time:u:libc:fsync", "trace:irq:softirq_entry..irq:softirq_exit by vec+cpu"),
    "trace:block:block_rq_issue:stack",
)
PAGES = {
    "recordings": "{viewer}",
    "summary": "{shop}words/summary?comm=shop*",
    "off-wake": "{shop}flame/off-wake?comm=shop*",
    "chain": "{shop}flame/chain?comm=shop-logger",
    "time": "{shop}flame/off-cpu?comm=shop*&from=2&to=2.5",
    "heatmap": "{shop}heatmap/off-cpu?comm=shop*&from=2&to=4&min_us=1000&max_us=20000&ended=1",
    "compare": "{viewer}compare?first={before}&second={after}&comm=shop*&view=off-wake",
    "report": "{report}",
}
"""Pages that are taken whole, by the names of their pictures."""
PARTS = {
    "histogram": "{shop}histogram/off-cpu?comm=shop*&each=state",
    "threads": "{shop}table/threads?sort=blocked_ns&down=1&comm=shop*",
    "idle": "{shop}words/idle?comm=shop*",
    "offset": "{busy}heatmap/block-io?offset=1",
    "waits-for": "{shop}table/waits-for?sort=blocked_ns&down=1&comm=shop*",
    "block-io": "{busy}table/block-io?sort=service_ns&down=1&comm=shop*",
    "tcp-sessions": "{busy}table/tcp-sessions?sort=tx_bytes&down=1&comm=shop*",
    "tcp-states": "{busy}table/tcp-states?comm=shop*",
    "tcp-retransmits": "{busy}table/tcp-retransmits?comm=shop*",
    "tcp-top": "{busy}table/tcp-top?sort=tx_bytes&down=1&comm=shop*",
    "tcp-rtt": "{busy}heatmap/tcp-rtt?comm=shop*",
    "tcp-windows": "{busy}table/tcp-windows?comm=shop*",
    "tcp-drop": "{busy}flame/tcp-drop?icicle=1",
    "tcp-drops": "{busy}table/tcp-drops",
    "tcp-stats": "{busy}table/tcp-stats?sort=resets_received&down=1&comm=shop*",
    "tcp-counters": "{busy}table/tcp-counters?sort=count&down=1",
    "net-stack": "{busy}table/net-stack?sort=total_ns&down=1&comm=shop*",
    "dns": "{busy}table/dns?comm=shop*",
    "syscalls": "{busy}table/syscalls?sort=total_ns&down=1&comm=shop*",
    "function-counts": "{busy}table/function-counts",
    "events": "{busy}table/events:rwbs+comm?comm=shop*",
    "pairs": "{busy}heatmap/pairs",
}
"""Pages of which the upper part of what is below the filters is taken."""
README_PAGE = "off-wake"
WIDTH, HEIGHT, PART_HEIGHT = 1280, 860, 460
TO_WEBP = """async png => {
  const image = new Image();
  image.src = "data:image/png;base64," + png;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/webp", 0.6).split(",")[1];
}"""


def main() -> None:
    """Write a picture a page and theme, and the README's as PNG."""
    VIEWER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shop-") as name, sync_playwright() as playwright:
        folder = Path(name)
        report = recorded(folder)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        with served(folder) as address:
            for scheme in ("light", "dark"):
                photograph(browser, address, report, scheme)
        browser.close()


def recorded(folder: Path) -> Path:
    """Record both days into the folder, and return the report on the first."""
    for number, (script, sources) in enumerate(((WORKLOAD, ()), (BUSY, ("--sources", ",".join(SOURCES))))):
        copy = shutil.copy(script, folder)  # its path is in its stacks
        recording = folder / ("shop.offwake", "busy.offwake")[number]
        command = [sys.executable, copy, SECONDS]
        subprocess.run([OFFWAKE, "record", "-o", recording, *sources, "--", *command], check=True, cwd=folder)
    report = folder / "report.html"
    subprocess.run([OFFWAKE, "report", folder / "shop.offwake", "-o", report, "--comm", "shop*"], check=True)
    return report


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the recordings in a folder, and yield the address that the command says it serves on."""
    command = [OFFWAKE, "serve", folder, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        try:
            yield server.stderr.readline().split()[3]
        finally:
            server.terminate()


def photograph(browser: Browser, address: str, report: Path, scheme: str) -> None:
    """Take every page in one theme."""
    page = browser.new_page()
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(address)
    links = {link.text_content(): str(link.get_attribute("href")) for link in page.locator("main table a").all()}
    shop, busy = (address.rstrip("/") + links[f"{name}.offwake"] for name in ("shop", "busy"))
    before, after = (url.rstrip("/").rpartition("/")[2] for url in (shop, busy))
    known = {"viewer": address, "shop": shop, "busy": busy, "before": before, "after": after, "report": report.as_uri()}
    for name, url in (PAGES | PARTS).items():
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        response = page.goto(url.format(**known))
        assert response is None or response.ok, f"{name}: {response.status} at {response.url}"  # None: it is on the disk
        png = part(page) if name in PARTS else page.screenshot()
        keep(browser, png, VIEWER / f"{name}-{scheme}.webp")
        if (name, scheme) == (README_PAGE, "light"):
            (HERE / f"{name}.png").write_bytes(png)
    page.close()


def part(page: Page) -> bytes:
    """Take the upper part of what is below a page's filters."""
    box = page.locator("main").bounding_box()
    assert box
    page.set_viewport_size({"width": WIDTH, "height": round(box["y"]) + PART_HEIGHT})
    return page.screenshot(clip={"x": 0, "y": box["y"], "width": WIDTH, "height": min(box["height"], PART_HEIGHT)})


def keep(browser: Browser, png: bytes, path: Path) -> None:
    """Write a picture as WebP."""
    blank: Page = browser.new_page()
    path.write_bytes(base64.b64decode(blank.evaluate(TO_WEBP, base64.b64encode(png).decode())))
    blank.close()


if __name__ == "__main__":
    main()
