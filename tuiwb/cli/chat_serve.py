"""`tuiwb chat serve WHOM`: our engine behind the OpenAI API, on loopback or a unix socket, until Ctrl+C."""

import argparse
import os
import secrets
import signal
from pathlib import Path
from typing import Any

from tuiwb.base.errors import EnvironmentFault, InputFault, UsageFault
from tuiwb.cli import output

PORT = 8642
TOKEN = "TUIWB_CHAT_TOKEN"


def run(whom: str, args: argparse.Namespace) -> int:
    from tuiwb import chat
    from tuiwb.chat import server as servers
    from tuiwb.chat.broker import Broker
    from tuiwb.cli.chat import draft_of, say_whether_it_fits

    if args.port is not None and args.socket is not None:
        raise UsageFault("give a port or a socket, not both")
    if args.port is not None and not 0 <= args.port < 65536:
        raise InputFault("is no port", key="--port")
    target = chat.target_of(whom, adapters=args.adapter, template=args.chat_template)
    for ref in args.beside:
        target = chat.Target(target.title, (*target.lanes, chat.further(target, ref)), target.run_id)
    lanes = tuple(lane for lane in target.lanes if isinstance(lane, chat.Lane))
    if len(lanes) < len(target.lanes):
        raise InputFault("an endpoint is served already")
    for warning in target.warnings:
        output.say(f"warning: {warning}")
    say_whether_it_fits(target)
    given = os.environ.get(TOKEN, "").strip()
    token = given or secrets.token_urlsafe(24)
    signal.signal(signal.SIGTERM, _interrupt)
    broker = Broker(lanes, draft=draft_of(args.draft))
    try:
        path = None if args.socket is None else Path(args.socket).absolute()
        with servers.open_server(broker, token, port=PORT if args.port is None else args.port, path=path) as server:
            _wait(broker)
            address, names = servers.address_of(server), [lane.name for lane in lanes]
            _tell(args, address, names, "" if given else token)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                output.say("closed")
            finally:
                if path is not None:
                    path.unlink(missing_ok=True)
    finally:
        broker.close()
    return 0


def _wait(broker: Any) -> None:
    """Until the models are loaded: what cannot be loaded is told at once."""
    output.say("loading …")
    broker.ready.wait()
    if broker.problem:
        raise EnvironmentFault(broker.problem)


def _tell(args: argparse.Namespace, address: str, names: list[str], token: str) -> None:
    if args.json:
        output.print_json({"url": address, "models": names, "token": token or None, "pid": os.getpid()})
        return
    output.write(address)
    if token:
        output.write(f"{TOKEN}={token}")
    output.say(f"serves {', '.join(names)}; Ctrl+C ends it")


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
