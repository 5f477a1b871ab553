"""What is wrong with an example as training data, apart from its form: findings as (problem code, detail)."""

from collections.abc import Iterator

from tuiwb.data.example import Example, Message, Turns

Finding = tuple[str, str]


def findings(example: Example) -> Iterator[Finding]:
    """Every problem of an example, what its translation noted first."""
    yield from example.notes
    match example.kind:
        case "messages":
            yield from _conversation(example.messages or [])
        case "prompt_completion" | "unpaired":
            yield from _prompt(example.prompt)
            yield from _answer(example.completion)
        case "preference":
            yield from _prompt(example.prompt)
            yield from _answer(example.chosen)
            yield from _answer(example.rejected)
            if example.chosen == example.rejected:
                yield "chosen_equals_rejected", ""
        case "stepwise":
            if not example.steps:
                yield "empty_answer", ""
        case "prompt":
            yield from _prompt(example.prompt)
        case "text":
            if not (example.text or "").strip():
                yield "empty_text", ""
            elif example.segments is not None and not any(trained for _, trained in example.segments):
                yield "nothing_trained", ""
        case "tokenized":
            if not example.input_ids:
                yield "empty_text", ""
            elif example.labels and all(label == -100 for label in example.labels):
                yield "nothing_trained", ""


def _conversation(turns: list[Message]) -> Iterator[Finding]:
    answers = [turn for turn in turns if turn["role"] == "assistant"]
    if not answers:
        yield "no_assistant", ""
    elif not any(turn.get("train", True) for turn in turns if turn["role"] == "assistant" or "train" in turn):
        yield "nothing_trained", ""
    if answers and _empty(answers[-1]):
        yield "empty_answer", ""
    for turn in turns:
        if _empty(turn) and not (answers and turn is answers[-1]) and turn["role"] != "tool":
            yield "empty_turn", turn["role"]
    yield from _order(turns)


def _order(turns: list[Message]) -> Iterator[Finding]:
    """The first fault of the order in which roles speak."""
    before = ""
    called = False
    for number, turn in enumerate(turns):
        role = turn["role"]
        if role == "system" and number:
            yield "role_order", "a system turn comes after other turns"
            return
        if role == "assistant" and before in ("", "system"):
            yield "role_order", "the conversation begins with the assistant"
            return
        if role == "tool" and not called:
            yield "role_order", "a tool turn answers no call"
            return
        if role == before and role in ("user", "assistant") and not called:
            yield "role_order", f"two {role} turns in a row"
            return
        called = bool(turn.get("tool_calls")) or (role == "tool" and called)
        before = role
    if before == "user" and any(turn["role"] == "assistant" for turn in turns):
        yield "role_order", "the conversation ends with the user"


def _prompt(prompt: Turns | None) -> Iterator[Finding]:
    if isinstance(prompt, str) and not prompt.strip():
        yield "empty_prompt", ""
    if isinstance(prompt, list):
        yield from (("empty_turn", turn["role"]) for turn in prompt if _empty(turn) and turn["role"] != "tool")


def _answer(answer: Turns | None) -> Iterator[Finding]:
    if isinstance(answer, str) and not answer.strip():
        yield "empty_answer", ""
    if isinstance(answer, list) and (not answer or all(_empty(turn) for turn in answer)):
        yield "empty_answer", ""


def _empty(turn: Message) -> bool:
    return not turn["content"].strip() and not turn.get("tool_calls")
