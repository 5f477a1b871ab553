"""From a recipe to one that is ready to run: every value chosen, with its reason; and what is wrong with it here.

`assess` does all of it: model, values, memory plan, checks.
"""

from tuiwb.resolve.assess import Assessment, assess, checks
from tuiwb.resolve.check import Check
from tuiwb.resolve.choices import Resolved
from tuiwb.resolve.fill import resolve

__all__ = ["Assessment", "Check", "Resolved", "assess", "checks", "resolve"]
