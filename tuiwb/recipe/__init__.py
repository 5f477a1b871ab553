"""What to run: the typed recipe, its file, the presets."""

from tuiwb.recipe.model import DatasetEntry, Launch, Recipe

__all__ = ["DatasetEntry", "Launch", "Recipe"]
