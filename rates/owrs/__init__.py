"""Rate files in the Open Water Rate Specification: read as they are, priced as that format's own tool prices them.

`OwrsBook.load` refuses a file that is no YAML, or that has no classes, with its line. A class that cannot be priced
spoils only itself: `OwrsBook.faults` lists all that is wrong, and a quote for that class says why it is refused.
docs/algorithms/owrs.md has the rules, where the format leaves a question open, and what the tool does there.
"""

from rates.owrs.book import OwrsBook

__all__ = ["OwrsBook"]
