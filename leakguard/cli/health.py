"""`leakguard health`: is the daemon's loop alive? Standard library only, for container probes."""

import argparse
import http.client
import json
import os
import sys
from urllib.parse import urlsplit

from leakguard.cli._socket import UnixConnection, candidates

EPILOG = """examples:
  leakguard health
  leakguard health --url http://127.0.0.1:9847
exit codes: 0 alive, 1 not alive or not there, 2 usage, 77 permission"""

OK, FAILED, USAGE, PERMISSION = 0, 1, 2, 77


def main(argv: list[str]) -> int:
    """Ask `/healthz`, print one line, give the exit code."""
    args = _parser().parse_args(argv)
    try:
        return _ask(args.socket, args.url, args.timeout)
    except PermissionError as error:
        return _say(
            f"not allowed to use the socket ({error.strerror}): run as the daemon's user",
            PERMISSION,
        )
    except ValueError as error:
        return _say(str(error), USAGE)


def _ask(path: str | None, url: str | None, timeout_s: float) -> int:
    refused: PermissionError | None = None
    places = [url] if url else candidates(path, os.environ)
    for place in places:
        connection = _over_tcp(place, timeout_s) if url else UnixConnection(place, timeout_s)
        try:
            return _judge(connection)
        except PermissionError as error:
            refused = error
        except TimeoutError:
            return _say(f"no answer on {place} within {timeout_s:g}s", FAILED)
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    if refused:
        raise refused
    return _say(f"no daemon answers on {' or '.join(places)}", FAILED)


def _judge(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    body = answer.read(65536)
    if answer.status == http.client.OK:
        print("ok")
        return OK
    try:
        problem = json.loads(body).get("problem") or body.decode(errors="replace")
    except (ValueError, AttributeError):
        problem = body.decode(errors="replace").strip()
    return _say(f"{answer.status}: {problem}", FAILED)


def _over_tcp(url: str, timeout_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"--url {url}: write it as http://HOST:PORT")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=timeout_s)


def _say(message: str, code: int) -> int:
    print(f"leakguard: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="leakguard health",
        description="Ask whether the daemon is alive: exit 0 or 1.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--socket", metavar="PATH", help="the daemon's unix socket")
    where.add_argument("--url", metavar="URL", help="ask over TCP instead: http://HOST:PORT")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=2.0, help="default: %(default)s"
    )
    return parser
