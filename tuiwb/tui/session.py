"""What the workbench remembers from one time to the next: the screen, the open recipe (its text, when it was not
saved), the selected run and the layout. A session that cannot be read is put aside, never an obstacle."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from tuiwb.base import atomic, paths
from tuiwb.base.log import logger


@dataclass(frozen=True, slots=True)
class Session:
    """The contents of session.json.

    Args:
        screen: name of the screen that was shown.
        recipe: path or preset of the open recipe.
        recipe_text: its text, when it held changes that no file has.
        recipe_path: the file that saving wrote to.
        run_id: the selected run.
        layout: by screen, what its `layout_state` gave.
    """

    screen: str = ""
    recipe: str = ""
    recipe_text: str = ""
    recipe_path: str = ""
    run_id: str | None = None
    layout: dict[str, dict[str, Any]] = field(default_factory=dict)


def load() -> Session:
    """The last session, or an empty one."""
    file = paths.session_file()
    try:
        values = json.loads(file.read_text("utf-8"))
        session = Session(**{name: values[name] for name in Session.__dataclass_fields__ if name in values})
        assert isinstance(session.layout, dict)
        assert all(isinstance(text, str) for text in (session.screen, session.recipe, session.recipe_text))
        return session
    except FileNotFoundError:
        return Session()
    except Exception as error:
        logger("session").warning("%s was put aside: %r", file, error)
        try:
            file.rename(file.with_suffix(".broken"))
        except OSError as failed:
            logger("session").warning("%r", failed)
        return Session()


def save(session: Session) -> None:
    """Write the session. A session that cannot be written is no reason to disturb the user."""
    try:
        paths.private_folder(paths.session_file().parent)
        atomic.write_json(paths.session_file(), asdict(session))
    except Exception as error:
        logger("session").warning("session not saved: %r", error)
