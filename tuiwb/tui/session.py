"""What the workbench remembers from one time to the next: the screen, the open recipe (its text, when it was not
saved), the selected run and the layout. A session that cannot be read is put aside, never an obstacle."""

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tuiwb.base import atomic, paths
from tuiwb.base.log import logger

if TYPE_CHECKING:
    from tuiwb.tui.workspace import Workspace


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


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a session is made of."""

    workspace: "Workspace"
    screen: str
    layout: dict[str, dict[str, Any]]

    def same_as(self, other: "Remembered | None") -> bool:
        """Whether nothing has changed; snapshots of the workspace never do, so the same one is equal."""
        if other is None or self.workspace is not other.workspace:
            return False
        return (self.screen, self.layout) == (other.screen, other.layout)


def keep(now: Remembered) -> None:
    """Write what is remembered, in any thread. What cannot be written is no reason to disturb the user."""
    try:
        open_now, text = now.workspace, ""
        if open_now.changed:
            from tuiwb.recipe.keeping import kept

            text = kept(open_now.text, open_now.recipe)
        save(
            Session(
                screen=now.screen,
                recipe=open_now.source,
                recipe_text=text,
                recipe_path=str(open_now.path or ""),
                run_id=open_now.run_id,
                layout=now.layout,
            )
        )
    except Exception as error:
        logger("session").warning("session not saved: %r", error)


def save(session: Session) -> None:
    """Write the session.

    Raises:
        OSError: it cannot be written.
    """
    paths.private_folder(paths.session_file().parent)
    atomic.write_json(paths.session_file(), asdict(session))
