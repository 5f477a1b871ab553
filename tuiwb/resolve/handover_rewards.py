"""Reward functions in files that TRL imports: the user's, called as they are called here, and the built-in ones."""

from collections.abc import Iterator, Sequence

from tuiwb.recipe.reward_funcs import RewardFunc
from tuiwb.recipe.trl_keys import reward_names

_TEXTS = """def _texts(completions):
    return [one if isinstance(one, str) else one[-1]["content"] for one in completions]
"""
_EXACT = r'''def _final(text):
    """What an answer comes to: what is boxed last, or stands after the last `####`, or all of it."""
    if boxed := re.findall(r"\\boxed\{([^{}]*)\}", text):
        text = boxed[-1]
    elif "####" in text:
        text = text.rpartition("####")[2]
    return " ".join(text.split()).casefold().removesuffix(".")
'''


def on_texts(module: str, functions: Sequence[str]) -> str:
    """A module that calls reward functions of another as tuiwb calls them: with the texts of the answers, and of what
    TRL brings besides with the columns of the rows alone."""
    parts = [
        f'"""The functions of {module}.py take answers as texts; TRL has a list of turns where the prompt is one."""'
        f'\n\nimport {module}\n\n_OF_TRL = ("completion_ids", "trainer_state", "log_extra", "log_metric")\n',
        _TEXTS,
        "def _columns(more):\n    return {name: more[name] for name in more if name not in _OF_TRL}\n",
    ]
    parts += [
        f"def {name}(completions, **more):\n"
        f"    return {module}.{name}(completions=_texts(completions), **_columns(more))\n"
        for name in functions
    ]
    return "\n\n".join(parts)


def built_in(functions: Sequence[RewardFunc]) -> str:
    """A module with the built-in rewards among these; empty where there is none."""
    names = [name.rpartition(".")[2] for name in reward_names(functions)]
    found = [(one, name) for one, name in zip(functions, names, strict=True) if one.kind != "python"]
    if not found:
        return ""
    kinds = {one.kind for one, _ in found}
    parts = ['"""The rewards that tuiwb calls by these names."""\n' + ("\nimport re\n" if kinds - {"length"} else "")]
    parts += [_TEXTS] if kinds - {"length"} else []
    parts += [_EXACT] if "exact" in kinds else []
    for one, name in found:
        parts.append("\n".join([*_body(one, name), ""]))
    return "\n\n".join(parts)


def _body(one: RewardFunc, name: str) -> Iterator[str]:
    match one.kind:
        case "length":
            yield f"def {name}(completion_ids, **more):"
            yield f'    """1 at {one.argument} tokens, less with every token more or fewer."""'
            wanted = int(one.argument)
            yield f"    return [max(0.0, 1.0 - abs(len(ids) - {wanted}) / {wanted}) for ids in completion_ids]"
        case "regex":
            yield f"def {name}(completions, **more):"
            yield f"    found = (re.search({one.argument!r}, text, re.DOTALL) for text in _texts(completions))"
            yield "    return [float(one is not None) for one in found]"
        case "exact":
            yield f"def {name}(completions, **more):"
            yield f"    pairs = zip(_texts(completions), more[{one.argument!r}], strict=True)"
            yield "    return [None if it is None else float(_final(text) == _final(str(it))) for text, it in pairs]"
