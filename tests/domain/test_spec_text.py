"""A droid's file: what it may say, and how each mistake is named."""

import hashlib
from typing import Any

import pytest
from droid_sdk import ReasoningEffort

from factory_mcp.domain.errors import SpecInvalid
from factory_mcp.domain.model import Autonomy, Effects
from factory_mcp.domain.spec import CATEGORIES, DroidSpec, TaskSpec
from factory_mcp.domain.spec_text import EFFORTS, parse

GOOD = """---
name: helper
description: Helps.
tools: [Read]
factory_mcp:
  effects: none
  tasks:
    help_out:
      description: Help somebody
      when: [help]
      handoff_steps:
        - "Do {task}"
---
Be helpful.
"""
PLAIN = GOOD.replace("tools: [Read]\n", "").replace("  effects: none\n", "")


def changed(old: str, new: str, *, text: str = GOOD) -> str:
    """The good file with one thing changed."""
    assert 1 == text.count(old)
    return text.replace(old, new)


def ours(lines: str) -> str:
    """The good file with more lines in our block."""
    return changed("  effects: none\n", f"  effects: none\n{lines}")


def option(schema: str) -> str:
    """The good file with an option `size`."""
    return ours(f"  options:\n    size: {schema}\n")


def steps(*lines: str) -> str:
    """The good file with other handoff steps."""
    return changed('        - "Do {task}"', "\n".join(f'        - "{line}"' for line in lines))


def problems(text: str, source: str = "specs/helper.md") -> list[str]:
    """What is wrong with a file, a line each."""
    with pytest.raises(SpecInvalid) as raised:
        parse(text, source)
    return raised.value.message.split("\n")


# ------------------------------------------------------------------------------- good files


@pytest.mark.requirement("SPECS-1")
def test_a_file_says_everything_a_droid_is() -> None:
    """Factory's keys, our block and the prompt each become a field."""
    text = """---
name: helper
description: Helps.
model: custom:mine
reasoningEffort: high
tools: [Read, Edit, linear___list_issues]
mcpServers: [linear]
factory_mcp:
  effects: idempotent
  autonomy: medium
  deadline: 30m
  idle: 45.5
  context_tokens: 0
  fallback: [droid_cli]
  mode: my-mode
  options:
    size: {type: integer, description: How big, enum: [1, 2], default: 2}
  tasks:
    help_out:
      description: Help somebody
      when: [help, lend a hand]
      handoff_steps: ["Do {task}", "Look at {context.a.b-c}[[ and {facts.tests}]]"]
---

Be helpful.
"""
    expected = DroidSpec(
        name="helper",
        description="Helps.",
        prompt="Be helpful.",
        model="custom:mine",
        reasoning_effort="high",
        tools=("Read", "Edit", "linear___list_issues"),
        mcp_servers=("linear",),
        effects=Effects.IDEMPOTENT,
        autonomy=Autonomy.MEDIUM,
        deadline_s=1800,
        idle_s=45.5,
        context_tokens=0,
        fallback=("droid_cli",),
        mode="my-mode",
        options={
            "size": {"type": "integer", "description": "How big", "enum": [1, 2], "default": 2}
        },
        tasks=(
            TaskSpec(
                name="help_out",
                description="Help somebody",
                when=("help", "lend a hand"),
                handoff_steps=("Do {task}", "Look at {context.a.b-c}[[ and {facts.tests}]]"),
            ),
        ),
        source="specs/helper.md",
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )
    assert expected == parse(text, "specs/helper.md")


@pytest.mark.requirement("SPECS-2")
def test_a_file_without_effects_is_unsafe_and_without_tools_has_them_all() -> None:
    """What nobody said is taken at its worst."""
    spec = parse(PLAIN, "helper.md")
    assert (Effects.UNSAFE, (), False) == (spec.effects, spec.tools, spec.read_only)
    assert "Execute" in spec.changes_with


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_stands_for_its_tools(category: str) -> None:
    """As Factory's droid reads it."""
    text = changed("name: helper\n", f"name: helper\ntools: {category}\n", text=PLAIN)
    assert CATEGORIES[category] == parse(text, "helper.md").tools


def test_off_and_on_are_words_and_line_ends_do_not_matter() -> None:
    """YAML 1.1 would make `off` a boolean; Windows editors end lines in their own way."""
    text = ours("  autonomy: off\n  deadline: 1.5h\n").replace("\n", "\r\n")
    spec = parse(f"\ufeff{text}", "C:\\specs\\helper.md")
    assert (Autonomy.OFF, 5400) == (spec.autonomy, spec.deadline_s)


def test_a_short_deadline_shortens_the_default_idle_time() -> None:
    """Silence cannot be allowed for longer than the whole run."""
    assert 60 == parse(ours("  deadline: 60\n"), "helper.md").idle_s


def test_reasoning_efforts_are_those_of_the_droid() -> None:
    """The list is copied, because the domain does not import the SDK."""
    assert sorted(EFFORTS) == sorted(effort.value for effort in ReasoningEffort)


# ---------------------------------------------------------------------------------- mistakes


@pytest.mark.requirement("SPECS-3")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            changed("description: Helps", "descripton: Helps"),
            "3: descripton: no such key; did you mean",
        ),
        (changed("  effects:", "  efects:"), "6: factory_mcp.efects: no such key; did you mean `e"),
        (changed("when:", "wen:"), "10: factory_mcp.tasks.help_out.wen: no such key; did you mean"),
        (changed("effects: none", "effects: nine"), "`nine` is not known; did you mean `none`?"),
        (
            ours("  autonomy: hgh\n"),
            "7: factory_mcp.autonomy: `hgh` is not known; did you mean `hi",
        ),
        (ours("  autonomy: 3\n"), "factory_mcp.autonomy: `3` is not known; known are off, low"),
        (changed("[Read]", "[Raed]"), "4: tools.1: `Raed` is no tool; did you mean `Read`?"),
        (changed("[Read]", "[ls]"), "4: tools.1: `ls` is no tool; did you mean `LS`?"),
        (changed("[Read]", "[Bash]"), "4: tools.1: `Bash` is no tool; known are Read, LS"),
        (changed("[Read]", "[web]"), "4: tools.1: `web` is a category; list its tools"),
        (changed("[Read]", "read-onyl"), "4: tools: `read-onyl` is no category; did you mean `rea"),
        (changed("[Read]", "Read"), "4: tools: must be a list: `[Read]`"),
        (changed("[Read]", "mcp"), "4: tools: `mcp` is no fixed set of tools"),
        (changed("[Read]", "[]"), "4: tools: is empty; list a tool, or leave the key out"),
        (changed("[Read]", "[1]"), "4: tools: must be a list of texts, not `[1]`"),
        (
            ours("  fallback: [droid_cly]\n"),
            "7: factory_mcp.fallback.1: `droid_cly` is no backend;",
        ),
        (
            changed("effects: none", "effects: unsafe\n  fallback: [droid_cli, llm]"),
            "fallback.2: `llm` sees no folder: it is for droids whose effects are `none`",
        ),
        (ours("  fallback: [handoff]\n"), "`handoff` always comes last by itself; leave it out"),
        (ours("  fallback: [droid_cli, droid_cli]\n"), "fallback.2: `droid_cli` stands here a sec"),
        (ours("  mode: a b\n"), "7: factory_mcp.mode: `a b` must be letters, digits and `-`"),
        (ours("  deadline: soon\n"), "7: factory_mcp.deadline: must be seconds, or such as `30m`"),
        (ours("  deadline: 25h\n"), "above 0 and up to 86400 s, not `90000.0`"),
        (ours("  deadline: 0\n"), "above 0 and up to 86400 s, not `0`"),
        (ours("  idle: 1h\n"), "7: factory_mcp.idle: must be seconds, or such as `30m`"),
        (ours("  idle: true\n"), "above 0 and up to 1800 s, not `True`"),
        (ours("  context_tokens: 1.5\n"), "must be a whole number from 0 to 200000, not `1.5`"),
        (ours("  context_tokens: true\n"), "must be a whole number from 0 to 200000, not `True`"),
        (changed("description: Helps.\n", ""), "1: description: is missing"),
        (
            changed("description: Helps.", "description: 7"),
            "3: description: must be a text, not `7`",
        ),
        (changed("Helps.", "H" * 501), "3: description: has 501 characters; at most 500 are"),
        (changed("tools: [Read]", "reasoningEffort: hi"), "`hi` is not known; did you mean `high`"),
        (changed("name: helper", "name: Helper"), "2: name: `Helper` must be 1 to 40 of a-z, 0-9"),
        (changed("name: helper", "name: helpr"), "2: name: `helpr` is not the file's own name `h"),
        (changed("name: helper\n", ""), "1: name: is missing"),
        (changed("Be helpful.\n", "\n"), "1: the prompt below the front matter is empty"),
        (
            changed("name: helper", "name: helper\nname: other"),
            "3: name: stands here a second time",
        ),
        (ours("  effects: unsafe\n"), "7: factory_mcp.effects: stands here a second time"),
        (
            changed("[Read]", "&a [Read]\nmcpServers: *a"),
            "mcpServers: is an alias; write its value",
        ),
        (changed("tools: [Read]", "factory_mpc: {}"), "4: factory_mpc: no such key; did you mean"),
        (changed("tools: [Read]", "? [a]\n: b"), "4: ?: no such key"),
        (changed("helper\n", "helper\nmodel:\n"), "3: model: is missing"),
    ],
)
def test_a_mistake_is_named_with_line_field_and_mend(text: str, line: str) -> None:
    """One line says where it is, what is wrong and what would be right."""
    found = problems(text)
    assert any(line in problem for problem in found), found
    assert all(problem.startswith("specs/helper.md:") for problem in found)


@pytest.mark.requirement("SPECS-4")
@pytest.mark.parametrize(
    ("old", "new", "reach"),
    [
        ("[Read]", "[Read, Edit]", "Edit"),
        ("[Read]", "execute", "Execute"),
        ("[Read]", "[Read, linear___add_issue]", "linear___add_issue"),
        ("[Read]", "[Read]\nmcpServers: [linear]", "linear"),
        ("tools: [Read]\n", "", "every tool, as it has no `tools`"),
    ],
)
def test_effects_none_with_a_tool_that_changes_things_is_refused(
    old: str, new: str, reach: str
) -> None:
    """Edit, execute, MCP, and the absence of a list, which is every tool."""
    [problem] = problems(changed(old, new))
    assert f"factory_mcp.effects: `none`, but the droid may use {reach}" in problem


def test_an_unreadable_tool_is_reported_once() -> None:
    """Effects are judged by the tools that are known."""
    assert 1 == len(problems(changed("[Read]", "[Raed]")))


@pytest.mark.requirement("SPECS-5")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            ours("")[: ours("").index("  tasks")] + "---\nx",
            "5: factory_mcp.tasks: give at least one",
        ),
        (
            changed('handoff_steps:\n        - "Do {task}"', "handoff_steps: []"),
            "11: factory_mcp.tas",
        ),
        (changed('      handoff_steps:\n        - "Do {task}"\n', ""), "give the steps by which"),
        (changed("help_out", "Help"), "`Help` must be 1 to 40 of a-z"),
        (
            changed("description: Help somebody", "description: ''"),
            "9: factory_mcp.tasks.help_out.d",
        ),
        (changed("[help]", "help"), "10: factory_mcp.tasks.help_out.when: must be a list of texts"),
        (steps("Look around."), "no step holds `{task}`: they would fit any call"),
        (
            steps("Do {tsk}"),
            "12: factory_mcp.tasks.help_out.handoff_steps.1: `{tsk}` is no placeho",
        ),
        (
            steps("{task}", "On {facts.brunch}"),
            "13: factory_mcp.tasks.help_out.handoff_steps.2: `{f",
        ),
        (steps("{task} {facts.brunch}"), "did you mean `facts.branch`?"),
        (steps("{task} {facts}"), "`{facts}` is no placeholder"),
        (steps("{task} {context.}"), "`{context.}` is no placeholder; did you mean `context`?"),
        (steps("{task} {workspce}"), "did you mean `workspace`?"),
        (steps("{task} {quux}"), "`{quux}` is no placeholder; known are task, workspace, context"),
        (steps("{task} {"), "a curly bracket stands alone"),
        (steps("{task} [[a"), "`[[` and `]]` do not pair"),
        (steps("{task} [[a [[b]] c]]"), "`[[` and `]]` do not pair"),
        (steps("{task} ]] [["), "`[[` and `]]` do not pair"),
    ],
)
def test_a_task_is_nothing_without_handoff_steps_of_its_own(text: str, line: str) -> None:
    """Steps that are missing, fit any call or name what does not exist are mistakes."""
    found = problems(text)
    assert any(line in problem for problem in found), found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (option("{description: a}"), "8: factory_mcp.options.size.type: is missing"),
        (option("{type: string}"), "8: factory_mcp.options.size.description: is missing"),
        (option("{type: strng, description: a}"), "`strng` is not known; did you mean `string`?"),
        (option("{type: object, description: a}"), "`object` is not known; known are string, int"),
        (option("{type: string, description: a, $ref: '#/x'}"), "size.$ref: no such key"),
        (option("{type: string, description: a, items: {type: string}}"), "size.items: no such ke"),
        (
            option("{type: integer, description: a, maximum: b}"),
            "size: no valid JSON Schema: 'b' i",
        ),
        (option("{type: integer, description: a, default: b}"), "`b` does not fit its own schema"),
        (option("{type: string, description: a, enum: [2024-01-01, 2]}"), "`2` does not fit its"),
        (option("[a]"), "8: factory_mcp.options.size: must be a mapping of names to values"),
        (option("{type: string, description: a}").replace("size", "fresh"), "every droid has this"),
        (option("{type: string, description: a}").replace("size", "a b"), "`a b` must be 1 to 40"),
    ],
)
def test_an_option_is_a_flat_schema_of_one_plain_value(text: str, line: str) -> None:
    """Clients strip or refuse references and nesting."""
    found = problems(text)
    assert any(line in problem for problem in found), found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Be helpful.", "1: a spec begins with YAML front matter between two lines of `---`"),
        ("---\nname: a\n", "1: a spec begins with YAML front matter"),
        ("---\n---\nBe helpful.", "1: the front matter must be a mapping of names to values"),
        ("---\n- a\n---\nBe helpful.", "1: the front matter must be a mapping of names to values"),
        ("---\nname: a\nb: c: d\n---\nx", "3: not valid YAML: mapping values are not allowed"),
        ("---\nname: \x07\n---\nx", "1: not valid YAML: "),
        (f"---\nname: {'[' * 3000}\n---\nx", ": not valid YAML: "),
        (f"---\nname: {'[' * 600}{']' * 600}\n---\nx", ": not valid YAML: "),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(text: str, line: str) -> None:
    """No front matter, no YAML, no mapping."""
    [problem] = problems(text)
    assert line in problem


@pytest.mark.requirement("SPECS-3")
def test_all_mistakes_of_a_file_come_at_once() -> None:
    """Whoever mends a file runs the check once, not once for each mistake."""
    text = ours("  autonomy: hgh\n  deadline: soon\n").replace("[Read]", "[Raed, Greb]")
    assert [
        "specs/helper.md:4: tools.1: `Raed` is no tool; did you mean `Read`?",
        "specs/helper.md:4: tools.2: `Greb` is no tool; did you mean `Grep`?",
    ] == [line for line in problems(text) if "tools" in line]
    assert 4 == len(problems(text))


@pytest.mark.parametrize(
    ("value", "read"),
    [("1_000", 1000), ("1e3", "1e3"), ("2.5", 2.5), ("!!int abc", "abc"), ("~", None)],
)
def test_plain_values_are_read_as_what_they_look_like(value: str, read: Any) -> None:
    """A value that is no number after all is a text."""
    text = option(f"{{type: string, description: a, default: {value}}}")
    if isinstance(read, str):
        assert read == parse(text, "helper.md").options["size"]["default"]
    else:
        assert f"`{read}` does not fit its own schema" in problems(text)[0]
