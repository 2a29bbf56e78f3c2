"""The tables that list and dispatch all there is: tools, resources, templates and prompts.

A row is what a client sees of it and what answers. `Fixtures` are more rows: they are listed,
guarded, checked and answered as our own are.
"""

import re
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

import mcp_types as t
from mcp import MCPError
from mcp.server.context import ServerRequestContext

from factory_mcp.domain.errors import Refused
from factory_mcp.domain.model import Principal

Context = ServerRequestContext[Any, Any]
ToolAnswer = Awaitable[t.CallToolResult | t.InputRequiredResult]
ReadAnswer = Awaitable[t.ReadResourceResult | t.InputRequiredResult]
PromptAnswer = Awaitable[t.GetPromptResult | t.InputRequiredResult]
Completer = Callable[[Principal], Awaitable[list[str]]]
"""All values that an argument may have, the likeliest first."""
STEADY_MS: Final = 60_000
"""How long a client may keep what does not change while we run."""

_VARIABLE: Final = re.compile(r"\\\{\w+\\\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRow:
    """One tool; its arguments are checked against its schema before it is asked."""

    listed: t.Tool
    answer: Callable[[Context, t.CallToolRequestParams], ToolAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRow:
    """One resource that is always there."""

    listed: t.Resource
    read: Callable[[Context, str], ReadAnswer]


@dataclass(frozen=True, kw_only=True)
class TemplateRow:
    """A kind of resources; `read` gets the whole URI, which fits."""

    listed: t.ResourceTemplate
    read: Callable[[Context, str], ReadAnswer]
    complete: Mapping[str, Completer] = field(default_factory=dict[str, Completer])

    @cached_property
    def _shape(self) -> re.Pattern[str]:
        return re.compile(_VARIABLE.sub("[^/]+", re.escape(self.listed.uri_template)))

    def fits(self, uri: str) -> bool:
        """Whether a URI is of this kind."""
        return self._shape.fullmatch(uri) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """One prompt; its arguments are checked against what it lists before it is asked."""

    listed: t.Prompt
    answer: Callable[[Context, t.GetPromptRequestParams], PromptAnswer]
    complete: Mapping[str, Completer] = field(default_factory=dict[str, Completer])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixtures:
    """Rows beside our own."""

    tools: tuple[ToolRow, ...] = ()
    resources: tuple[ResourceRow, ...] = ()
    templates: tuple[TemplateRow, ...] = ()
    prompts: tuple[PromptRow, ...] = ()


@contextmanager
def plainly(**data: Any) -> Generator[None]:
    """Turn a refusal into an error of the protocol, where no result can carry it."""
    try:
        yield
    except Refused as error:
        code = (
            t.INVALID_PARAMS if error.http < HTTPStatus.INTERNAL_SERVER_ERROR else t.INTERNAL_ERROR
        )
        raise MCPError(code, f"{error.message} {error.remedy}", data=data or None) from error


def one_page(params: t.PaginatedRequestParams | None) -> None:
    """Refuse a cursor where all is on one page: nobody can have got it from us."""
    if params is not None and params.cursor is not None:
        raise MCPError(t.INVALID_PARAMS, "Unknown cursor: this list has one page.")
