"""Factory AI's droids as MCP tools, with shared context and fallback inside."""

__version__ = "0.1.0"
