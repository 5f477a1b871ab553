"""Cleaning: which rows should not be trained on, and why.

Steps (`steps`) are a list in a recipe's dataset entry or in a file of their own. They flag rows and never change the
source; `run.clean` applies them to a view and says of each row that is left out which step did it and why.
"""
