"""Axolotl's datasets: a `type` says both what the rows are and, for some, how they are written into a prompt."""

from collections.abc import Mapping
from typing import Any

from tuiwb.recipe.imports.account import Draft, Fate, refused

# Types that are formats of rows here. What stands behind a dot or colon in a type only chooses a prompt.
_FORMATS = {
    "alpaca": "alpaca", "alpaca_chat": "alpaca", "gpteacher": "alpaca", "reflection": "alpaca", "sharegpt": "sharegpt",
    "completion": "text", "pretrain": "text", "context_qa": "qa", "chatml": "preference", "llama3": "preference",
    "zephyr": "preference", "user_defined": "preference", "bradley_terry": "preference",
    "stepwise_supervised": "stepwise",
}  # fmt: skip
_OURS = {"path", "name", "split", "revision", "type", "data_files", "ds_type", "shards", "weight", "field",
         "field_messages", "field_tools", "message_property_mappings", "message_field_role", "message_field_content",
         "roles_to_train", "train_on_eos", "conversation", "chat_template", "field_chosen", "field_rejected",
         "trust_remote_code", "text_column", "message_field_training"}  # fmt: skip
_ALL = ["system", "user", "assistant", "tool"]


def train_entries(value: Any, draft: Draft) -> Fate:
    """`datasets`."""
    entries, notes, problem = _entries(value)
    if problem:
        return refused(problem)
    into: dict[str, Any] = {"datasets": entries}
    roles = [one["roles_to_train"] for one in value if one.get("roles_to_train")]
    marks = [one["train_on_eos"] for one in value if one.get("train_on_eos")]
    if roles and "train_on_inputs" not in {key for key, on in draft.values.items() if on}:
        into["train_roles"] = [role for role in roles[0] if role in _ALL]
    if marks:
        into["train_on_eos"] = {"turn": "turn", "all": "all", "last": "last"}.get(str(marks[0]), "turn")
    if any(list(one) != list(roles[0]) for one in roles) or any(mark != marks[0] for mark in marks):
        notes.append("roles_to_train and train_on_eos hold for all datasets here; those of the first are taken")
    return Fate(into, "; ".join(notes))


def eval_entries(value: Any, draft: Draft) -> Fate:
    """`test_datasets`."""
    entries, notes, problem = _entries(value)
    return refused(problem) if problem else Fate({"eval_datasets": entries}, "; ".join(notes))


def pretraining(value: Any, draft: Draft) -> Fate:
    """`pretraining_dataset`: an id, or a list as in `datasets`."""
    given = [{"path": value}] if isinstance(value, str) else value if isinstance(value, list) else [value]
    entries, notes, problem = _entries([{"type": "completion", **one} for one in given])
    if problem:
        return refused(problem)
    return Fate({"stage": "pretrain", "datasets": entries}, "; ".join(["every token is learned", *notes]))


def on_inputs(value: Any, draft: Draft) -> Fate:
    """`train_on_inputs`."""
    if value:
        return Fate({"train_roles": _ALL}, "questions are learned too")
    return Fate(why="answers alone are learned here too")


def template_of(values: Mapping[str, Any]) -> str:
    """The template that the types themselves mean: alpaca writes its rows without the model's chat template."""
    given = values.get("datasets")
    if values.get("chat_template") or not isinstance(given, list):
        return ""
    kinds = {str(one.get("type")).partition(":")[0].partition(".")[0] for one in given if isinstance(one, Mapping)}
    return "alpaca" if kinds == {"alpaca"} else ""


def _entries(value: Any) -> tuple[list[dict[str, Any]], list[str], str]:
    """Entries, remarks, and what is wrong."""
    entries: list[dict[str, Any]] = []
    notes: list[str] = []
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, Mapping) or not one.get("path"):
            return [], [], "a dataset needs its path"
        entry: dict[str, Any] = {"path": _path(one)}
        for theirs, ours in (("name", "subset"), ("split", "split"), ("revision", "revision")):
            if one.get(theirs):
                entry[ours] = str(one[theirs])
        if one.get("weight"):
            entry["weight"] = float(one["weight"])
        if one.get("shards"):
            return [], [], f"{one['path']}: shards are not offered; max_examples takes the first so many"
        problem = _format(entry, one, notes)
        if problem:
            return [], [], f"{one['path']}: {problem}"
        notes += [f"{one['path']}: {key} is left out" for key in one if key not in _OURS and one[key]]
        entries.append(entry)
    return entries, notes, ""


def _path(one: Mapping[str, Any]) -> str:
    files = one.get("data_files")
    if isinstance(files, list) and len(files) == 1:
        files = files[0]
    if isinstance(files, str) and str(one["path"]) in ("json", "csv", "parquet", "text", "arrow"):
        return files
    return str(one["path"])


def _format(entry: dict[str, Any], one: Mapping[str, Any], notes: list[str]) -> str:
    kind = one.get("type")
    if isinstance(kind, Mapping):
        return _own_prompt(entry, kind, notes)
    name = str(kind or "").partition(":")[0].partition(".")[0]
    if not name:
        entry["format"] = "auto"
    elif name == "chat_template":
        _turns(entry, one, notes)
    elif name == "input_output":
        entry["format"], entry["columns"] = "text", {"text": "segments"}
    elif name in _FORMATS:
        entry["format"] = _FORMATS[name]
        if name == "completion" and (one.get("field") or one.get("text_column")):
            entry["columns"] = {"text": str(one.get("field") or one.get("text_column"))}
    else:
        entry["format"] = "auto"
        notes.append(f"{entry['path']}: what {kind} rows are is told by looking at them")
    return ""


def _turns(entry: dict[str, Any], one: Mapping[str, Any], notes: list[str]) -> None:
    mapped = one.get("message_property_mappings") or {}
    role = mapped.get("role") or one.get("message_field_role") or "role"
    content = mapped.get("content") or one.get("message_field_content") or "content"
    chosen, rejected = one.get("field_chosen"), one.get("field_rejected")
    if chosen and rejected:
        entry["format"] = "preference"
        entry["columns"] = {"chosen": str(chosen), "rejected": str(rejected)}
        if one.get("field_messages"):
            entry["columns"]["prompt"] = str(one["field_messages"])
        return
    entry["format"] = {("role", "content"): "messages", ("from", "value"): "sharegpt"}.get((role, content), "auto")
    if entry["format"] == "auto":
        notes.append(f"{entry['path']}: turns with {role} and {content} are told by looking at them")
    columns = {"messages": one.get("field_messages"), "tools": one.get("field_tools")}
    named = {part: str(column) for part, column in columns.items() if column}
    if named:
        entry["columns"] = named


def _own_prompt(entry: dict[str, Any], kind: Mapping[str, Any], notes: list[str]) -> str:
    """A type that is a map: columns, and a prompt written out."""
    if kind.get("field_chosen") or kind.get("field_rejected"):
        entry["format"] = "preference"
        parts = {
            "prompt": "field_prompt",
            "chosen": "field_chosen",
            "rejected": "field_rejected",
            "system": "field_system",
        }
    else:
        entry["format"] = "alpaca"
        parts = {"instruction": "field_instruction", "input": "field_input", "output": "field_output",
                 "system": "field_system"}  # fmt: skip
    columns = {ours: str(kind[theirs]) for ours, theirs in parts.items() if kind.get(theirs)}
    if columns:
        entry["columns"] = columns
    written = [key for key in ("format", "no_input_format", "system_format", "prompt_format", "chosen_format",
                               "rejected_format", "system_prompt") if kind.get(key)]  # fmt: skip
    if written:
        notes.append(
            f"{entry['path']}: {', '.join(written)} is the chat template's part here; put it into a Jinja file"
        )
    return ""
