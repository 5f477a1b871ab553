"""One question to one or several at once, without a screen: each answers, or fails by itself."""

import contextlib
import queue
from collections.abc import Callable
from dataclasses import dataclass

from tuiwb.chat.engine import Engine
from tuiwb.chat.protocol import Died, Done, EndpointLane, Event, Failed, Lane, Loading, Sampling, Token
from tuiwb.chat.remote import Remote
from tuiwb.chat.target import Target


@dataclass(frozen=True, slots=True)
class Broken:
    """Why there is no answer, or half of one.

    Attributes:
        text: what came of it.
        message: one sentence.
        exit_code: see `base.errors`.
    """

    text: str
    message: str
    exit_code: int


def answer_once(
    target: Target,
    prompt: str,
    *,
    names: tuple[str, ...],
    system: str | None = None,
    sampling: Sampling | None = None,
    draft: str | None = None,
    on_text: Callable[[str, str], None] | None = None,
    on_doing: Callable[[str], None] | None = None,
) -> dict[str, Done | Broken]:
    """One question to an engine of its own, and to endpoints.

    Args:
        names: the lanes to ask.
        draft: as `protocol.Spec.draft`.
        on_text: gets (lane, piece) as the answers grow.
        on_doing: gets what the engine does before it answers.

    Returns:
        what became of each lane, in the order of `names`.

    Raises:
        EnvironmentFault: the engine could not be started.
    """
    events: queue.Queue[Event] = queue.Queue()
    found: dict[str, Done | Broken] = {}
    came = dict.fromkeys(names, "")
    messages: list[dict[str, object]] = [{"role": "user", "content": prompt}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    lanes = [lane for lane in target.lanes if lane.name in names]
    local = tuple(lane for lane in lanes if isinstance(lane, Lane))
    far = tuple(lane for lane in lanes if isinstance(lane, EndpointLane))

    def broken(which: tuple[str, ...], event: Failed | Died) -> None:
        for name in which:
            found.setdefault(name, Broken(came[name], event.message, event.exit_code))

    with contextlib.ExitStack() as open_ones:
        if local:
            engine = open_ones.enter_context(Engine(local, on_event=events.put, draft=draft))
            engine.ask({lane.name: messages for lane in local}, sampling or Sampling(), question=1)
        if far:
            remote = Remote(far, on_event=events.put)
            open_ones.callback(remote.close)
            remote.ask(1, {lane.name: messages for lane in far}, sampling or Sampling())
        ours = tuple(lane.name for lane in local)
        while len(found) < len(names):
            match event := events.get():
                case Token():
                    came[event.lane] += event.text
                    if on_text is not None:
                        on_text(event.lane, event.text)
                case Loading():
                    if on_doing is not None:
                        on_doing(event.doing)
                case Done():
                    found[event.lane] = event
                case Failed():
                    broken(ours if event.lane is None else (event.lane,), event)
                case Died():
                    broken(ours, event)
                case _:
                    pass
    return {name: found[name] for name in names}
