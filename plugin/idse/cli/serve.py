"""``idse serve``: networks in a process of their own, for encoders and for callers over HTTP."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from idse.errors import InputError, missing_extra
from idse.server.priority import NICENESS
from idse.vision import DEFAULT_MODEL

if TYPE_CHECKING:
    from idse.server.settings import Ready, ServeOptions

_DESCRIPTION = """\
Own the networks, so that encoders stay light. Encoders of this machine (idse ffmpeg, idse shell)
hand over pictures by shared memory and get QP offsets back; whoever speaks the KServe v2 protocol
(Triton's clients, for instance) gets importance maps and sketches. Runs until SIGTERM, and then
finishes what is under way.
"""
_EPILOG = """\
examples:
  idse serve                                      for encoders and callers of this user
  idse serve --model yolov4-tiny --model efficientnet-lite0
  idse serve --maps street=maps.safetensors       an encoder asks for it by --maps street
  idse serve --tcp 127.0.0.1:8000                 also over TCP; prints the page's address
  openssl rand -hex 24 > token && idse serve --tcp 0.0.0.0:8000 --token-file token

HTTP is at the socket's name with .http at its end, and over TCP:
  /                          a page: drop an image or a clip, see what steering does to it
  /v2/models/importance/infer    image (uint8 rows x columns x 3) or y, cb, cr -> importance
  /v2/models/sketch/infer        the same -> the sketched Jacobian by every sample
  /v2/models/vae-encode/infer    image; target_bytes or bpp -> stream: a file of the learned codec
  /v2/models/vae-decode/infer    stream -> image
  /v2/health/ready  /metrics  /status  /openapi.json

  curl --unix-socket $XDG_RUNTIME_DIR/idse/serve.sock.http http://idse/status
  curl -H "Authorization: Bearer $(cat token)" http://127.0.0.1:8000/v2/models/importance

Clients name models and maps that are registered here, never files. Over TCP every request needs the
token; without --token-file one is made up, and the ready line tells it. Encoders come first: the
server runs at niceness 5, which --nice changes (for a service of systemd that is CPUWeight). A
second SIGTERM ends the server at once. Logs are JSON lines on standard error. Exit code 0, 2 for an
error.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="serve networks to encoders and over HTTP",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="network that clients may name, as for transcode --model; the first one is what those "
        f"get who name none; may be repeated ({DEFAULT_MODEL}; with --maps none)",
    )
    parser.add_argument(
        "--maps",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="map file that encoders may name; may be repeated",
    )
    parser.add_argument(
        "--vae-model",
        action="append",
        default=[],
        metavar="FILE",
        help="model of the learned codec; may be repeated (those that came with idse)",
    )
    where = parser.add_argument_group("where")
    where.add_argument(
        "--socket",
        type=Path,
        metavar="PATH",
        help="of encoders (IDSE_SOCKET, else idse/serve.sock in the user's runtime folder)",
    )
    where.add_argument("--tcp", metavar="HOST:PORT", help="HTTP over TCP, too; port 0: any")
    where.add_argument("--token-file", type=Path, metavar="FILE", help="whose first line it is")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="networks at a time (1)")
    parser.add_argument(
        "--grace", type=float, default=10.0, metavar="S", help="for encoders to end in (10)"
    )
    parser.add_argument(
        "--exit-when-idle", type=float, metavar="S", help="end after so long without any client"
    )
    parser.add_argument(
        "--nice",
        type=int,
        default=NICENESS,
        metavar="N",
        help=f"how far to give way to other processes, encoders above all: 0 to 19 ({NICENESS})",
    )
    parser.add_argument("--json", action="store_true", help="write the ready line as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    options = _options(args)
    try:
        from idse.server.logs import use_json_logs
        from idse.server.service import serve
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or "fastapi", "server") from error
    use_json_logs(logging.DEBUG if args.verbose else logging.INFO)

    def ready(where: Ready) -> None:
        tell(where, options.token, told=args.token_file is not None, as_json=args.json)

    serve(options, ready)
    return 0


def tell(where: Ready, token: str | None, *, told: bool, as_json: bool) -> None:
    """Print where the server listens; the token, too, where nobody else knows it."""
    page = None
    if where.tcp is not None:
        page = f"http://{where.tcp}/" + ("" if told else f"?token={token}")
    if as_json:
        facts = {"encoders": where.encoders, "http": where.http, "pid": where.pid, "page": page}
        if where.tcp is not None:
            facts["tcp"] = where.tcp
            if not told:
                facts["token"] = token
        print(json.dumps(facts), flush=True)
        return
    print(f"idse serve: ready; encoders: {where.encoders}, HTTP: {where.http}", flush=True)
    if page is not None:
        print(f"idse serve: page: {page}", flush=True)


def _options(args: argparse.Namespace) -> ServeOptions:
    from idse.server.auth import make_token, read_token
    from idse.server.paths import default_socket
    from idse.server.settings import ServeOptions

    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs} must be at least 1")
    if args.token_file is not None and args.tcp is None:
        raise InputError("--token-file is for --tcp: whoever may open the socket needs no token")
    if not 0 <= args.grace < float("inf"):
        raise InputError(f"--grace {args.grace} must be a number of seconds, 0 or more")
    if not 0 <= args.nice <= 19:
        raise InputError(f"--nice {args.nice} must be 0 to 19")
    if args.exit_when_idle is not None and not 0 < args.exit_when_idle < float("inf"):
        raise InputError(f"--exit-when-idle {args.exit_when_idle} must be seconds above 0")
    token = None
    if args.tcp is not None:
        token = make_token() if args.token_file is None else read_token(args.token_file)
    return ServeOptions(
        path=default_socket() if args.socket is None else args.socket,
        models=args.model or ([] if args.maps else [DEFAULT_MODEL]),
        maps=dict(_named(text) for text in args.maps),
        vae_models=args.vae_model,
        tcp=None if args.tcp is None else _address(args.tcp),
        token=token,
        jobs=args.jobs,
        grace=args.grace,
        idle=args.exit_when_idle,
        niceness=args.nice,
    )


def _named(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise InputError(f"--maps {text!r} is not NAME=FILE")
    return name, Path(path)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InputError(f"--tcp {text!r} is not HOST:PORT, such as 127.0.0.1:8000")
    return host.strip("[]"), int(port)
