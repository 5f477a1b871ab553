import pytest

from tuiwb.base.errors import InputFault
from tuiwb.base.pattern import matches


def test_a_pattern_is_found_as_python_finds_it() -> None:
    assert matches(r"^<a>.*</a>$", "<a>4</a>", key="k")
    assert not matches(r"<a>.*</a>", "<a>\n</a>", key="k")
    assert matches(r"<a>.*</a>", "<a>\n</a>", key="k", whole=True)
    assert matches(r"(?i)^[a-z]{3}\d+(?<!7)$", "ABC12", key="k")


def test_one_that_would_never_end_is_a_sentence() -> None:
    with pytest.raises(InputFault, match=r"\(a\|aa\).*took longer than 0\.05 s on a text of 61 characters") as told:
        matches("(a|aa)+$", "a" * 60 + "b", key="reward_funcs", patience_s=0.05)
    assert told.value.key == "reward_funcs"
    with pytest.raises(InputFault, match="is no regular expression"):
        matches("(", "a", key="k")
