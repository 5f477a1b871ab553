"""Every way in which an endpoint can fail to answer, in one sentence each. A key never stands in one."""

import json
from typing import TYPE_CHECKING, ClassVar

from tuiwb.base.errors import EnvironmentFault, InputFault
from tuiwb.base.text import gate_line
from tuiwb.endpoints.profile import Endpoint, profiles

if TYPE_CHECKING:
    import httpx2


class EndpointFault(EnvironmentFault):
    """An endpoint could not answer.

    Attributes:
        status: of its HTTP answer, if there was one.
        wait_s: after which it wants to be asked again, where it said so.
    """

    def __init__(self, message: str, *, status: int | None = None, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.wait_s = status, wait_s


class EndpointRefusal(EndpointFault):
    """It works, and refuses what it was given: the key, the model's name, the address, or the request itself."""

    exit_code: ClassVar[int] = InputFault.exit_code


def refusal(endpoint: Endpoint, response: "httpx2.Response", content: bytes, key: str) -> EndpointFault:
    """The fault behind an HTTP status other than 200."""
    status, name = response.status_code, endpoint.name
    try:
        document = json.loads(content)
        said = words(document.get("error") or document.get("detail") or document, key)
    except (ValueError, AttributeError):
        said = ""
    behind = f": {said}" if said else ""
    match status:
        case 401 | 403:
            return EndpointRefusal(f"{name} refuses the key ({status}): {_where_to_set_it(endpoint)}", status=status)
        case 404:
            return EndpointRefusal(
                f"{name} knows no such model or address ({status}){behind or f': is {endpoint.base} right?'}",
                status=status,
            )
        case 429:
            wait = _seconds(response.headers.get("retry-after"))
            when = "" if wait is None else f": it wants {wait:.0f} s of rest"
            return EndpointFault(f"{name} is asked too often (429){when or behind}", status=status, wait_s=wait)
        case _ if 300 <= status < 400:
            return EndpointFault(f"{name} points elsewhere ({status}), which is not followed with a key", status=status)
        case 400 | 413 | 422:
            return EndpointRefusal(f"{name} could not answer ({status}){behind}", status=status)
        case _:
            wait = _seconds(response.headers.get("retry-after"))
            return EndpointFault(f"{name} could not answer ({status}){behind}", status=status, wait_s=wait)


def unreachable(endpoint: Endpoint, error: "httpx2.HTTPError", key: str) -> EndpointFault:
    """The fault behind an error of the network."""
    import httpx2

    name = endpoint.name
    where = "" if name == endpoint.place else f" at {endpoint.place}"
    if isinstance(error, httpx2.ConnectTimeout):
        return EndpointFault(f"{name} cannot be reached{where}: nobody answers there")
    if isinstance(error, httpx2.TimeoutException):
        return EndpointFault(f"{name} has said nothing for {endpoint.timeout_s:g} s and was given up")
    if isinstance(error, httpx2.ConnectError):
        return EndpointFault(f"{name} cannot be reached{where}: {words(str(error), key)}")
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
        return EndpointFault(f"{name} broke off in the middle of the answer")
    return EndpointFault(f"{name} cannot be asked: {words(str(error) or type(error).__name__, key)}")


def what_it_sent(response: "httpx2.Response") -> str:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return "sent an HTML page" if "html" in kind else f"sent {gate_line(kind, 40) or 'something without a type'}"


def words(said: object, key: str) -> str:
    """What a server said, in one line without the key: a text, OpenAI's error, or FastAPI's list of what is wrong with
    a request."""
    if isinstance(said, list) and said and isinstance(said[0], dict) and "msg" in said[0]:
        place = said[0].get("loc")
        field = ".".join(map(str, place[1:])) if isinstance(place, list) else ""
        said = f"{field}: {said[0]['msg']}" if field else said[0]["msg"]
    if isinstance(said, dict):
        said = said.get("message") or json.dumps(said)
    text = " ".join(str(said).split())
    return gate_line(text.replace(key, "…") if key else text, 200)


def _where_to_set_it(endpoint: Endpoint) -> str:
    if endpoint.key_env:
        return f"set it with the variable {endpoint.key_env}"
    if endpoint.name in profiles():
        return f"set it with `tuiwb endpoints key {endpoint.name}`"
    return "keys belong to profiles: `tuiwb endpoints add NAME URL`, then `tuiwb endpoints key NAME`"


def _seconds(text: str | None) -> float | None:
    try:
        return max(float(text), 0.0) if text else None
    except ValueError:
        return None  # a date: nobody who streams answers sends one
