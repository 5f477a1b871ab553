"""Models without loading their weights: what they are, their tokenizer, their chat template, where to get them.

    model = models.open_model("smollm2-135m-instruct")   # path, name, catalogue name or hub id
    tokenizer = models.load_tokenizer(model)              # no torch, no transformers
    template = tokenizer.template()                       # the model's own; or a name, a file, Jinja source
    text = template.render([{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    ids = tokenizer.encode(text)                          # adds nothing: the template has written bos and eos

Importing this costs little: each name is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuiwb.models.fetch import get
    from tuiwb.models.hub import SearchHit, search
    from tuiwb.models.info import AdapterInfo, ModelInfo, TensorInfo
    from tuiwb.models.opening import open_model
    from tuiwb.models.store import delete, installed
    from tuiwb.models.template import ChatTemplate, check_template
    from tuiwb.models.templates import named_template
    from tuiwb.models.templates import names as template_names
    from tuiwb.models.tokenizer import Tokenizer, load_tokenizer
    from tuiwb.models.well_known import CatalogueEntry, catalogue, find_entry, matching

_PLACES = {
    "AdapterInfo": "info",
    "CatalogueEntry": "well_known",
    "ChatTemplate": "template",
    "ModelInfo": "info",
    "SearchHit": "hub",
    "TensorInfo": "info",
    "Tokenizer": "tokenizer",
    "catalogue": "well_known",
    "check_template": "template",
    "delete": "store",
    "find_entry": "well_known",
    "get": "fetch",
    "installed": "store",
    "load_tokenizer": "tokenizer",
    "matching": "well_known",
    "named_template": "templates",
    "open_model": "opening",
    "search": "hub",
    "template_names": "templates",
}

__all__ = [
    "AdapterInfo",
    "CatalogueEntry",
    "ChatTemplate",
    "ModelInfo",
    "SearchHit",
    "TensorInfo",
    "Tokenizer",
    "catalogue",
    "check_template",
    "delete",
    "find_entry",
    "get",
    "installed",
    "load_tokenizer",
    "matching",
    "named_template",
    "open_model",
    "search",
    "template_names",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_PLACES[name]}")
    value = getattr(module, "names" if name == "template_names" else name)
    globals()[name] = value
    return value
