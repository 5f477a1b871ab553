"""What the screen and the verbs do to rows by hand; the journal keeps it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from tuiwb.base.errors import InputFault, UsageFault
from tuiwb.data.edited import EditedStore
from tuiwb.data.example import Example, Turns
from tuiwb.data.journal import Change, Journal, Mark, Pair, value
from tuiwb.data.rows import Value
from tuiwb.data.subset import write_lines
from tuiwb.data.view import View


def change(view: View, number: int, make: Callable[[Mark], Mark]) -> Change | None:
    """Change the mark of a row of a view with a journal; errors as `Journal.change`."""
    store, journal = _editable(view)
    return journal.change(number, store.hash_of(number), make)


def correct(view: View, number: int, corrected: Value | None) -> Change | None:
    """Put another value in the place of a row; None, or what the source says, goes back to it.

    Raises:
        UsageFault: it cannot be written as JSON, or was corrected elsewhere in the meantime.
        EnvironmentFault: the journal cannot be written.
    """
    store, journal = _editable(view)
    mark = store.mark(number)
    before = None if mark is None else mark.value
    if corrected is not None:
        try:
            again = orjson.loads(orjson.dumps(corrected, option=orjson.OPT_NON_STR_KEYS))
        except (TypeError, ValueError) as error:
            raise UsageFault(f"the row cannot be written as JSON: {error}") from error
        source = store.source.row(number)
        corrected = None if source.fault is None and source.value == again else again
    return journal.change(number, store.hash_of(number), value(corrected), seen=before)


def prefer(view: View, chosen: int, rejected: int) -> Change | None:
    """Keep that the answer of one row is better than that of another with the same prompt.

    Raises:
        UsageFault: they are no two answers to one prompt.
    """
    _, journal = _editable(view)
    pair_of(view, chosen, rejected)
    journal.add_pair(Pair(chosen, rejected))
    return journal.last


def pair_of(view: View, chosen: int, rejected: int) -> Value:
    """The preference row that two rows make.

    Raises:
        UsageFault: they are no two answers to one prompt.
    """
    better, worse = _answered(view, chosen), _answered(view, rejected)
    if better[0] != worse[0]:
        raise UsageFault(f"rows {chosen:,} and {rejected:,} answer different prompts")
    if better[1] == worse[1]:
        raise UsageFault(f"rows {chosen:,} and {rejected:,} have the same answer")
    return {"prompt": better[0], "chosen": better[1], "rejected": worse[1]}


def write_pairs(view: View, output: Path, *, force: bool = False) -> int:
    """Write the pairs that were made as preference rows; how many.

    Raises:
        UsageFault: there are none, a row of one has changed, or as `write_lines`.
    """
    _, journal = _editable(view)
    if not journal.pairs:
        raise UsageFault("no two answers have been compared yet")
    view.index()

    def lines() -> Iterator[bytes]:
        for pair in dict.fromkeys(journal.pairs):
            yield orjson.dumps(pair_of(view, pair.chosen, pair.rejected))

    return write_lines(output, lines(), (*view.store.files(), journal.path), force=force)


def _answered(view: View, number: int) -> tuple[Turns, Turns]:
    """A row as prompt and answer."""
    try:
        example: Example = view.translate(view.row(number))
    except InputFault as fault:
        raise UsageFault(f"row {number:,}: {fault.message}") from fault
    if example.messages is not None:
        turns = example.messages
        if len(turns) > 1 and turns[-1]["role"] == "assistant":
            return turns[:-1], turns[-1:]
    elif example.prompt is not None and example.completion is not None:
        return example.prompt, example.completion
    raise UsageFault(f"row {number:,} is no prompt with an answer")


def _editable(view: View) -> tuple[EditedStore, Journal]:
    assert isinstance(view.store, EditedStore), "the view was opened without a journal"
    return view.store, view.store.journal
