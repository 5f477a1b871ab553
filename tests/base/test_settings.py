"""The settings file: strict, helpful, and changed without losing the user's comments."""

from pathlib import Path

import pytest

from tuiwb.base import paths, settings
from tuiwb.base.errors import InputFault


def write(text: str) -> Path:
    file = paths.config_file()
    paths.private_folder(file.parent)
    file.write_text(text)
    return file


def test_without_a_file_the_defaults_are_in_force() -> None:
    assert settings.load(environ={}).screen.mouse is True


def test_the_environment_wins_over_the_file() -> None:
    write("[screen]\nmouse = false\nrefresh_s = 2.0\n")
    loaded = settings.load(environ={"TUIWB_SCREEN_MOUSE": "true"})
    assert loaded.screen.mouse is True
    assert loaded.screen.refresh_s == 2.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[screen]\nmuose = true\n", "screen.muose: no such setting; did you mean `mouse`?"),
        ("[scren]\n", "scren: no such setting; did you mean `screen`?"),
        ("[screen]\nmouse = 3\n", "screen.mouse: must be true or false, not a whole number"),
        ("[screen\n", "not valid TOML"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_the_place(text: str, sentence: str) -> None:
    file = write(text)
    with pytest.raises(InputFault) as caught:
        settings.load(environ={})
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(InputFault, match="TUIWB_SCREEN_REFRESH_S"):
        settings.load(environ={"TUIWB_SCREEN_REFRESH_S": "soon"})


def test_saving_keeps_comments_and_refuses_nonsense() -> None:
    file = write("# mine\n[screen]\nmouse = true  # for tmux\n")
    settings.save("screen.mouse", False)
    assert file.read_text() == "# mine\n[screen]\nmouse = false  # for tmux\n"
    with pytest.raises(InputFault):
        settings.save("screen.mouse", "maybe")
    with pytest.raises(InputFault):
        settings.save("screen.nothing", 1)
    assert settings.load(environ={}).screen.mouse is False


def test_every_setting_has_its_help() -> None:
    helps = settings.help_texts()
    for section, struct in settings.SECTIONS.items():
        for field in struct.__struct_fields__:
            assert helps.get(f"{section}.{field}"), f"{section}.{field} has no help"
