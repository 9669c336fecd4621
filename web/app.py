"""The application: pages and downloads over a library, behind the guard, with errors as sentences."""

import re
from pathlib import Path
from typing import Any

from flask import Flask, render_template
from markupsafe import Markup, escape
from werkzeug.exceptions import HTTPException

from offwake.analyzer.completeness import completeness
from offwake.analyzer.render.table import cell_text
from offwake.analyzer.render.text import count, duration, percent, printable, weight
from offwake.errors import OffwakeError
from offwake.web.compare import comparing
from offwake.web.downloads import downloads
from offwake.web.library import Library
from offwake.web.pages import link, pages
from offwake.web.safety import LOOPBACK_HOSTS, guard, nonce
from offwake.web.words import words

__all__ = ["create_app"]

COMMAND = re.compile("`([^`]+)`")


def create_app(paths: list[Path], hosts: tuple[str, ...] = LOOPBACK_HOSTS, token: str | None = None) -> Flask:
    """Return the application over these recordings and folders; `hosts` are the names that it answers to."""
    app = Flask(__name__)
    app.extensions["library"] = Library(paths)
    app.jinja_env.finalize = _printable
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(count=count, duration=duration, percent=percent, weight=weight)
    app.jinja_env.filters["commands"] = _with_commands
    app.jinja_env.globals.update(link=link, cell_text=cell_text, completeness=completeness, nonce=nonce)
    guard(app, hosts, token)
    for blueprint in (pages, downloads, words, comparing):
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(OffwakeError, _offwake_error)
    return app


def _printable(value: Any) -> Any:
    """Make every text that a template prints printable; markup was made here and is left alone."""
    return printable(value) if type(value) is str else value


def _with_commands(text: str) -> Markup:
    """Show what stands between backticks as a terminal's text."""
    return Markup(COMMAND.sub(r"<code>\1</code>", str(escape(printable(text)))))


def _http_error(error: HTTPException) -> tuple[str, int]:
    return render_template("error.html", title=error.name, sentence=error.description), error.code or 500


def _offwake_error(error: OffwakeError) -> tuple[str, int]:
    """Show why a request or a recording cannot be had: the same sentence as on the command line."""
    return render_template("error.html", title="This cannot be shown", sentence=str(error)), 400
