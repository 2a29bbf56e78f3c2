"""What the official conformance suite calls: rows beside our own, by the names that it knows.

The suite's descriptions of its scenarios say what each is to answer.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import mcp_types as t
from mcp import MCPError
from mcp.shared.message import ServerMessageMetadata

from factory_mcp.transports.tables import (
    Context,
    Fixtures,
    PromptRow,
    ResourceRow,
    TemplateRow,
    ToolRow,
)
from tests.conformance import rounds
from tests.conformance.words import picture, said, sound, text, tool

PICTURE: Final = picture().data


# ------------------------------------------------------------------------------ content


def answering(*content: t.ContentBlock) -> Callable[[Context, Any], Awaitable[t.CallToolResult]]:
    """A tool that always answers the same."""

    async def answer(_: Context, __: object) -> t.CallToolResult:
        return t.CallToolResult(content=list(content))

    return answer


def embedded(uri: str, words: str, media_type: str = "text/plain") -> t.EmbeddedResource:
    contents = t.TextResourceContents(uri=uri, mime_type=media_type, text=words)
    return t.EmbeddedResource(type="resource", resource=contents)


CONTENT: Final = (
    tool("test_simple_text", answering(text("This is a simple text response for testing."))),
    tool("test_image_content", answering(picture())),
    tool("test_audio_content", answering(sound())),
    tool(
        "test_embedded_resource",
        answering(embedded("test://embedded-resource", "This is an embedded resource content.")),
    ),
    tool(
        "test_multiple_content_types",
        answering(
            text("Multiple content types test:"),
            picture(),
            embedded("test://mixed-content-resource", '{"test":"data"}', "application/json"),
        ),
    ),
)


# --------------------------------------------------------------------- what a tool may do


async def logging(ctx: Context, _: object) -> t.CallToolResult:
    """Three messages, as far as the request wants any."""
    for message in ("started", "processing data", "completed"):
        await ctx.session.send_log_message(  # pyright: ignore[reportDeprecated]
            "info", f"Tool execution {message}", related_request_id=ctx.request_id
        )
    return said("Tool with logging executed successfully")


async def progress(ctx: Context, _: object) -> t.CallToolResult:
    """Three reports, and the token as the answer."""
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"Completed step {done} of 100")
    return said(str((ctx.meta or {}).get("progress_token", 0)))


async def failing(_: Context, __: object) -> t.CallToolResult:
    """It raises; that the client gets a result is the dispatcher's doing."""
    raise RuntimeError("This tool intentionally returns an error for testing")


async def sampling(ctx: Context, params: t.CallToolRequestParams) -> t.CallToolResult:
    """A question to the client's model."""
    request = rounds.sample((params.arguments or {})["prompt"])
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    answer = await ctx.session.send_request(request, t.CreateMessageResult, metadata=related)
    assert isinstance(answer.content, t.TextContent)
    return said(f"LLM response: {answer.content.text}")


def eliciting(
    message: str | None, schema: dict[str, Any]
) -> Callable[[Context, t.CallToolRequestParams], Awaitable[t.CallToolResult]]:
    """A tool that asks the person; without a message that of its argument."""

    async def answer(ctx: Context, params: t.CallToolRequestParams) -> t.CallToolResult:
        question = message or (params.arguments or {})["message"]
        got = await ctx.session.elicit_form(question, schema, related_request_id=ctx.request_id)
        return said(f"User response: action={got.action}, content={json.dumps(got.content)}")

    return answer


async def requiring(ctx: Context, _: object) -> t.CallToolResult:
    """It needs a capability that the client has not declared."""
    declared = ctx.session.client_capabilities
    if declared is None or declared.sampling is None:
        needed: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(t.MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs sampling", needed)
    return said("Client declared sampling capability; proceeding.")


def form(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def string(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


DEFAULTS: Final = form(
    name=string(default="John Doe"),
    age={"type": "integer", "default": 30},
    score={"type": "number", "default": 95.5},
    status=string(enum=["active", "inactive", "pending"], default="active"),
    verified={"type": "boolean", "default": True},
)
TITLED: Final = [{"const": "value1", "title": "First"}, {"const": "value2", "title": "Second"}]
ENUMS: Final = form(
    untitledSingle=string(enum=["option1", "option2", "option3"]),
    titledSingle=string(oneOf=TITLED),
    legacyEnum=string(enum=["opt1", "opt2"], enumNames=["Option One", "Option Two"]),
    untitledMulti={"type": "array", "items": string(enum=["option1", "option2", "option3"])},
    titledMulti={"type": "array", "items": {"anyOf": TITLED}},
)
SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": string(), "city": string()},
        }
    },
    "properties": {
        "name": string(),
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": string(enum=["phone", "email"]),
        "phone": string(),
        "email": string(),
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

DOING: Final = (
    tool("test_tool_with_logging", logging),
    tool("test_logging_tool", logging),
    tool("test_tool_with_progress", progress),
    tool("test_error_handling", failing),
    tool("test_sampling", sampling, prompt=string()),
    tool("test_elicitation", eliciting(None, form(response=string())), message=string()),
    tool("test_elicitation_sep1034_defaults", eliciting("Who are you?", DEFAULTS)),
    tool("test_elicitation_sep1330_enums", eliciting("Which of these?", ENUMS)),
    tool("test_missing_capability", requiring),
    tool(
        "test_x_mcp_header",
        answering(text("as the header says")),
        region=string(**{"x-mcp-header": "Region"}),
    ),
    ToolRow(
        listed=t.Tool(
            name="json_schema_2020_12_tool",
            description="Keeps every keyword of its schema.",
            input_schema=SCHEMA,
        ),
        answer=answering(text("kept")),
    ),
)


# ---------------------------------------------------------------------------- resources


def resource(name: str, contents: t.TextResourceContents | t.BlobResourceContents) -> ResourceRow:
    async def read(_: Context, __: str) -> t.ReadResourceResult:
        return t.ReadResourceResult(contents=[contents])

    listed = t.Resource(uri=str(contents.uri), name=name, mime_type=contents.mime_type)
    return ResourceRow(listed=listed, read=read)


def words(uri: str, content: str) -> t.TextResourceContents:
    return t.TextResourceContents(uri=uri, mime_type="text/plain", text=content)


async def templated(_: Context, uri: str) -> t.ReadResourceResult:
    """The variable, and that it was one."""
    known = uri.split("/")[3]
    content = json.dumps({"id": known, "templateTest": True, "data": f"Data for ID: {known}"})
    contents = t.TextResourceContents(uri=uri, mime_type="application/json", text=content)
    return t.ReadResourceResult(contents=[contents])


RESOURCES: Final = (
    resource(
        "static text",
        words("test://static-text", "This is the content of the static text resource."),
    ),
    resource(
        "static binary",
        t.BlobResourceContents(uri="test://static-binary", mime_type="image/png", blob=PICTURE),
    ),
    resource("watched", words("test://watched-resource", "Watched resource content")),
)
TEMPLATES: Final = (
    TemplateRow(
        listed=t.ResourceTemplate(uri_template="test://template/{id}/data", name="template"),
        read=templated,
    ),
)


# ------------------------------------------------------------------------------ prompts


def prompt(
    name: str, fill: Callable[[dict[str, str]], list[t.ContentBlock]], *arguments: str
) -> PromptRow:
    async def answer(_: Context, params: t.GetPromptRequestParams) -> t.GetPromptResult:
        content = fill(params.arguments or {})
        return t.GetPromptResult(
            messages=[t.PromptMessage(role="user", content=block) for block in content]
        )

    return PromptRow(
        listed=t.Prompt(
            name=name,
            description=f"The conformance suite's {name}.",
            arguments=[t.PromptArgument(name=each, required=True) for each in arguments],
        ),
        answer=answer,
    )


PROMPTS: Final = (
    prompt("test_simple_prompt", lambda _: [text("This is a simple prompt for testing.")]),
    prompt(
        "test_prompt_with_arguments",
        lambda given: [
            text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")
        ],
        "arg1",
        "arg2",
    ),
    prompt(
        "test_prompt_with_embedded_resource",
        lambda given: [
            embedded(given["resourceUri"], "Embedded resource content for testing."),
            text("Please process the embedded resource above."),
        ],
        "resourceUri",
    ),
    prompt(
        "test_prompt_with_image",
        lambda _: [picture(), text("Please analyze the image above.")],
    ),
    PromptRow(
        listed=t.Prompt(
            name="test_input_required_result_prompt", description="It asks before it answers."
        ),
        answer=rounds.prompt,
    ),
)

FIXTURES: Final = Fixtures(
    tools=(*CONTENT, *DOING, *rounds.TOOLS),
    resources=RESOURCES,
    templates=TEMPLATES,
    prompts=PROMPTS,
)
