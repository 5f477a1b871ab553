"""Well-known open models that can be planned for and named without a network: `catalogue.json`.

Each entry holds the model's own config.json and says where that was read (`source`).
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tuiwb.models.info import ModelInfo, context_length, dtype_of, quantization_of
from tuiwb.models.parameters import vocab_size


class Wheel(Struct, frozen=True):
    """A package on the Python package index that carries the model as a GGUF file.

    `sha256` is that of the wheel, `member` the GGUF file inside it.
    """

    package: str
    version: str
    sha256: str
    member: str
    bytes: int


class CatalogueEntry(Struct, frozen=True):
    """A model by its short name.

    Attributes:
        parameters: exact.
        chat: trained to converse, with a chat template.
        gated: the hub asks to accept a licence first.
        source: where config and count were read.
        published_as: the quantization that the hub's files have where it is not the configuration's type.
        wheel: where it can be had when the hub cannot be reached.
    """

    name: str
    hub_id: str
    parameters: int
    license: str
    chat: bool
    gated: bool
    source: str
    config: Mapping[str, Any]
    published_as: str | None = None
    wheel: Wheel | None = None

    @property
    def architecture(self) -> str:
        return str(self.config["architectures"][0])

    @property
    def context_length(self) -> int | None:
        return context_length(self.config)

    @property
    def download_bytes(self) -> int | None:
        """Roughly what a download takes: the weights in their type; None where they are published quantized."""
        if self.published_as:
            return None
        return self.parameters * (4 if dtype_of(self.config) == "float32" else 2)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "hub_id": self.hub_id,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "context_length": self.context_length,
            "license": self.license,
            "chat": self.chat,
            "gated": self.gated,
            "published_as": self.published_as,
            "source": self.source,
        }

    def info(self, ref: str) -> ModelInfo:
        """The model as far as the catalogue knows it: no file of it is on this machine."""
        return ModelInfo(
            ref=ref,
            name=self.name,
            kind="hub",
            path=None,
            config=self.config,
            architecture=self.architecture,
            parameters=self.parameters,
            dtype=dtype_of(self.config),
            quantization=quantization_of(self.config),
            context_length=self.context_length,
            vocab_size=vocab_size(self.config),
            license=self.license,
            hub_id=self.hub_id,
        )


@functools.cache
def catalogue() -> tuple[CatalogueEntry, ...]:
    """All entries, the smallest model first."""
    raw = json.loads((Path(__file__).parent / "catalogue.json").read_bytes())
    entries = [
        CatalogueEntry(**{**entry, "wheel": Wheel(**entry["wheel"]) if "wheel" in entry else None}) for entry in raw
    ]
    return tuple(sorted(entries, key=lambda entry: (entry.parameters, entry.name)))


def find_entry(ref: str) -> CatalogueEntry | None:
    """The entry with this name or hub id, capitals aside."""
    wanted = ref.casefold()
    return next((entry for entry in catalogue() if wanted in (entry.name, entry.hub_id.casefold())), None)


def matching(query: str) -> tuple[CatalogueEntry, ...]:
    """The entries whose name or hub id has every word of the query."""
    words = query.casefold().split()
    return tuple(
        entry for entry in catalogue() if all(word in f"{entry.name} {entry.hub_id}".casefold() for word in words)
    )
