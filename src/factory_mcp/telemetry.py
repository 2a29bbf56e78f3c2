"""Events: structured log lines on stderr; stdout belongs to the protocol."""

import logging
import sys
from typing import Any

import structlog

log: Any = structlog.get_logger("factory_mcp")


def configure(level: str = "INFO") -> None:
    """Write one JSON line per event to stderr.

    The word INFO stands in every line of normal operation: Roo shows any other line in red.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # as it is by then
        cache_logger_on_first_use=False,
    )


def configure_unless_configured() -> None:
    """In another program: only what is wrong, on stderr, unless that program has its own way."""
    if not structlog.is_configured():
        configure("WARNING")
