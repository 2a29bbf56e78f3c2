"""The ten tools: names, annotations that follow from the specs, flat schemas."""

import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from factory_mcp.domain.model import Autonomy, Effects
from factory_mcp.domain.spec import DroidSpec, TaskSpec
from factory_mcp.domain.tools import OUTPUT_SCHEMA, all_tools, droid_tool

TASK = TaskSpec(
    name="design_system", description="Design it.", when=("design",), handoff_steps=("a",)
)
READER = DroidSpec(
    name="architect",
    description="Designs systems.",
    prompt="x",
    effects=Effects.NONE,
    tools=("Read",),
    tasks=(TASK,),
    options={"detail_level": {"type": "string", "enum": ["low", "high"]}},
)
WRITER = replace(READER, name="code", effects=Effects.UNSAFE, autonomy=Autonomy.MEDIUM, tasks=())


@pytest.mark.requirement("CALLS-2")
def test_read_only_is_what_the_spec_says_it_may_do() -> None:
    """The annotation is derived, never written by hand."""
    reader, writer = droid_tool(READER), droid_tool(WRITER)
    assert (True, False, True) == (reader.read_only, reader.destructive, reader.idempotent)
    assert (False, True, False) == (writer.read_only, writer.destructive, writer.idempotent)


@pytest.mark.requirement("CALLS-2")
def test_descriptions_fit_and_say_the_key_facts() -> None:
    """At most 1.8 KB, and what a model must know of RUNNING and HANDOFF."""
    long = replace(READER, tasks=tuple(replace(TASK, name=f"task_{n}") for n in range(200)))
    for tool in all_tools((READER, WRITER, long)):
        assert len(tool.description.encode()) <= 1800
        assert len(tool.name) <= 24
    assert "droid_wait" in droid_tool(READER).description
    assert "design_system" in droid_tool(READER).description


@pytest.mark.requirement("CALLS-2")
def test_schemas_are_flat_valid_json_schema() -> None:
    """Some clients strip or refuse references and unions."""
    for tool in all_tools((READER, WRITER)):
        text = json.dumps(tool.input_schema)
        assert not any(word in text for word in ("$ref", "oneOf", "anyOf", "allOf"))
        validator: Any = Draft202012Validator
        validator.check_schema(tool.input_schema)
    assert "text" == next(iter(OUTPUT_SCHEMA["properties"]))


def test_a_spec_adds_its_own_options_and_caps_autonomy() -> None:
    """The droid's schema knows what this droid takes."""
    properties = droid_tool(READER).input_schema["properties"]
    assert ["low", "high"] == properties["options"]["properties"]["detail_level"]["enum"]
    assert ["off"] == properties["autonomy"]["enum"]
    capped = droid_tool(WRITER).input_schema["properties"]["autonomy"]["enum"]
    assert ["off", "low", "medium"] == capped


@pytest.mark.requirement("CLIENT-10")
def test_every_client_is_told_what_one_of_them_obeys() -> None:
    """The droids and droid_wait are offered at once; no result is long enough for a file."""
    metas = {tool.name: tool.meta for tool in all_tools((READER, WRITER))}
    assert {100_000} == {meta["anthropic/maxResultSizeChars"] for meta in metas.values()}
    at_once = {name for name, meta in metas.items() if meta.get("anthropic/alwaysLoad")}
    assert {"architect_droid", "code_droid", "droid_wait"} == at_once


def test_there_are_ten_tools_for_five_droids() -> None:
    """The droids come first."""
    specs = tuple(replace(READER, name=f"d{n}") for n in range(5))
    names = [tool.name for tool in all_tools(specs)]
    assert 10 == len(names)
    expected = ["droid_wait", "droid_cancel", "context_search", "context_read", "context_write"]
    assert expected == names[5:]
