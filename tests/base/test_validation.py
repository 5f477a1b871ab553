"""What msgspec says, in a user's words."""

import msgspec
import pytest

from tuiwb.base.validation import in_words


class Thing(msgspec.Struct):
    share: float | None = None
    names: tuple[str, ...] = ()
    on: bool = False


@pytest.mark.parametrize(
    ("given", "place", "said"),
    [
        ({"share": "half"}, "share", "must be a number, not text"),
        ({"names": 3}, "names", "must be a list, not a whole number"),
        ({"names": [3]}, "names[0]", "must be text, not a whole number"),
        ({"on": []}, "on", "must be true or false, not a list"),
        (3, "", "must be a map, not a whole number"),
    ],
)
def test_a_value_of_another_type_is_told_in_words(given: object, place: str, said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(given, Thing)
    assert in_words(str(caught.value)) == (place, said)


def test_what_is_not_known_stays_as_it_is() -> None:
    assert in_words("Object contains unknown field `x`") == ("", "Object contains unknown field `x`")
