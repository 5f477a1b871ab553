"""How a worker starts. It stands in base, since the models' room starts one too (the converter)."""

from tuiwb.base.worker import search_path, worker_argv, worker_environment

__all__ = ["search_path", "worker_argv", "worker_environment"]
