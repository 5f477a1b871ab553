"""tuiwb: a terminal workbench for fine-tuning language models on the machine you are logged in to."""

__version__ = "0.1.0"
