"""Checks of the rows themselves, as the model will get them: what is cut and left out by length, what is learned from
none of them, what would go wrong in silence. They take the tokenizer and some seconds, so they are asked for apart."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import msgspec

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.recipe import Recipe
from tuiwb.resolve.check import LEVELS, Check, error, note, warning
from tuiwb.resolve.check_data import stamps

if TYPE_CHECKING:
    from tuiwb.data.outlook import Outlook
    from tuiwb.data.tally import Finding
    from tuiwb.models import ChatTemplate, ModelInfo, Tokenizer
    from tuiwb.resolve.assessment import Assessment

SAMPLE = 1000
"""Rows that are looked at where there are more."""
_NOTICED = 0.01
"""A smaller share of the rows, or of what is learned from them, is worth a note and no warning."""
_ASKED_FOR = "left_out"
"""Rows that steps or people left out: nothing to tell those who did."""
_NEEDED = ("stage", "model_name_or_path", "datasets", "chat_template", "added_tokens", "eos_token", "train_roles")
"""Keys without which rows cannot be read as the model will see them."""
_KEYS = {"truncated": "max_length", "too_long": "max_length", "cut": "max_length", "double_bos": "chat_template",
         "refused": "chat_template", "unseen": "chat_template", "unstopped": "train_on_eos"}  # fmt: skip

_seen: dict[bytes, "Outlook"] = {}


def with_rows(assessment: "Assessment", task: Task) -> "Assessment":
    """The assessment with what its rows say. Where a check found already that they cannot be read, it stays as it is.

    Raises:
        Cancelled: the task was cancelled.
    """
    recipe = assessment.resolved.recipe
    if any(check.level == "error" and _needed(check.key) for check in assessment.checks):
        return assessment
    found: list[Check] = []
    outlook = None
    if recipe.stages:
        from tuiwb.resolve.parts import placed

        for number, part in enumerate(recipe.stages):
            found += [placed(number, check) for check in _look(part, _model_of(part, assessment), task)[1]]
    else:
        outlook, found = _look(recipe, assessment.model, task)
    checks = sorted(dict.fromkeys([*assessment.checks, *found]), key=lambda check: LEVELS.index(check.level))
    return replace(assessment, checks=tuple(checks), rows=outlook)


def reading(recipe: Recipe, model: "ModelInfo") -> "tuple[Tokenizer, ChatTemplate | None]":
    """The tokenizer and the chat template that a recipe reads its rows with; no template where the model has none.

    Raises:
        InputFault, EnvironmentFault: the model has no tokenizer, or there is no such template or token.
    """
    from tuiwb import models
    from tuiwb.base.errors import InputFault

    tokenizer = models.load_tokenizer(model).with_tokens(recipe.added_tokens or ())
    if recipe.eos_token:
        if tokenizer.token_id(recipe.eos_token) is None:
            raise InputFault(f"the tokenizer has no token {recipe.eos_token}", key="eos_token")
        tokenizer = replace(tokenizer, special_tokens={**tokenizer.special_tokens, "eos_token": recipe.eos_token})
    named = recipe.chat_template or tokenizer.chat_template
    return tokenizer, tokenizer.template(recipe.chat_template) if named else None


def _needed(key: str) -> bool:
    plain = key.partition("].")[2] if key.startswith("stages[") else key
    return plain.partition("[")[0] in _NEEDED


def _model_of(part: Recipe, assessment: "Assessment") -> "ModelInfo | None":
    from tuiwb import models

    known = assessment.model
    if known is not None and known.ref == part.model_name_or_path:
        return known
    return models.open_model(part.model_name_or_path, config_only=True) if part.model_name_or_path else None


def _look(recipe: Recipe, model: "ModelInfo | None", task: Task) -> "tuple[Outlook | None, list[Check]]":
    if model is None or not model.has_tokenizer or not recipe.datasets:
        return None, []
    try:
        outlook = _outlook(recipe, model, task)
    except Cancelled:
        raise
    except TuiwbError as fault:
        return None, [error(getattr(fault, "key", None) or "datasets", fault.message)]
    return outlook, list(_checks(outlook, model))


def _outlook(recipe: Recipe, model: "ModelInfo", task: Task) -> "Outlook":
    """Remembered until a file or a key changes that it depends on."""
    from tuiwb.data.outlook import outlook
    from tuiwb.data.prepare import PrepareSettings

    tokenizer, template = reading(recipe, model)
    settings = PrepareSettings.of(recipe)
    of_words = (tokenizer.fingerprint, tokenizer.eos_token, template.fingerprint if template else None)
    key = msgspec.json.encode(([stamps(entry) for entry in recipe.datasets or ()], of_words, asdict(settings)))
    if key not in _seen:
        if len(_seen) > 64:
            _seen.clear()
        _seen[key] = outlook(recipe.datasets or (), tokenizer, template, settings, sample=SAMPLE, task=task)
    return _seen[key]


def _checks(outlook: "Outlook", model: "ModelInfo") -> Iterator[Check]:
    if outlook.nothing_left:
        say = error if outlook.whole else warning
        yield say("datasets", outlook.nothing_left)
        return
    for finding in outlook.findings:
        if finding.code != _ASKED_FOR:
            say = note if finding.share < _NOTICED else warning
            yield say(_KEYS.get(finding.code, "datasets"), finding.message, _fix(finding, outlook, model))


def _fix(finding: "Finding", outlook: "Outlook", model: "ModelInfo") -> str:
    if _KEYS.get(finding.code) != "max_length" or not finding.share:
        return ""
    if model.context_length is None or outlook.longest <= model.context_length:
        return f"max_length: {outlook.longest} would cut none" + ("" if outlook.whole else " of these")
    return f"the longest has {outlook.longest:,} tokens, and the model reads {model.context_length:,}: shorter rows"
