"""Safety: who may ask, under which host name, and what a browser may do with the answers.

A recording shows what a machine does, so nobody but its user sees it by default. A page of another site must not reach
it either: a Host that is not ours is refused (DNS rebinding), and so is a request without the token when there is one.
"""

import hmac
import secrets

from flask import Flask, Response, abort, g, redirect, request
from werkzeug.wrappers import Response as AnyResponse
from werkzeug.wsgi import get_host

__all__ = ["LOOPBACK_HOSTS", "guard", "nonce"]

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
COOKIE = "offwake"
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Scripts and styles are those that a template names: not even this site's own downloads can be one."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def guard(app: Flask, hosts: tuple[str, ...], token: str | None) -> None:
    """Refuse other hosts, and everybody without the token if there is one; send the safe headers with every answer.

    The token comes in the query once and in a cookie from then on, so that it is not in the addresses that people copy. A
    strict cookie would not be sent after a link on another site; a lax one will do, as no request here changes anything.
    """
    @app.before_request
    def check() -> AnyResponse | None:
        get_host(request.environ, hosts)  # not Flask's TRUSTED_HOSTS: versions that do not know it let everybody in
        if token is None:
            return None
        if _same(request.args.get("token"), token):
            answer = redirect("/" + request.path.lstrip("/"))
            answer.set_cookie(COOKIE, token, httponly=True, samesite="Lax")
            return answer
        if not _same(request.cookies.get(COOKIE), token):
            abort(401, "Open the address that “offwake serve” printed: it carries the token.")
        return None

    @app.after_request
    def send_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        response.headers["Content-Security-Policy"] = POLICY.format(nonce=nonce())
        return response


def nonce() -> str:
    """Return the word of this answer alone by which its page's scripts and styles are known, of 128 bits."""
    if "nonce" not in g:
        g.nonce = secrets.token_urlsafe(16)
    word: str = g.nonce
    return word


def _same(given: str | None, token: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), token.encode())
