"""What msgspec says of a value that is not as its type has it, in a user's words."""

import re

_AT = re.compile(r" - at `\$\.?(?P<place>[^`]*)`$")
_EXPECTED = re.compile(
    r"Expected `(?P<wanted>[^`]+)`(?: (?P<bound>[<>]=?) (?P<limit>[\d.]+))?(?:, got `(?P<got>[^`]+)`)?"
)
_TYPES = {"float": "a number", "int": "a whole number", "str": "text", "bool": "true or false", "array": "a list",
          "object": "a map", "null": "nothing"}  # fmt: skip
_BOUNDS = {"<=": "of at most", ">=": "of at least", "<": "below", ">": "above"}


def in_words(message: str) -> tuple[str, str]:
    """The place of the value, dotted ("" for all of it), and what it must be: of ``Expected `float` <= 1.0 - at
    `$.threshold` `` that is `threshold` and `must be a number of at most 1`. What is said otherwise stays as it is."""
    at = _AT.search(message)
    place, said = (at["place"] if at else ""), _AT.sub("", message)
    found = _EXPECTED.fullmatch(said)
    if found is None:
        return place, said
    must = "must be " + " or ".join(_TYPES.get(each, each) for each in found["wanted"].split(" | ") if each != "null")
    if found["bound"]:
        must += f" {_BOUNDS[found['bound']]} {float(found['limit']):g}"
    return place, must + (f", not {_TYPES.get(found['got'], found['got'])}" if found["got"] else "")
