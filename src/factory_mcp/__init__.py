"""Factory AI's droids as MCP tools, with shared context and fallback inside."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factory_mcp.api import AsyncFactoryContextManager, FactoryContextManager

__all__ = ("AsyncFactoryContextManager", "FactoryContextManager", "__version__")
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The Python API, imported when it is asked for: importing the package stays cheap."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from factory_mcp import api  # noqa: PLC0415 — see above

    return getattr(api, name)
