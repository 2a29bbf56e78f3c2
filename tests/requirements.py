"""What the product promises: id -> (promise, source). A test proves each; a meta-test checks it.

A test names what it proves with `@pytest.mark.requirement("ID")`.
"""

SPECS: dict[str, tuple[str, str]] = {
    "SPECS-1": ("A droid is one Markdown file: Factory's keys, one block, a prompt", "issue §2"),
    "SPECS-2": ("No `effects` is unsafe; read-only follows from effects and tools", "issue §2"),
    "SPECS-3": ("Every mistake of every spec is named at once, with its mend", "issue §2"),
    "SPECS-4": ("`effects: none` with a tool that changes things is refused", "issue §2"),
    "SPECS-5": ("A task without handoff steps of its own is refused", "issue §2, §5"),
    "SPECS-6": ("A call means the task it names, or the one its words point to", "issue §2"),
    "SPECS-7": ("Handoff steps are filled with the call and the workspace", "issue §5"),
    "SPECS-8": ("FACTORY_MCP_SPECS adds droids or overrides them by name", "issue §2"),
    "SPECS-9": ("An unknown droid is answered with the nearest name", "issue: bad input"),
    "SPECS-10": ("Five droids: real prompts, fitting rights, briefs of their own", "issue §2, §5"),
    "SPECS-11": ("`droids check` prints a line per problem, or per good file", "issue §2"),
    "SPECS-12": ("The page about droids names every key and shows a sound file", "design §7"),
}

STORE: dict[str, tuple[str, str]] = {
    "STORE-1": (
        "Of equal calls one opens a run; the others attach to it while that is right",
        "contracts §3",
    ),
    "STORE-2": (
        "A key answers with its run for a day, and refuses other arguments",
        "contracts §3",
    ),
    "STORE-3": ("A new run beyond the queue is refused and leaves nothing behind", "contracts §9"),
    "STORE-4": (
        "Whoever lost a run's fence, or comes after its close, writes nothing",
        "design §6",
    ),
    "STORE-5": (
        "Run, node, history and audit row are closed in one transaction or not at all",
        "issue §7",
    ),
    "STORE-6": (
        "A heartbeat renews its owner's leases and tells of lost and cancelled runs",
        "contracts §9",
    ),
    "STORE-7": ("Runs are read newest first, and the open ones of all tenants", "issue §7, §11"),
    "STORE-8": (
        "A tenant's runs, nodes, hits and audit rows are as absent to another",
        "design §1",
    ),
    "STORE-9": (
        "Audit rows are hash-chained per tenant and hold nothing that a user wrote",
        "issue §7",
    ),
    "STORE-10": (
        "A node is appended at its chain's head, and no writer of many is lost",
        "contracts §4",
    ),
    "STORE-11": (
        "What two writers both changed is a conflict that names both sides",
        "contracts §4",
    ),
    "STORE-12": (
        "A branch is a chain of its own and leaves the trunk's head alone",
        "contracts §4",
    ),
    "STORE-13": ("A workspace has one standing chain, whoever writes first", "contracts §4"),
    "STORE-14": ("A path begins at the root and crosses branches", "contracts §4"),
    "STORE-15": (
        "A note is found by its words, rare ones first, within droid and workspace",
        "issue §8",
    ),
    "STORE-16": (
        "Any text comes back as it was: NUL, lone surrogates, backslashes",
        "issue: bad input",
    ),
    "STORE-17": (
        "Durations never go backwards, a sleep can be cut, chance is unpredictable",
        "design §8",
    ),
    "STORE-18": (
        "A process is dead only if that is sure: same boot and namespace, other start",
        "contracts §9",
    ),
    "STORE-19": (
        "A store that cannot be opened says why and what to do, and is left as it is",
        "issue: bad input",
    ),
    "STORE-20": (
        "A full disk, damage or a busy file refuses a write whole, with its remedy",
        "issue: bad input",
    ),
    "STORE-21": (
        "Every error of SQLite, SQLAlchemy and the file system has a meaning",
        "design §8",
    ),
    "STORE-22": (
        "The migrations make the very tables that the statements are written for",
        "issue §9",
    ),
    "STORE-23": (
        "Many starters make the schema once; a current one needs no Alembic",
        "issue §9, §10",
    ),
    "STORE-24": (
        "Two processes write a thousand notes each, and none is lost",
        "issue: done means",
    ),
    "STORE-25": (
        "A killed process takes along nothing that it or another had answered",
        "issue: done means",
    ),
    "STORE-26": (
        "Writers that wait share a transaction, and never each other's failures",
        "design §6",
    ),
    "STORE-27": (
        "A process that writes without a pause does not keep another out",
        "facts: stores 6.1",
    ),
}

DROID: dict[str, tuple[str, str]] = {
    "DROID-1": (
        "The whole prompt reaches the model; its answer, usage and session come back",
        "issue §4",
    ),
    "DROID-2": (
        "A file the droid writes is reported by name, while it works and in the result",
        "issue §4; contracts §1",
    ),
    "DROID-3": ("A refused tool is named, and a refusal is never a silent success", "issue §4"),
    "DROID-4": (
        "A refused key, account, request or model, and an absent provider, have their own codes",
        "issue §4",
    ),
    "DROID-5": ("No key leaves in an error message", "design §1.5"),
    "DROID-6": ("A model that nobody asked for is never used", "issue §4"),
    "DROID-7": (
        "The deadline and the idle time end a droid, and its session and side effects are told",
        "issue §4",
    ),
    "DROID-8": (
        "No process of a droid outlives its cancel, its time-out or our own death",
        "issue §4; contracts §3",
    ),
    "DROID-9": (
        "`--`, line ends, NUL and lone surrogates in a prompt do no harm",
        "issue: bad input",
    ),
    "DROID-10": (
        "A session is continued only by its own droid, in its own folder, with its own model",
        "issue §4",
    ),
    "DROID-11": (
        "A droid sees an allow-list of variables and nothing of our stdin",
        "issue §4; contracts §5",
    ),
    "DROID-12": (
        "Without a workspace a droid works in an empty folder that is removed afterwards",
        "contracts §5",
    ),
    "DROID-13": (
        "Only the MCP servers that a spec names reach the droid's session",
        "contracts §5, HOME",
    ),
    "DROID-14": (
        "`doctor` names the droid's program, version, HOME and access, and what mends each",
        "issue §4, §11",
    ),
    "DROID-15": ("Factory's own program lists the shipped specs as droids", "issue: done means"),
    "DROID-16": (
        "A repository that would start programs under a droid is refused unless it is trusted",
        "contracts §5",
    ),
    "DROID-17": (
        "So is a repository that would take the key or widen a droid's rights",
        "contracts §5",
    ),
    "DROID-18": (
        "A workspace is an existing folder inside a root, known by its real path",
        "contracts §5; issue: bad input",
    ),
    "DROID-19": (
        "The key and the facts of a workspace are found without running anything",
        "contracts §4",
    ),
    "DROID-20": ("Every reason and every exception of droid-sdk has a code here", "design §8"),
    "DROID-21": (
        "A provider's retry notice is no sign of life; the third in a row ends the attempt",
        "contracts §9",
    ),
    "DROID-22": ("A missing droid program is answered with its install line", "issue §4"),
    "DROID-23": ("droid-sdk is imported only when a droid is started", "design §8"),
    "DROID-24": ("A silent droid is reported at least every 10 s", "issue §4"),
    "DROID-25": (
        "An answer beyond measure is cut and says so; a line beyond measure is garbage",
        "issue §4",
    ),
}

CHAIN: dict[str, tuple[str, str]] = {
    "CHAIN-1": (
        "A backend that fails 5 times in a row, or half the time, is left alone, longer each time",
        "design §6, Breaker",
    ),
    "CHAIN-2": (
        "A backend left alone is probed one call at a time and is back after two good ones",
        "contracts §9",
    ),
    "CHAIN-3": ("Retries are at most a tenth of the calls, or one a second", "design §6, Retry"),
    "CHAIN-4": (
        "A call makes at most two attempts at a backend and four in all, a random pause between",
        "design §6, Retry",
    ),
    "CHAIN-5": (
        "A backend's Retry-After is obeyed where it is at most 10 s and ends before the deadline",
        "design §6, Retry",
    ),
    "CHAIN-6": ("An unsafe droid is never started again once it may have acted", "design §1.3"),
    "CHAIN-7": (
        "A backend that is off, left alone or blind to the workspace is passed over, with a code",
        "contracts §5",
    ),
    "CHAIN-8": (
        "A result holds the session, side effects and changed paths of all its attempts",
        "contracts §1",
    ),
    "CHAIN-9": (
        "Neither the caller's own faults nor its short deadline count against a backend",
        "design §6, Breaker",
    ),
    "CHAIN-10": (
        "A handoff names the last real cause, every attempt and what mends it",
        "issue §5; design §1.1",
    ),
    "CHAIN-11": (
        "Context is packed newest first, labelled with author and revision, within its budget",
        "issue §8; design §6",
    ),
    "CHAIN-12": (
        "Packed context can forge neither marker nor label, and hides no invisible character",
        "design §6",
    ),
    "CHAIN-13": (
        "A handoff tells the caller's agent in the imperative what to do next",
        "contracts §1",
    ),
    "CHAIN-14": (
        "A handoff's steps are those of the named task, filled with this call and workspace",
        "issue §5",
    ),
    "CHAIN-15": (
        "That nothing was changed is said only where every tool that was called only reads",
        "issue §5; contracts §1",
    ),
    "CHAIN-16": ("A mistake in a backend costs the attempt and never the call", "design §1.1"),
    "CHAIN-17": (
        "Breaker, budget and chain keep their promises in any order of events",
        "issue §6",
    ),
}

TRANSPORT: dict[str, tuple[str, str]] = {
    "TRANSPORT-1": (
        "Only its own names as Host (421) and its own pages as Origin (403), compared as parsed",
        "issue §10; design §4",
    ),
    "TRANSPORT-2": ("A proxied request is refused, but for /healthz", "contracts §8"),
    "TRANSPORT-3": (
        "A body over 1 MiB, declared or streamed, gets one error that names the limit",
        "issue §10, bad input",
    ),
    "TRANSPORT-4": ("A body that stalls is given up with 408 and a closed connection", "issue §10"),
    "TRANSPORT-5": ("Clients of both eras call tools over HTTP, SSE and stdio", "issue §10"),
    "TRANSPORT-6": ("/readyz says what is wrong and how to mend it", "issue §10"),
    "TRANSPORT-7": (
        "It binds loopback only, and names who holds a busy port",
        "issue §10; contracts §6, §8",
    ),
    "TRANSPORT-8": (
        "SIGTERM makes it not ready, ends open calls and streams in order, and the exit code is 0",
        "contracts §3",
    ),
    "TRANSPORT-9": (
        "The first answer on stdio is given before the SDK is imported, and is the SDK's own",
        "issue §10",
    ),
    "TRANSPORT-10": ("Importing the package loads neither mcp nor sqlalchemy", "issue §10"),
    "TRANSPORT-11": (
        "No line on stdin, however bad or long, stops the server, and a request gets its answer",
        "issue: bad input",
    ),
    "TRANSPORT-12": (
        "End of stdin, a signal, a dead parent and a closed stdout end stdio alike, without error",
        "contracts §3",
    ),
    "TRANSPORT-13": (
        "Nothing but the protocol is on stdout, whoever prints",
        "issue §10; design §8",
    ),
    "TRANSPORT-14": (
        "Both TypeScript SDKs call a droid, hear progress and read its run over /mcp and /sse",
        "issue §10, real components",
    ),
    "TRANSPORT-15": (
        "Every revision of the handshake is served over HTTP, with its version header or without",
        "design §6",
    ),
    "TRANSPORT-16": (
        "A session that is gone is a 404, on which clients open another one",
        "contracts §8",
    ),
    "TRANSPORT-17": (
        "What clients ask for and we do not have is refused at once and in silence",
        "issue §10",
    ),
    "TRANSPORT-18": (
        "A connection that breaks ends the wait and not the work, in both eras",
        "contracts §3",
    ),
    "TRANSPORT-19": (
        "A cancel stops the runs of its own session and nobody else's",
        "contracts §3; design §1.5",
    ),
    "TRANSPORT-20": (
        "Progress carries the token that was given, never comes without one or after the result",
        "design §6",
    ),
    "TRANSPORT-21": (
        "A call in the handshake era commits its stream, unbuffered, before it has an answer",
        "design §6",
    ),
    "TRANSPORT-22": (
        "Nothing is asked of a client, and no key of its environment is answered or logged",
        "design §1.5, §6",
    ),
}

HOUSE: dict[str, tuple[str, str]] = {
    "HOUSE-1": ("Every promise has a test, and every marked test a promise", "design §9"),
    "HOUSE-2": ("Files and functions stay short, and every file says what it is", "design §8"),
    "HOUSE-3": ("The package depends on what it imports, and on nothing else", "design §8"),
    "HOUSE-4": ("Packages are locked by hash, and no lock names an address", "issue §1"),
    "HOUSE-5": ("The wheel ships all that is read at run time", "issue §2"),
    "HOUSE-6": ("Every error code has a row that says what to do", "design §7"),
    "HOUSE-7": ("Every setting has a row, and every row a setting", "design §7"),
    "HOUSE-8": (
        "Every command, tool and argument has a row, and every row one of them",
        "design §7",
    ),
    "HOUSE-9": ("No document points to a file or a program that is not ours", "issue §11"),
    "HOUSE-10": ("The README shows a first real answer within 60 lines", "issue §11"),
    "HOUSE-11": (
        "Both TypeScript SDKs, in both eras, reach a server and are closed",
        "issue: real components",
    ),
}

CALLS: dict[str, tuple[str, str]] = {
    "CALLS-1": (
        "A wrong argument is one error that names the field and the remedy",
        "issue: bad input",
    ),
    "CALLS-2": (
        "Tools have truthful annotations, descriptions of at most 1.8 KB and flat schemas",
        "issue §3",
    ),
    "CALLS-3": (
        "A call answers `running` before its client gives up: after 45 s, or after 25 s",
        "contracts §3; design §6",
    ),
    "CALLS-4": (
        "The facts that a droid wants remembered become context data, and bad ones are named",
        "issue §8",
    ),
    "CALLS-5": ("The Factory key goes to one audience only", "contracts §6"),
    "CALLS-6": (
        "Before a call is answered, its run, its node and its history are on disk",
        "design §1.2; issue §7",
    ),
    "CALLS-7": ("A droid is told what the one before it learnt", "issue: done means"),
    "CALLS-8": ("A call that takes long answers `running`, and droid_wait collects it", "issue §7"),
    "CALLS-9": ("The same call attaches to its run instead of starting another", "contracts §3"),
    "CALLS-10": (
        "An idempotency key answers with its run, and is refused with other arguments",
        "contracts §3",
    ),
    "CALLS-11": ("A cancel stops the run and tells what it may have changed", "contracts §3"),
    "CALLS-12": (
        "A call without a free slot is queued; only beyond 32 queued ones it is refused",
        "contracts §9",
    ),
    "CALLS-13": (
        "A stop interrupts open runs, and the same call again continues the session",
        "contracts §3",
    ),
    "CALLS-14": ("Ten tools are listed, and readOnlyHint is on what only reads", "issue §3"),
    "CALLS-15": (
        "Text and structure of a result say the same, cut to the client's limit",
        "contracts §1",
    ),
    "CALLS-16": ("With a token, progress comes at least every 10 s, and rises", "issue §4"),
    "CALLS-17": (
        "A cancel for a time limit ends the wait, any other the run, a late one nothing",
        "contracts §3",
    ),
    "CALLS-18": ("What was learnt is a resource, and context_read shows the same", "issue §8"),
    "CALLS-19": ("What an agent writes down is found at once", "issue §8; contracts §2"),
    "CALLS-20": ("A merge names its conflicts until they are settled", "contracts §2, §4"),
    "CALLS-21": ("`factory-mcp history` lists what the droids did", "issue §11"),
    "CALLS-22": ("`factory-mcp doctor` prints each red line with its fix", "issue §11"),
    "CALLS-23": (
        "`serve` refuses a busy port, an open address and missing keys in one line each",
        "contracts §6, §8",
    ),
    "CALLS-24": ("`make run` shows a first answer and serves on", "issue §11"),
    "CALLS-25": ("An envelope is the same on every face and after the store", "contracts §1"),
}

APP: dict[str, tuple[str, str]] = {
    "APP-1": (
        "A store that is away at start does not keep the server down, and is tried again",
        "design §6, degrade; contracts §6",
    ),
    "APP-2": (
        "A wrong setting or a foreign store keeps stdio from starting, with one line that says why",
        "issue: bad input",
    ),
    "APP-3": ("`uvicorn --factory factory_mcp.app:asgi` serves the whole product", "issue §10"),
    "APP-4": (
        "Where keys are required, nothing is served over HTTP, as there are none yet",
        "contracts §8",
    ),
    "APP-5": ("FACTORY_MCP_BACKENDS names the backends that may be used", "contracts §6"),
}

RUNS: dict[str, tuple[str, str]] = {
    "RUNS-1": ("Each beat renews a run's lease and writes its progress down", "contracts §9"),
    "RUNS-2": ("A run whose fence is lost stops and writes nothing more", "contracts §9"),
    "RUNS-3": (
        "The runs of a dead process, and of no other, are closed at start and at each beat",
        "issue §7; contracts §9",
    ),
    "RUNS-4": (
        "A run whose process died tells what it may have changed, and keeps its session",
        "contracts §1, §3",
    ),
    "RUNS-5": ("One row that nobody understands stops neither server nor beat", "design §1.1"),
    "RUNS-6": ("A cancel from another process reaches the owner by its next beat", "ports"),
    "RUNS-7": (
        "A run of another process is waited for, and its progress told, like one's own",
        "issue §7",
    ),
    "RUNS-8": ("Queued runs start in the order in which they came", "contracts §9"),
    "RUNS-9": ("A store that is away when a run ends loses nothing", "design §1.2"),
    "RUNS-10": ("A server that stops waits at most 10 s for open runs to close", "contracts §3"),
    "RUNS-11": ("A server that drains takes no new work and lets open work end", "contracts §3"),
    "RUNS-17": ("A run whose opening or closing was stored unheard neither hangs nor is lost", "K"),
}

REAL: dict[str, tuple[str, str]] = {
    "REAL-1": ("A call is answered, remembered and known to the next droid", "issue: done means"),
    "REAL-2": ("A client's 2 s time-out loses nothing", "issue: done means"),
    "REAL-3": ("droid_cancel leaves no process behind", "issue: done means"),
    "REAL-4": ("stdin EOF interrupts; the same call continues the session", "contracts §3"),
    "REAL-5": ("A model that is gone ends as a handoff", "issue: done means"),
    "REAL-6": ("Five failures open the breaker; two good probes close it", "issue: done means"),
}

DEMO: dict[str, tuple[str, str]] = {
    "DEMO-1": ("`factory-mcp demo` plays the whole tour and leaves nothing behind", "contracts §7"),
}

API: dict[str, tuple[str, str]] = {
    "API-1": ("The seed's Python example runs as the documents print it", "issue 4 §2"),
    "API-2": ("API, resource and tool show one memory, across processes", "issue 4: done means"),
    "API-3": ("The async twin does the same", "issue 4 §2"),
    "API-4": ("It works in plain scripts: threads, no `with`, after `close`", "issue 4 §2"),
    "API-5": ("What cannot be kept is refused whole, with the tools' errors", "issue 4: bad input"),
}

CONTEXT: dict[str, tuple[str, str]] = {
    "CONTEXT-1": ("Two droids on one key: named, settled by a call, kept", "issue 4: done means"),
    "CONTEXT-2": ("A merge decides nothing in silence and keeps who and why", "issue 4 §1"),
    "CONTEXT-3": ("A merge of unrelated chains starts from nothing", "issue 4: bad input"),
    "CONTEXT-4": ("Two writers on one revision: the refusal names both", "issue 4: bad input"),
    "CONTEXT-5": ("A chain of 5,000 nodes works like a short one", "issue 4: bad input"),
    "CONTEXT-6": ("A 1 MB value is refused with the limit, nothing stored", "issue 4: bad input"),
    "CONTEXT-7": ("No call makes a cycle; a stored one is an error", "issue 4: bad input"),
    "CONTEXT-8": ("Text in context changes nothing a call may do", "facts/reliability X6"),
    "CONTEXT-9": ("A chain is read as it was at a revision", "issue 4 §1"),
}

SEALING: dict[str, tuple[str, str]] = {
    "SEAL-1": ("What is sealed comes back as it was, and never sealed alike", "design §6"),
    "SEAL-2": ("A seal opens in its tenant, column, row and revision only", "issue 4 §1"),
    "SEAL-3": ("Every changed bit and every cut is found", "issue 4, bad input"),
    "SEAL-4": ("Keys rotate: the newest seals, all open, a missing one is named", "issue 4 §1"),
    "SEAL-5": ("Index words are blind, the same before and after a rotation", "design §6"),
    "SEAL-6": ("A damaged key ring says where, and shows no key", "issue 4, bad input"),
    "SEAL-7": ("The ring is made once, mode 0600, and never in place of a lost one", "issue 4 §1"),
    "SEAL-8": ("A rotation is followed by processes that run", "design §6"),
    "SEAL-9": ("Nothing a user wrote is readable in any file of the data folder", "issue: done"),
    "SEAL-10": ("Rows that do not open are named; the others are read", "issue 4, bad input"),
    "SEAL-11": ("A plain store is sealed by an upgrade that leaves no trace", "issue 4 §1"),
    "SEAL-12": ("Rewrap is restartable; a key in use cannot be dropped", "design §6"),
    "SEAL-13": ("`factory-mcp seal` and `doctor` say how the keys stand", "contracts §7"),
    "SEAL-14": ("A key opens on every replica before it seals on any", "reliability R5"),
}

LLM: dict[str, tuple[str, str]] = {
    "LLM-1": ("Prompt and task reach the model; answer and counted tokens come back", "issue §4"),
    "LLM-2": ("An answer of a plain model says that it saw no workspace", "contracts §5"),
    "LLM-3": ("Every refusal of a provider, and each way to be away, has its class", "issue §4"),
    "LLM-4": ("Retry-After is handed on, as seconds or as a date", "issue §4"),
    "LLM-5": ("A stream that is cut, malformed or endless is an error, no answer", "issue §4"),
    "LLM-6": ("A cut answer is called partial, a withheld or empty one an error", "issue §4"),
    "LLM-7": ("Silence and the deadline end an attempt; a keep-alive is no word", "issue §4"),
    "LLM-8": ("The key goes to one address, and into no message", "design §1"),
    "LLM-9": ("A prompt that does not fit the context window is said to", "issue §4"),
    "LLM-10": ("No session is resumed", "issue §4"),
    "LLM-11": ("`doctor` says whether the model can be asked, and the mend", "issue §4"),
    "LLM-12": ("Its settings are checked at start; without an address there is none", "issue §4"),
    "LLM-13": ("httpx is imported only when it is used", "design §8"),
    "LLM-14": ("Every exception of httpx has a name here", "design §8"),
    "LLM-15": ("A droid that only reads falls back to the model, no other does", "contracts §5"),
}

BACKEND: dict[str, tuple[str, str]] = {
    "BACKEND-1": ("Every backend returns an Outcome and reports on the way", "issue §4"),
    "BACKEND-2": ("It fails with a BackendError only, which holds the evidence", "issue §4"),
    "BACKEND-3": ("A cancel stops the work and leaves nothing behind", "issue §4"),
    "BACKEND-4": ("While it works in silence it reports at least every 10 s", "issue §4"),
    "BACKEND-5": ("The deadline ends it, and nothing is left behind", "issue §4"),
    "BACKEND-6": ("`check` never raises, and a red line has its fix", "issue §4"),
    "BACKEND-7": ("Every backend that a spec may name is under the contract", "design §7"),
}

REALCLIENT: dict[str, tuple[str, str]] = {
    "REALCLIENT-1": ("Real clients, as `install` wrote them, show a droid's answer", "issue 4 §7"),
    "REALCLIENT-2": ("A handoff reaches their models whole and is not tried again", "issue 4 §7"),
    "REALCLIENT-3": ("A run of 75 s is told as running and collected, once", "issue 4 §7"),
    "REALCLIENT-4": ("The Inspector and mcp-remote list, call and see a handoff", "issue 4 §7"),
    "REALCLIENT-5": ("The table of clients in the docs is what the tests saw", "issue 4 §7"),
    "REALCLIENT-6": ("`make test` too makes one real client call a droid", "issue 4 §7"),
    "REALCLIENT-7": ("A client's own check reaches what `install` wrote", "issue 4 §6, §7"),
}

CLIENT: dict[str, tuple[str, str]] = {
    "CLIENT-1": ("In a client's file only our entry differs after `install`", "issue 4 §6"),
    "CLIENT-2": ("A second `install` changes nothing; what the user decided stays", "issue 4 §6"),
    "CLIENT-3": ("Each change leaves a backup; a dry run writes nothing", "issue 4 §6"),
    "CLIENT-4": ("A file that cannot be changed safely is named and left alone", "issue 4 §6"),
    "CLIENT-5": ("A secret is named as the client names variables, not written", "issue 4 §6"),
    "CLIENT-6": ("The file is the one that the client reads", "issue 4 §6"),
    "CLIENT-7": ("`--modes` adds a mode or agent a droid that knows the handoff", "issue 4 §6"),
    "CLIENT-8": ("What is known about clients is one table, sound and described", "issue 4 §6"),
    "CLIENT-9": ("docs/clients.md says what `install` writes", "issue 4 §6"),
    "CLIENT-10": ("A tool says in `_meta` what some client obeys", "issue 4 §6"),
}

STANDIN: dict[str, tuple[str, str]] = {
    "STANDIN-1": ("Roo, Zoo, Cursor, VS Code, Claude Desktop are greeted and known", "issue 4 §7"),
    "STANDIN-2": ("The text alone says all, and nothing comes unasked", "facts, clients §0"),
    "STANDIN-3": ("A long call is answered before such a client gives up", "facts, clients §0"),
    "STANDIN-4": ("A client's own time limit loses nothing", "facts, clients §0"),
    "STANDIN-5": ("A call repeated after a lost session is one run", "facts, clients §0"),
}

PROTOCOL: dict[str, tuple[str, str]] = {
    "PROTOCOL-1": ("The list of resources is the newest first, in pages", "issue 4 §3"),
    "PROTOCOL-2": ("Ids, droid names and tasks are completed, in URIs and prompts", "issue 4 §3"),
    "PROTOCOL-3": (
        "A context or run that any process changed is announced to its subscribers of both eras",
        "issue 4 §3",
    ),
    "PROTOCOL-4": (
        "A prompt for each droid, and one that carries a run on; their arguments are checked",
        "issue 4 §3",
    ),
    "PROTOCOL-5": (
        "The conformance suite's fixtures are rows of the product's own tables and one server",
        "issue 4 §5",
    ),
    "PROTOCOL-6": (
        "Both TypeScript clients read, complete, prompt and subscribe on stdio, HTTP and SSE",
        "issue 4, done means",
    ),
    "PROTOCOL-7": ("Capabilities and caching hints say what is so, in both eras", "issue 4 §3"),
}

VECTOR: dict[str, tuple[str, str]] = {
    "VECTOR-1": ("A note is found by its meaning and by its words, in its scope", "issue 4 §1"),
    "VECTOR-2": ("What other processes write or delete is seen by every search", "issue 4 §1"),
    "VECTOR-3": ("Without a sound embedder searches go by keywords, and say so", "issue 4 §1"),
    "VECTOR-4": ("Vectors are sealed; damage heals, new matrices rotate them", "contracts §10"),
    "VECTOR-5": ("Fused search finds paraphrases and names; sealed as well", "issue 4: speed"),
    "VECTOR-6": ("Words cannot be read out of stored vectors with the table", "issue 4: done"),
    "VECTOR-7": ("Nothing of it is imported before the first search", "design §8"),
}

SET: dict[str, tuple[str, str]] = {
    "SET-1": ("A store is used once it is set; its secrets never show", "issue 5 §1"),
    "SET-2": ("Every form of a connection string of Postgres comes to one URL", "issue 5 §1"),
    "SET-3": ("An address of Redis is what its client reads, or refused", "issue 5 §3"),
    "SET-4": ("Weaviate's two places are known or named, its key goes nowhere else", "issue 5 §2"),
    "SET-5": ("The embedder is bundled, a folder, or an endpoint with its own key", "issue 5 §2"),
}

TRANSIT: dict[str, tuple[str, str]] = {
    "TRANSIT-1": ("A host is here, private or public by its form alone", "contracts §6"),
    "TRANSIT-2": (
        "Without TLS: fine here, warned of in private, refused in public",
        "contracts §6",
    ),
    "TRANSIT-3": ("TLS is what checks whose certificate it is; less is explained", "contracts §6"),
    "TRANSIT-4": ("Every way out is examined at start, and the worst of it counts", "contracts §6"),
    "TRANSIT-5": ("One file names the authorities of all stores", "issue 5 §5"),
    "TRANSIT-6": ("Each real store: the right authority works, all else is refused", "issue 5 §5"),
}

SERVERS: dict[str, tuple[str, str]] = {
    "SERVERS-1": (
        "The tests' stores are real: stopped, frozen or killed as asked, never left behind",
        "issue 5: real components",
    ),
    "SERVERS-2": ("A fresh database per test for a plain role, no superuser", "issue 5 §1"),
    "SERVERS-3": ("Every store of the tests asks for a password or a key", "issue 5"),
    "SERVERS-4": ("A Redis of a test's own has the memory and port it asks for", "issue 5: faults"),
    "SERVERS-5": ("With TLS a store is trusted by one local authority only", "issue 5 §5"),
    "SERVERS-6": ("Stores that the environment names win over our own", "issue 5"),
    "SERVERS-7": (
        "A proxy refuses, freezes, slows, resets or garbles what goes to a store",
        "issue 5 §6",
    ),
}

REDIS: dict[str, tuple[str, str]] = {
    "REDIS-1": (
        "A cache gives what any process put there, for its time; a lease is one's",
        "issue 5 §3",
    ),
    "REDIS-2": (
        "All processes together stay within one rate, on the server's clock",
        "issue 5 §3; reliability R2, C2",
    ),
    "REDIS-3": (
        "A bus tells every process, and says when something may have been missed",
        "contracts §9; issue 5 §3",
    ),
    "REDIS-4": (
        "A breaker that opens or closes tells the other processes; one of them probes",
        "design §6",
    ),
    "REDIS-5": ("Processes that serve together count each other", "contracts §9"),
    "REDIS-6": (
        "A Redis that is away costs a caller one short wait, then none, and no error",
        "reliability S4",
    ),
    "REDIS-7": (
        "Every error of Redis is named with its mend, and no password is",
        "issue 5: bad input",
    ),
    "REDIS-8": (
        "What Redis holds and hears shows nothing that a user wrote",
        "issue 5: done means",
    ),
    "REDIS-9": (
        "A process sees its own writes at once, those of others when the bus tells",
        "contracts §9",
    ),
    "REDIS-10": (
        "What is asked by many at once is read once, in a process and among replicas",
        "issue 5 §3",
    ),
    "REDIS-11": ("What was read is kept, within limits; what does not open is not", "issue 5 §3"),
    "REDIS-12": (
        "Watchers are woken by the bus, and look by themselves where it is silent",
        "issue 5 §3",
    ),
}

INDEX: dict[str, tuple[str, str]] = {
    "INDEX-1": ("Weaviate finds by vector and by words, narrowed, scored as SQL", "issue 5 §2"),
    "INDEX-2": ("A shard for each tenant; one never written is no error", "issue 5: bad input"),
    "INDEX-3": (
        "A vector of a wrong size is refused by name, the rest goes on",
        "issue 5: bad input",
    ),
    "INDEX-4": ("Every error of its client and of gRPC is one of ours, with a mend", "design §8"),
    "INDEX-5": (
        "Away, silent, garbled, busy or with a wrong key, it costs one wait and comes back",
        "reliability S5",
    ),
    "INDEX-6": ("Searches over it rank as those over SQL do", "issue 5 §2"),
    "INDEX-7": (
        "Where it is away, behind, or made otherwise, searches use keywords and say so",
        "design §6",
    ),
    "INDEX-8": (
        "It is fed with what opens; the rest is named, and what is gone is removed",
        "issue 5 §4",
    ),
    "INDEX-9": (
        "Lost or made with another embedder or matrix, it is built again",
        "issue 5 §2, §4",
    ),
    "INDEX-10": ("Its files give no word away, and its vectors neither", "issue 5: done"),
    "INDEX-13": ("Its client and numpy are imported with the first search", "design §8"),
    "INDEX-11": ("Any model2vec folder is an embedder; a wrong one is told", "issue 5 §2"),
    "INDEX-12": (
        "An OpenAI-compatible address is an embedder; whatever it answers, searches go on",
        "issue 5 §2",
    ),
}

POSTGRES: dict[str, tuple[str, str]] = {
    "PG-1": (
        "Every table with a tenant forces row-level security; others are found",
        "contracts §10",
    ),
    "PG-2": ("No statement reaches another tenant's rows, or changes audit rows", "contracts §10"),
    "PG-3": ("Who works across tenants reads nothing that a user wrote", "contracts §10"),
    "PG-4": (
        "Tables are made from nothing or from an older version, as the statements expect them",
        "issue 5 §1",
    ),
    "PG-5": ("Of eight racing starters one upgrades, the others wait", "reliability R7"),
    "PG-6": ("Who may not make roles is given the SQL for an administrator", "contracts §10"),
    "PG-7": ("A database of another version is refused with the command that helps", "issue 5 §1"),
    "PG-8": ("Every error of psycopg is named with its mend, and no password is", "design §8"),
    "PG-9": ("Whatever is wrong in the connection string is named", "issue 5: bad input"),
    "PG-10": (
        "A server that is away refuses all calls in time, and is used again",
        "reliability S1",
    ),
    "PG-11": ("A commit whose answer was lost is neither lost nor done twice", "design §1"),
    "PG-12": ("A caller that goes away leaves connections as it found them", "design §8"),
    "PG-13": ("Connections that died idle are replaced unnoticed", "design §6"),
    "PG-14": ("All replicas go by the database's clock", "contracts §9"),
    "PG-15": ("Whoever follows the outbox is told when it grows", "issue 5 §4"),
    "PG-16": ("`db upgrade` makes a database ready, `db check` says if it is", "contracts §7"),
    "PG-17": ("Who must be alone keeps the writers of all replicas out", "issue 5 §1"),
    "PG-18": ("Tenants of any name are kept apart", "design §1"),
    "PG-19": ("Keys and matrices of all tenants are renewed, tenant by tenant", "contracts §10"),
}

BACKUP: dict[str, tuple[str, str]] = {
    "BACKUP-1": (
        "All dropped and restored, contexts, histories and searches are the same; across kinds too",
        "issue 5 §7, done",
    ),
    "BACKUP-2": ("A backup is one state of all tenants; nobody waits for it", "issue 5 §7"),
    "BACKUP-3": ("A backup is restored into an empty store only", "issue 5 §7"),
    "BACKUP-4": ("A restore that is killed leaves an empty store", "design §1"),
    "BACKUP-5": ("Every row is read back and compared before any is kept", "issue 5 §7"),
    "BACKUP-6": (
        "A missing key, a broken value and a broken trail are named; the data is restored",
        "issue 5 §7",
    ),
    "BACKUP-7": ("A run that was open is closed as interrupted after a restore", "contracts §9"),
    "BACKUP-8": ("What another version made is refused, with the one that reads it", "issue 5 §7"),
    "BACKUP-9": ("A backup is one file of its owner, whole on disk or not there", "issue 5 §7"),
    "BACKUP-10": (
        "A file that was cut or changed is refused before a row is written",
        "issue 5 §7",
    ),
    "BACKUP-11": ("Every tenant's audit trail is verified and exported", "contracts §7"),
    "BACKUP-12": (
        "Postgres, Weaviate and Redis dropped, restored and rebuilt: everything is the same",
        "issue 5: done",
    ),
    "PURGE-1": (
        "What ended long ago goes with its history; contexts and audit stay",
        "contracts §7",
    ),
    "PURGE-2": ("The audit trail says what was purged, in numbers", "contracts §10"),
    "PURGE-3": ("What would be purged can be counted first", "contracts §7"),
    "PURGE-4": ("A purge goes in batches, and goes on after a stop", "contracts §10"),
}

SYNC: dict[str, tuple[str, str]] = {
    "SYNC-1": ("What was written is in the outbox, in the same transaction", "issue 5 §4"),
    "SYNC-2": ("A sink is told all, in order; a new or outdated copy is made first", "issue 5 §4"),
    "SYNC-3": ("Any number of feeders: leases on the store's clock, given back", "issue 5 §4"),
    "SYNC-4": ("Who is away holds nobody up, and is found again in seconds", "reliability S5"),
    "SYNC-5": (
        "What is refused for good is parked with its reason; the rest goes on",
        "issue 5 §4",
    ),
    "SYNC-6": ("A copy that may have missed something is made anew", "design §6"),
    "SYNC-7": ("The outbox does not grow for ever, whoever does not come", "issue 5 §4"),
    "SYNC-8": ("Lag and parked rows are told for each sink and tenant", "issue 5 §4"),
    "SYNC-9": ("`sync`: once, rebuild with a bar, status; its exit codes", "contracts §7"),
    "SYNC-10": ("Replicas hear of a write whose writer died before it told", "issue 5 §3"),
    "SYNC-11": ("A feeder killed midway loses nothing; a rebuild makes the same", "issue 5 §4"),
}

REQUIREMENTS: dict[str, tuple[str, str]] = {
    **SPECS,
    **STORE,
    **DROID,
    **CHAIN,
    **TRANSPORT,
    **HOUSE,
    **CALLS,
    **APP,
    **RUNS,
    **REAL,
    **LLM,
    **BACKEND,
    **API,
    **CONTEXT,
    **DEMO,
    **SEALING,
    **REALCLIENT,
    **STANDIN,
    **CLIENT,
    **PROTOCOL,
    **VECTOR,
    **SET,
    **TRANSIT,
    **SERVERS,
    **REDIS,
    **INDEX,
    **SYNC,
    **POSTGRES,
    **BACKUP,
}
