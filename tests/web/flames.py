"""What tests in a browser do with a flame graph: open one, and find a frame by its label."""

from playwright.sync_api import Locator, Page, Position, expect

from tests.web.conftest import Server

__all__ = ["INSIDE", "MAGENTA", "hover_first", "label", "labelled", "open_off_wake"]

MAGENTA = ".frames rect[fill='rgb(230,0,230)']"
INSIDE: Position = {"x": 4, "y": 6}


def open_off_wake(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="whole.offwake").click()
    expect(page.locator("svg.flame .button").first).to_be_visible()


def label(page: Page, text: str) -> Locator:
    """Find the first frame that carries this label."""
    return page.locator(".labels").get_by_text(text, exact=True).first


def labelled(page: Page, text: str) -> None:
    """Click the first frame that carries this label."""
    label(page, text).click(position=INSIDE, force=True)  # what is under a label takes the click


def hover_first(page: Page, text: str) -> None:
    """Point at the first frame that carries this label."""
    label(page, text).hover(position=INSIDE, force=True)
