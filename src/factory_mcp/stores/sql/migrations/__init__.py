"""How the tables came to be, step by step, for Alembic."""

from typing import Final

HEAD: Final = "0005"
"""The revision this program works with."""

IN_THE_CLEAR: Final = (None, "0001", "0002")
"""The revisions at which nothing is sealed yet."""
