"""What an export is to do. It is the `input` of the run's job.yaml."""

from typing import Literal

import msgspec

PART = "merge"
Dtype = Literal["float32", "bfloat16", "float16"]


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """A base and an adapter that become one model."""

    model: str
    """Folder of the base, whose weights are whole: what an adapter learned is smaller than the steps of 4 bits."""
    adapter: str
    """Folder of the adapter."""
    output: str
    """Folder that does not exist yet."""
    dtype: Dtype
    """What the merged weights are written in; they are added up in float32 whatever it is."""
    template: str
    """Source of the chat template of the training."""
    stop_ids: tuple[int, ...]
    """Token ids that end an answer."""
    quantization: Literal["nf4", "nf4-double", "int8"] | None = None
    """How the base was held in training: what comes out is compared with that as well."""
