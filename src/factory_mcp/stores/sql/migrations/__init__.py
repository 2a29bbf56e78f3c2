"""How the tables came to be, step by step, for Alembic."""

from typing import Final

HEAD: Final = "0001"
"""The revision this program works with."""
