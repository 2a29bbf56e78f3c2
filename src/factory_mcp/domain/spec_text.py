"""A droid's Markdown file, checked in full and made into a spec."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from factory_mcp.domain import front_matter
from factory_mcp.domain.front_matter import Findings, Section, nearest, show
from factory_mcp.domain.model import Autonomy, Effects, Json
from factory_mcp.domain.spec import (
    BACKENDS,
    BLIND,
    CATEGORIES,
    FACTS,
    PLACEHOLDER,
    TOOLS,
    DroidSpec,
    TaskSpec,
)

FACTORY_KEYS: Final = ("name", "description", "model", "reasoningEffort", "tools", "mcpServers")
OUR_KEY: Final = "factory_mcp"
OUR_KEYS: Final = (
    "effects",
    "autonomy",
    "deadline",
    "idle",
    "context_tokens",
    "tasks",
    "fallback",
    "mode",
    "options",
)
TASK_KEYS: Final = ("description", "when", "handoff_steps")
OPTION_KEYS: Final = (
    "type",
    "description",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
)
EFFORTS: Final = ("none", "dynamic", "off", "minimal", "low", "medium", "high", "xhigh", "max")
RESERVED_OPTIONS: Final = ("fresh", "branch", "isolation")
OPTION_TYPES: Final = ("string", "integer", "number", "boolean")
DEFAULTS: Final = DroidSpec(name="", description="", prompt="")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")  # clients cut tool names at 64 characters
_MODE: Final = re.compile(r"[a-zA-Z0-9-]+")
_MCP_TOOL: Final = re.compile(r"[\w-]+___[\w.-]+")
_KEYED: Final = re.compile(r"(context|facts)\.([\w-]+(?:\.[\w-]+)*)", re.ASCII)
_WHOLE: Final = ("task", "workspace", "context")
_BRACKETS: Final = re.compile(r"\[\[|\]\]")
_NAME_RULE: Final = "must be 1 to 40 of a-z, 0-9, `-` and `_`, a letter or digit first"
_DAY: Final = 86_400
_MOST_TOKENS: Final = 200_000


def parse(text: str, source: str) -> DroidSpec:
    """The spec of one file.

    Args:
        text: The whole file: YAML front matter, then the prompt.
        source: The file's name as problems give it; its stem must be the droid's name.

    Raises:
        SpecInvalid: One line for each problem found: file, line, field, what is wrong with it
            and the nearest right name.
    """
    findings = Findings(source)
    values, body = front_matter.read(text, findings)
    top = Section(findings, (), values)
    top.only(*FACTORY_KEYS, OUR_KEY)
    spec = _spec(top, body, source, hashlib.sha256(text.encode()).hexdigest())
    if not body:
        top.wrong("the prompt below the front matter is empty")
    error = findings.error()
    if error is not None:
        raise error
    return spec


def _spec(top: Section, body: str, source: str, digest: str) -> DroidSpec:
    ours = top.section(OUR_KEY)
    ours.only(*OUR_KEYS)
    effects = Effects(ours.word("effects", list(Effects), default=DEFAULTS.effects))
    deadline_s = ours.seconds("deadline", default=DEFAULTS.deadline_s, most=_DAY)
    spec = DroidSpec(
        name=_name(top, source),
        description=top.text("description"),
        prompt=body,
        model=top.text("model", default=DEFAULTS.model),
        reasoning_effort=top.word("reasoningEffort", EFFORTS, default="") or None,
        tools=_tools(top),
        mcp_servers=top.texts("mcpServers"),
        effects=effects,
        autonomy=Autonomy(ours.word("autonomy", list(Autonomy), default=DEFAULTS.autonomy)),
        deadline_s=deadline_s,
        idle_s=ours.seconds("idle", default=min(DEFAULTS.idle_s, deadline_s), most=deadline_s),
        context_tokens=ours.integer(
            "context_tokens", default=DEFAULTS.context_tokens, most=_MOST_TOKENS
        ),
        tasks=_tasks(ours),
        fallback=_fallback(ours, effects),
        mode=_mode(ours),
        options=_options(ours),
        source=source,
        digest=digest,
    )
    _check_effects(spec, top, ours)
    return spec


def _check_effects(spec: DroidSpec, top: Section, ours: Section) -> None:
    # A list of tools that could not be read has been reported already.
    tools_known = bool(spec.tools) or "tools" not in top.values
    if spec.effects is Effects.NONE and spec.changes_with and tools_known:
        named = ", ".join(spec.changes_with)
        reach = named if spec.tools else f"every tool, as it has no `tools` ({named})"
        ours.wrong(f"`none`, but the droid may use {reach}", "effects")


def _name(top: Section, source: str) -> str:
    name = top.text("name")
    stem = source.replace("\\", "/").rpartition("/")[2].removesuffix(".md")
    if name and not _NAME.fullmatch(name):
        top.wrong(f"{show(name)} {_NAME_RULE}", "name")
    elif name and name != stem:
        top.wrong(f"{show(name)} is not the file's own name {show(stem)}", "name")
    return name


def _tools(top: Section) -> tuple[str, ...]:
    """Tool ids; () where the key is absent, which is every tool."""
    value = top.values.get("tools")
    if isinstance(value, str):
        return _category(top, value)
    if value == []:
        top.wrong("is empty; list a tool, or leave the key out for every tool", "tools")
    tools = top.texts("tools")
    known = [tool for tool in tools if tool in TOOLS or _MCP_TOOL.fullmatch(tool)]
    for at, tool in enumerate(tools, 1):
        if tool in CATEGORIES:
            top.wrong(f"{show(tool)} is a category; list its tools", "tools", str(at))
        elif tool not in known:
            top.wrong(f"{show(tool)} is no tool{nearest(tool, TOOLS)}", "tools", str(at))
    return tuple(known)


def _category(top: Section, name: str) -> tuple[str, ...]:
    if name in CATEGORIES:
        return CATEGORIES[name]
    if name == "mcp":
        what = "`mcp` is no fixed set of tools; list tools, and the servers in `mcpServers`"
    elif name in TOOLS:
        what = f"must be a list: `[{name}]`"
    else:
        what = f"{show(name)} is no category{nearest(name, CATEGORIES)}"
    top.wrong(what, "tools")
    return ()


def _fallback(ours: Section, effects: Effects) -> tuple[str, ...]:
    if "fallback" not in ours.values:
        return BACKENDS if effects is Effects.NONE else DEFAULTS.fallback
    backends = ours.texts("fallback")
    for at, backend in enumerate(backends, 1):
        if backend == "handoff":
            what = "`handoff` always comes last by itself; leave it out"
        elif backend not in BACKENDS:
            what = f"{show(backend)} is no backend{nearest(backend, BACKENDS)}"
        elif backend in backends[: at - 1]:
            what = f"{show(backend)} stands here a second time"
        elif backend in BLIND and effects is not Effects.NONE:
            what = f"{show(backend)} sees no folder: it is for droids whose effects are `none`"
        else:
            continue
        ours.wrong(what, "fallback", str(at))
    return backends


def _mode(ours: Section) -> str:
    mode = ours.text("mode", default=DEFAULTS.mode)
    if not _MODE.fullmatch(mode):
        ours.wrong(f"{show(mode)} must be letters, digits and `-`", "mode")
    return mode


def _tasks(ours: Section) -> tuple[TaskSpec, ...]:
    tasks = ours.section("tasks")
    if not tasks.values:
        ours.wrong("give at least one task with `handoff_steps`", "tasks")
    return tuple(_task(name, task) for name, task in tasks.sections().items())


def _task(name: str, task: Section) -> TaskSpec:
    task.only(*TASK_KEYS)
    if not _NAME.fullmatch(name):
        task.wrong(f"{show(name)} {_NAME_RULE}")
    steps = task.texts("handoff_steps")
    if not steps:
        task.wrong("give the steps by which the caller's own agent would do it", "handoff_steps")
    elif not any("task" in PLACEHOLDER.findall(step) for step in steps):
        task.wrong("no step holds `{task}`: they would fit any call", "handoff_steps")
    for at, step in enumerate(steps, 1):
        for what in _step_problems(step):
            task.wrong(what, "handoff_steps", str(at))
    return TaskSpec(
        name=name,
        description=task.text("description", most=200),
        when=task.texts("when"),
        handoff_steps=steps,
    )


def _step_problems(step: str) -> Iterator[str]:
    for name in PLACEHOLDER.findall(step):
        if not _is_placeholder(name):
            known = [*_WHOLE, "context.KEY", *(f"facts.{fact}" for fact in FACTS)]
            yield f"{show(f'{{{name}}}')} is no placeholder{nearest(name, known)}"
    if set("{}") & set(PLACEHOLDER.sub("", step)):
        yield "a curly bracket stands alone"
    brackets = _BRACKETS.findall(step)
    if brackets != ["[[", "]]"] * (len(brackets) // 2):
        yield "`[[` and `]]` do not pair"


def _is_placeholder(name: str) -> bool:
    keyed = _KEYED.fullmatch(name)
    return name in _WHOLE or bool(keyed and (keyed[1] == "context" or keyed[2] in FACTS))


def _options(ours: Section) -> Mapping[str, Json]:
    options = ours.section("options")
    for name in options.values:
        if name in RESERVED_OPTIONS:
            options.wrong("every droid has this option already", name)
        elif not _NAME.fullmatch(name):
            options.wrong(f"{show(name)} {_NAME_RULE}", name)
    return {name: _option(option) for name, option in options.sections().items()}


def _option(option: Section) -> Json:
    """A flat JSON Schema of one plain value: clients strip or refuse anything else."""
    option.only(*OPTION_KEYS)
    option.text("description")
    if option.text("type"):
        option.word("type", OPTION_TYPES, default="string")
    for what in _schema_problems({k: v for k, v in option.values.items() if k in OPTION_KEYS}):
        option.wrong(what)
    return option.values


def _schema_problems(schema: Json) -> Iterator[str]:
    check: Any = Draft202012Validator
    try:
        check.check_schema(schema)
    except SchemaError as error:
        yield f"no valid JSON Schema: {error.message}"
        return
    values = [*schema.get("enum", []), *([schema["default"]] if "default" in schema else [])]
    yield from (
        f"{show(value)} does not fit its own schema"
        for value in values
        if not check(schema).is_valid(value)
    )
