"""Modes and agents that know the handoff: one a droid, for the clients that have such."""

from collections.abc import Sequence
from typing import Any, Final

from factory_mcp.clients import yaml_text
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.domain.tools import SUFFIX, WAIT, WRITE

LIST: Final = "customModes"
DOCUMENTS: Final = {"edit": {"*": "deny", "*.md": "allow"}, "bash": "deny"}


def rule(spec: DroidSpec) -> str:
    """How to work with a droid, and how without it; ends in a newline."""
    tool = f"{spec.name}{SUFFIX}"
    own = (
        "your own tools; change nothing but Markdown documents"
        if spec.read_only
        else "your own read, edit and command tools"
    )
    return (
        f"Call {tool} of the MCP server factory first: the task in plain words, and everything it "
        "needs to know.\n"
        f"If the answer begins with RUNNING, call {WAIT.name} with its run_id until it ends; never "
        f"call {tool} again for it.\n"
        f"If it begins with HANDOFF, do not call {tool} again for this request: do the listed "
        f"steps yourself, with {own}, then call {WRITE.name} with its run_id and a summary, so "
        "that the other droids know.\n"
        "If files were changed, look at them before you say that it is done.\n"
    )


def roomodes(text: str, specs: Sequence[DroidSpec]) -> str:
    """A `.roomodes` with a mode for each droid; other modes stay.

    Raises:
        Unreadable: It is neither YAML nor JSON.
    """
    return yaml_text.put(text, LIST, "slug", [_mode(spec) for spec in specs])


def _mode(spec: DroidSpec) -> dict[str, Any]:
    edit: Any = "edit"
    if spec.read_only:
        edit = ["edit", {"fileRegex": r"\.md$", "description": "Markdown only"}]
    return {
        "slug": f"factory-{spec.name}",
        "name": f"Factory: {spec.name}",
        "description": f"Delegates to the Factory {spec.name} droid",
        "roleDefinition": f"You coordinate the Factory {spec.name} droid, and finish its work "
        "yourself when it hands off.",
        "whenToUse": spec.description,
        "customInstructions": rule(spec),
        "groups": ["read", edit, *(() if spec.read_only else ("command",)), "mcp"],
        "source": "project",
    }


def agent(kind: str, spec: DroidSpec) -> str:
    """An agent as a Markdown file; `kind` is claude or kilo (opencode's are the same)."""
    name = f"factory-{spec.name}"
    described = {"description": f"Delegates to the Factory {spec.name} droid. {spec.description}"}
    head: dict[str, Any] = described | {"mode": "all"}
    if kind == "claude":
        head = {"name": name} | described
    elif spec.read_only:
        head["permission"] = DOCUMENTS
    lines = yaml_text.front_matter(head)
    role = f"You coordinate the Factory {spec.name} droid, and finish its work when it hands off."
    return f"---\n{lines}---\n\n{role}\n\n{rule(spec)}"
