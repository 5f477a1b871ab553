"""The global actions of the key table, one function each: `app.<name>` is `<name>` here. Imported at the first use."""

from typing import TYPE_CHECKING, Any

from tuiwb.tui.dialogs import Confirm, Reader
from tuiwb.tui.screen import RoomScreen
from tuiwb.tui.widgets.frame import Pane

if TYPE_CHECKING:
    from tuiwb.tui.app import Workbench


def run(bench: "Workbench", action: str) -> None:
    """Do the action of that name."""
    globals()[action](bench)


def help(bench: "Workbench") -> None:  # noqa: A001
    from tuiwb.tui.help import open_help

    open_help(bench)


def palette(bench: "Workbench") -> None:
    from textual.command import CommandPalette

    bench.push_screen(CommandPalette(placeholder="Search every action…"))


def theme(bench: "Workbench") -> None:
    bench.search_themes()


def problem(bench: "Workbench") -> None:
    if bench.last_problem:
        bench.push_screen(Reader("Last problem", bench.last_problem))
    else:
        bench.notify("There was no problem so far.")


def zoom(bench: "Workbench") -> None:
    if bench.screen.maximized is not None:
        bench.screen.minimize()
    elif bench.focused is not None:
        pane = next((node for node in bench.focused.ancestors_with_self if isinstance(node, Pane)), None)
        if pane is not None:
            bench.screen.maximize(pane)


def mouse(bench: "Workbench") -> None:
    wanted = not bench.settings.screen.mouse
    bench.save_setting("screen.mouse", wanted)
    bench.notify("mouse on" if wanted else "mouse off: select and copy with the terminal")


def copy(bench: "Workbench") -> None:
    selected = bench.screen.get_selected_text()
    text = selected or (bench.room.copyable() if isinstance(bench.room, RoomScreen) else "")
    if text:
        bench.copy_to_clipboard(text)
    else:
        bench.notify("There is nothing to copy here.", severity="warning")


def previous_screen(bench: "Workbench") -> None:
    _step(bench, -1)


def next_screen(bench: "Workbench") -> None:
    _step(bench, 1)


def _step(bench: "Workbench", by: int) -> None:
    names = [room.name for room in bench.rooms]
    bench.go(names[(names.index(bench.current_room) + by) % len(names)])


def open_recipe(bench: "Workbench") -> None:
    from tuiwb.tui.recipes import open_dialog

    open_dialog(bench)


def save_recipe(bench: "Workbench") -> None:
    from tuiwb.tui.recipes import save_dialog

    save_dialog(bench)


def quit(bench: "Workbench") -> None:  # noqa: A001
    """Leave; ask only when something would be lost."""
    under_way = [name for host in (bench, *bench.open_screens()) for name in host.kept_jobs()]
    if under_way:
        _confirm_quit(bench, f"{', '.join(under_way)}: this would be stopped. Runs go on.")
    elif bench.workspace.changed and not bench.settings.screen.restore_session:
        _confirm_quit(bench, "The open recipe has changes that no file holds. Runs go on.")
    else:
        bench.leave()


def _confirm_quit(bench: "Workbench", detail: str) -> None:
    def answered(yes: Any) -> None:
        if yes:
            bench.leave()

    bench.push_screen(Confirm("Leave the workbench?", detail, "Leave"), answered)


def set_mouse(bench: "Workbench", wanted: bool) -> None:
    """Take mouse events, or leave them to the terminal. Textual has no public way after the start."""
    driver: Any = bench._driver
    if not hasattr(driver, "_disable_mouse_support"):
        return
    if wanted:
        driver._mouse = True
        driver._enable_mouse_support()
    else:
        driver._disable_mouse_support()
        driver._mouse = False
