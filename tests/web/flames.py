"""What tests in a browser do with a flame graph: open one, and find a frame by its label."""

from playwright.sync_api import Locator, Page, Position, expect

from tests.web.conftest import Server

__all__ = [
    "INSIDE",
    "MAGENTA",
    "at_rest",
    "focus_picture",
    "hover_first",
    "label",
    "labelled",
    "menu_of",
    "open_off_wake",
    "stand",
]

MAGENTA = ".frames rect[fill='rgb(230,0,230)']"
INSIDE: Position = {"x": 4, "y": 6}
AT_REST = """async () => {
  if (typeof loaded !== 'undefined') for (let last; last !== loaded;) await (last = loaded);
  else await new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn)));
}"""
"""Waits until every page that is on its way has come; in a file, whose address changes before its picture does, until it is
drawn."""
STAND = """names => {
  const labels = [...document.querySelectorAll('.labels *')];
  const places = names.map(name => +labels.find(label => label.textContent === name)?.getAttribute('y'));
  return places.every((place, number) => !number || places[number - 1] < place);
}"""


def open_off_wake(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="whole.offwake").click()
    expect(page.locator("svg.flame .button").first).to_be_visible()


def at_rest(page: Page) -> None:
    """Wait for the server's picture, which takes the place of what a zoom has drawn meanwhile."""
    page.evaluate(AT_REST)


def stand(page: Page, *labels: str) -> None:
    """Wait until the first frames with these labels stand in this order, from the top down."""
    page.wait_for_function(STAND, arg=labels)


def label(page: Page, text: str) -> Locator:
    """Find the first frame that carries this label."""
    return page.locator(".labels").get_by_text(text, exact=True).first


def labelled(page: Page, text: str) -> None:
    """Click the first frame that carries this label."""
    at_rest(page)
    label(page, text).click(position=INSIDE, force=True)  # what is under a label takes the click


def menu_of(page: Page, text: str) -> None:
    """Click the first frame that carries this label with the other button."""
    at_rest(page)
    label(page, text).click(button="right", position=INSIDE, force=True)


def hover_first(page: Page, text: str) -> None:
    """Point at the first frame that carries this label."""
    at_rest(page)
    label(page, text).hover(position=INSIDE, force=True)


def focus_picture(page: Page) -> None:
    """Give the keys to the picture."""
    at_rest(page)
    page.locator("svg.flame").focus()
