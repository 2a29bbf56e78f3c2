"""A stand-in for the droid program that speaks its protocol and does what a scenario says.

Run as `stub_droid.py SCENARIO exec …`, where SCENARIO is a file of JSON:

    version     what `--version` prints
    stderr      written at the start
    exit        ends at once with this status
    settings    changes the settings that a session reports; null removes one
    models      the ids of the models it lists
    cwd         the folder that a loaded session reports
    error       the answer to the session's opening is this error
    silent      methods that are never answered
    before      notifications sent before the session opens
    turn        notifications that answer the prompt; {"exit": 3} ends the program
    deaf        SIGTERM is ignored
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any


def say(message: dict[str, Any]) -> None:
    """Write one message of the protocol."""
    envelope = {"jsonrpc": "2.0", "factoryApiVersion": "1.0.0", "factoryProtocolVersion": "1.220.0"}
    line = json.dumps(envelope | message, ensure_ascii=False)
    sys.stdout.buffer.write(line.encode(errors="backslashreplace") + b"\n")
    sys.stdout.flush()


def notify(notes: list[dict[str, Any]]) -> None:
    """Send notifications, or end."""
    for note in notes:
        if "exit" in note:
            sys.exit(note["exit"])
        params = {"notification": note}
        say({"type": "notification", "method": "droid.session_notification", "params": params})


def opened(scenario: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """The answer to a session's opening: what was asked for, with the scenario's changes."""
    settings = {
        "modelId": params.get("modelId", "default"),
        "reasoningEffort": params.get("reasoningEffort", "none"),
        "restrictToolIds": params.get("restrictToolIds", []),
        "systemPrompt": params.get("systemPrompt"),
        "tags": params.get("tags", []),
    } | scenario.get("settings", {})
    return {
        "sessionId": params.get("sessionId", "session-1"),
        "session": {"messages": []},
        "settings": {name: value for name, value in settings.items() if value is not None},
        "availableModels": [model(name) for name in scenario.get("models", [])],
        "cwd": scenario.get("cwd", str(Path.cwd())),
    }


def model(name: str) -> dict[str, Any]:
    """A model as the program lists it."""
    return {
        "id": name,
        "displayName": name,
        "shortDisplayName": name,
        "modelProvider": "openai",
        "supportedReasoningEfforts": ["none"],
        "defaultReasoningEffort": "none",
    }


def answer(scenario: dict[str, Any], request: dict[str, Any]) -> None:
    """Answer one request of the client."""
    method = request["method"].removeprefix("droid.")
    if method in scenario.get("silent", ()):
        return
    opening = method in ("initialize_session", "load_session")
    if opening:
        notify(scenario.get("before", []))
    reply: dict[str, Any] = {"type": "response", "id": request["id"]}
    if opening and "error" in scenario:
        say(reply | {"error": scenario["error"]})
        return
    say(reply | {"result": opened(scenario, request["params"]) if opening else {}})
    if method == "add_user_message":
        notify(scenario.get("turn", []))


def main() -> None:
    """Play the scenario until stdin ends."""
    scenario = json.loads(Path(sys.argv[1]).read_text())
    if "--version" in sys.argv:
        sys.stdout.write(scenario.get("version", "0.225.2") + "\n")
        return
    sys.stderr.write(scenario.get("stderr", ""))
    if "exit" in scenario:
        sys.exit(scenario["exit"])
    if scenario.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        answer(scenario, json.loads(line))


if __name__ == "__main__":
    main()
