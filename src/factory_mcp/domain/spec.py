"""A droid's spec: Factory's custom-droid front matter, one block of ours, and the prompt.

`spec_text.parse` makes one of a file's text; here is what a spec means once it is sound.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from factory_mcp.domain.model import Autonomy, Effects, Json

CATEGORIES: Final[Mapping[str, tuple[str, ...]]] = {
    "read-only": ("Read", "LS", "Grep", "Glob"),
    "edit": ("Create", "Edit", "ApplyPatch"),
    "execute": ("Execute",),
    "web": ("WebSearch", "FetchUrl"),
}
READING_TOOLS: Final = frozenset((*CATEGORIES["read-only"], *CATEGORIES["web"], "TodoWrite"))
TOOLS: Final = (*(tool for tools in CATEGORIES.values() for tool in tools), "TodoWrite")
BACKENDS: Final = ("droid_cli", "llm")  # `handoff` always comes last by itself
BLIND: Final = frozenset({"llm"})  # they see no folder: only where effects are `none`
FACTS: Final = ("branch", "changed", "manifests", "tests", "top")
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")

_PART: Final = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
_NOT_GIVEN: Final = "(not given)"
_HERE: Final = "your current workspace"
# A step is a line of a brief, not a place for a file: the call itself has the whole text.
_MOST: Final = {"task": 1500, "context": 1000}
_MOST_VALUE: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One thing a droid is often asked to do, and how the caller's agent would do it itself.

    `handoff_steps` are templates: `{task}`, `{workspace}`, `{context}`, any key of the call's
    context as `{context.KEY}` and any fact of the workspace as `{facts.KEY}`. A part in double
    square brackets is left out when a value inside it is missing.
    """

    name: str
    description: str
    when: tuple[str, ...]  # words in a free-text task that point to this one
    handoff_steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DroidSpec:
    """One droid as its Markdown file describes it."""

    name: str
    description: str
    prompt: str
    model: str = "inherit"
    reasoning_effort: str | None = None
    tools: tuple[str, ...] = ()  # Factory tool ids, categories already expanded; () is every tool
    mcp_servers: tuple[str, ...] = ()
    effects: Effects = Effects.UNSAFE
    autonomy: Autonomy = Autonomy.OFF  # the cap
    deadline_s: float = 1800
    idle_s: float = 300
    context_tokens: int = 6000
    tasks: tuple[TaskSpec, ...] = ()
    fallback: tuple[str, ...] = ("droid_cli",)  # backends in order; handoff always follows
    mode: str = "code"  # the editor mode a handoff suggests
    options: Mapping[str, Json] = field(default_factory=dict[str, Any])  # name -> JSON Schema
    source: str = ""  # where it was read from
    digest: str = ""  # SHA-256 of the file

    @property
    def changes_with(self) -> tuple[str, ...]:
        """The tools and MCP servers through which it could change something."""
        tools = self.tools or TOOLS
        return (*(tool for tool in tools if tool not in READING_TOOLS), *self.mcp_servers)

    @property
    def read_only(self) -> bool:
        """Whether nothing the droid may do changes anything; the tool's readOnlyHint."""
        return self.effects is Effects.NONE and not self.changes_with


def task_for(spec: DroidSpec, task_text: str) -> TaskSpec:
    """The named task that a call asks for.

    Its name (`design_system`, also `design system` or `design_system: …`), else the task most of
    whose `when` words stand in the text, else the spec's first. A spec without tasks gives a task
    without steps.
    """
    if not spec.tasks:
        return TaskSpec(name=spec.name, description=spec.description, when=(), handoff_steps=())
    named = {_as_name(task.name): task for task in spec.tasks}
    for name in (_as_name(task_text), _as_name(task_text.partition(":")[0])):
        if name in named:
            return named[name]
    return max(spec.tasks, key=lambda task: _score(task, task_text))


def _as_name(text: str) -> str:
    return re.sub(r"[\s_-]+", "_", text.strip().casefold())


def _score(task: TaskSpec, text: str) -> int:
    """How many words of `when` the text holds; a phrase counts for each of its words."""
    return sum(len(phrase.split()) for phrase in task.when if _holds(text, phrase))


def _holds(text: str, phrase: str) -> bool:
    words = r"\s+".join(map(re.escape, phrase.split()))
    form = rf"{words[:-1]}(?:e[sd]?|ing)" if words.endswith("e") else rf"{words}(?:s|es|ed|ing)?"
    return bool(re.search(rf"(?<!\w){form}(?!\w)", text, re.IGNORECASE))


def render_steps(
    task: TaskSpec,
    *,
    task_text: str,
    workspace: str | None,
    context: Mapping[str, Any],
    facts: Mapping[str, str],
) -> tuple[str, ...]:
    """The task's handoff steps for one call.

    Args:
        task: The named task, as `task_for` chose it.
        task_text: The call's own words; a bare name of the task is given with its description.
        workspace: The folder, or None.
        context: The call's context; `{context.a.b}` is the key `a.b`, else `b` inside `a`.
        facts: What is known of the workspace, by the names of `FACTS`.

    Returns:
        Steps without a placeholder. What is missing reads "(not given)", or takes its part in
        double square brackets away with it; values are cut so that a step stays a step.
    """
    if _as_name(task_text) == _as_name(task.name):
        task_text = f"{task_text.strip()} ({task.description.rstrip('.')})"
    values: Json = {"task": task_text, "workspace": workspace, "context": context, "facts": facts}
    steps = (_render(step, values) for step in task.handoff_steps)
    return tuple(step for step in steps if step)


def _render(step: str, values: Mapping[str, Any]) -> str:
    def part(match: re.Match[str]) -> str:
        names = PLACEHOLDER.findall(match[1])
        return match[1] if all(_value(name, values) for name in names) else ""

    def put(match: re.Match[str]) -> str:
        name = match[1]
        return _value(name, values) or (_HERE if name == "workspace" else _NOT_GIVEN)

    template = re.sub(r" {2,}", " ", _PART.sub(part, step))
    template = re.sub(r" ([.,;:])(?=\s|$)", r"\1", template).strip()
    # Every value is put in once and never looked at again: braces in a task stay what they are.
    return PLACEHOLDER.sub(put, template)


def _value(name: str, values: Mapping[str, Any]) -> str:
    """The value's text, cut to its measure; "" when it is missing."""
    found = _lookup(values, name)
    if found in (None, {}, []):
        return ""
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
    text, most = text.strip(), _MOST.get(name, _MOST_VALUE)
    return text if len(text) <= most else f"{text[:most].rstrip()} … (cut)"


def _lookup(values: Any, path: str) -> Any:
    """`a.b.c` in nested mappings, where a key may itself hold dots."""
    if not isinstance(values, Mapping):
        return None
    mapping = cast("Mapping[str, Any]", values)
    if path in mapping:
        return mapping[path]
    heads = [path[:at] for at, sign in enumerate(path) if sign == "."]
    inner = (_lookup(mapping[h], path[len(h) + 1 :]) for h in heads if h in mapping)
    return next((value for value in inner if value is not None), None)
