"""`offwake serve`: browse recordings in a browser."""

import argparse
import ipaddress
import secrets
import socket
import sys
from pathlib import Path

from offwake.errors import OffwakeError, UsageError

__all__ = ["add_arguments", "run"]

THREADS = 4
CONNECTIONS_AT_MOST = 100
HEADER_BYTES_AT_MOST = 32 * 1024
BODY_BYTES_AT_MOST = 1024  # nothing here takes any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE or FOLDER", help="default: this folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a further host name that browsers may use"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Beyond the loopback address every visitor needs the token in the address that is printed."""
    # Only this command needs them; the others start without.
    import waitress

    from offwake.web.app import create_app
    from offwake.web.safety import LOOPBACK_HOSTS

    paths = args.paths or [Path()]
    if not 0 <= args.port < 65536:
        raise UsageError(f"--port {args.port}: a port is a number from 0 to 65535")
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder")
    token = None if _is_loopback(args.host) else secrets.token_hex(16)
    names = (*LOOPBACK_HOSTS, *_names(args.host), *args.allow_host)
    try:
        server = waitress.create_server(
            create_app(paths, tuple(name.lower() for name in names), token),  # as browsers send them
            host=args.host,
            port=args.port,
            threads=THREADS,
            connection_limit=CONNECTIONS_AT_MOST,
            max_request_header_size=HEADER_BYTES_AT_MOST,
            max_request_body_size=BODY_BYTES_AT_MOST,
            ident=None,
        )
    except (OSError, ValueError) as error:
        raise OffwakeError(f"cannot listen on {args.host} port {args.port}: {error}; choose another --port") from error
    url = f"http://{_names(args.host)[0]}:{server.effective_port}/" + (f"?token={token}" if token else "")
    print(f"offwake: serving on {url} (Ctrl-C ends)", file=sys.stderr)
    server.run()
    return 0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names(host: str) -> list[str]:
    """Return the names by which browsers may ask, the best first. Flask's check of names knows no IPv6 address."""
    if _is_loopback(host):
        return ["localhost" if ":" in host else host]
    if host != "0.0.0.0" and ":" not in host:
        return [host]
    name = socket.gethostname()
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(name, None, socket.AF_INET)}
    except OSError:
        addresses = set()
    return [name, socket.getfqdn(), *sorted(addresses)]
