"""Whatever the recipe, writing and reading gives it back; whatever the slip of the pen, its line is named."""

import string
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tuiwb import recipe
from tuiwb.base.errors import InputFault
from tuiwb.recipe import Recipe
from tuiwb.recipe.contradictions import contradictions

KEYS = Recipe.__struct_fields__
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
NUMBER = st.floats(min_value=1e-9, max_value=0.999, allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def value_of(hint: Any) -> st.SearchStrategy[Any]:
    from typing import Annotated, Literal, get_args, get_origin

    if get_origin(hint) is Annotated:
        plain, meta = get_args(hint)
        return NUMBER if plain is float else st.integers(meta.ge, 10**6)
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        return st.lists(one_of(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(TEXT.filter(lambda key: key != "<<"), one_of(get_args(hint)[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return struct(hint)
    return {bool: st.booleans(), int: st.integers(), float: NUMBER, str: TEXT, Any: JSON}[hint]


def one_of(hint: Any) -> st.SearchStrategy[Any]:
    from tuiwb.recipe.keys import _options

    return st.one_of(*(value_of(one) for one in _options(hint)))


@st.composite
def struct(draw: st.DrawFn, kind: type[msgspec.Struct], depth: int = 0) -> Any:
    from tuiwb.recipe.keys import _hints

    hints = {key: hint for key, hint in _hints(kind).items() if key != "stages"}
    required = {field.name for field in msgspec.structs.fields(kind) if field.required}
    chosen = draw(st.sets(st.sampled_from(list(hints)), max_size=8)) | required
    values = {key: draw(one_of(hints[key])) for key in hints if key in chosen}
    if kind is Recipe and depth == 0:
        values["stages"] = draw(st.none() | st.lists(struct(Recipe, 1), min_size=1, max_size=2).map(tuple))
    return kind(**values)


def consistent(one: Recipe) -> bool:
    return not list(contradictions(one)) and all(consistent(stage) for stage in one.stages or ())


@settings(max_examples=100, deadline=None)
@given(struct(Recipe))
@example(Recipe(name="a\x85b", tags=("\u2028", " x ", "- y", "a: b", "")))
def test_any_recipe_is_read_as_it_was_written(one: Recipe) -> None:
    assume(one != Recipe() and consistent(one))
    assert recipe.loads(recipe.dumps(one)) == one


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(KEYS), min_size=1, max_size=8, unique=True), st.data())
def test_any_misspelt_key_is_named_with_its_line(keys: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(keys) - 1))
    place = data.draw(st.integers(0, len(keys[at])))
    letter = data.draw(st.sampled_from(string.ascii_lowercase))
    misspelt = keys[at][:place] + letter + keys[at][place:]
    assume(misspelt not in KEYS)
    blank = data.draw(st.lists(st.sampled_from(["", "# a comment"]), max_size=3))
    lines = [f"{key}:" for key in keys]
    lines[at] = f"{misspelt}:"
    lines[at:at] = blank
    with pytest.raises(InputFault) as caught:
        recipe.loads("\n".join(lines), source="r.yaml")
    assert (caught.value.line, caught.value.key) == (at + len(blank) + 1, misspelt)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_no_text_brings_the_reader_down(text: str) -> None:
    message = ""
    try:
        recipe.loads(text)
    except InputFault as error:
        message = str(error)
    assert "\n" not in message


def test_a_letter_too_many_is_found_for_every_key() -> None:
    for key in KEYS:
        with pytest.raises(InputFault) as caught:
            recipe.loads(f"{key}x: 1")
        assert f"did you mean `{key}`?" in caught.value.message or "write `" in caught.value.message
