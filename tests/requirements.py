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
    "STORE-1": ("A new call opens its run", "issue §9"),
    "STORE-2": ("A key answers with its run whatever its status", "issue §9"),
    "STORE-3": ("A new run beyond the queue is refused", "issue §9"),
    "STORE-4": ("Saving writes how the run stands", "issue §9"),
    "STORE-5": ("Closing writes run node history and audit", "issue §9"),
    "STORE-6": ("A beat renews the leases of its owner", "issue §9"),
    "STORE-7": ("The newest runs come first", "issue §9"),
    "STORE-8": ("Nobody finds another tenants nodes", "issue §9"),
    "STORE-9": ("Every tenant has an audit chain that verifies", "issue §9"),
    "STORE-10": ("A node without a chain starts one", "issue §9"),
    "STORE-11": ("A key that both changed is a conflict", "issue §9"),
    "STORE-12": ("A branch is a chain of its own", "issue §9"),
    "STORE-13": ("A workspace has one standing chain", "issue §9"),
    "STORE-14": ("A path begins at the root and crosses branches", "issue §9"),
    "STORE-15": ("The newest nodes come first", "issue §9"),
    "STORE-16": ("A run comes back as it was written", "issue §9"),
}

DROID: dict[str, tuple[str, str]] = {
    "DROID-1": ("A prompt reaches the model whole; answer and usage come back", "issue §4"),
    "DROID-2": ("A file the droid makes is reported by name, while it happens", "issue §4"),
    "DROID-3": ("A refused tool is said and named, never a silent success", "issue §4"),
    "DROID-4": ("A provider's 401, 402, 400 and 404 have names; one that is away too", "issue §4"),
    "DROID-5": ("No key leaves in an error message", "issue §4; design §1"),
    "DROID-6": ("A model that nobody asked for is never used", "issue §4"),
    "DROID-7": ("Deadline and idle time end a droid, with session and effects told", "issue §4"),
    "DROID-8": (
        "No process outlives a cancel, a time-out or our own death",
        "issue §4; contracts §3",
    ),
    "DROID-9": (
        "`--`, line ends, NUL and lone surrogates in a prompt do no harm",
        "issue: bad input",
    ),
    "DROID-10": ("A session goes on, for its own droid, folder and model only", "issue §4"),
    "DROID-11": ("A droid sees an allow-list of variables and never our stdin", "contracts §5"),
    "DROID-12": ("Without a workspace it works in a folder that is then removed", "contracts §5"),
    "DROID-13": ("Only the MCP servers that a spec names reach its session", "issue §4"),
    "DROID-14": ("`doctor` names program, version, HOME and access, and the mend", "issue §4, §11"),
    "DROID-15": ("The shipped specs are droids to Factory's own program", "issue: done means"),
    "DROID-16": ("A repository that starts programs is refused unless trusted", "contracts §5"),
    "DROID-17": ("So is one that takes the key or widens a droid's rights", "contracts §5"),
    "DROID-18": ("A workspace is an existing folder inside a root", "issue: bad input"),
    "DROID-19": ("Key and facts of a workspace are found without running anything", "contracts §4"),
    "DROID-20": ("Every reason and every exception of droid-sdk has a name here", "design §8"),
    "DROID-21": (
        "A retry notice is no sign of life; the third in a row is the last",
        "contracts §9",
    ),
    "DROID-22": ("A missing program says exactly how to install it", "issue §4"),
    "DROID-23": ("droid-sdk is imported only when it is used", "issue §10"),
    "DROID-24": ("A silent droid is reported at every tick", "issue §4"),
    "DROID-25": ("An oversize answer is cut and says so", "issue §4"),
}

CHAIN: dict[str, tuple[str, str]] = {
    "CHAIN-1": ("A backend that keeps failing is left alone, longer each time", "design §6"),
    "CHAIN-2": ("A breaker probes one at a time and closes after two good ones", "contracts §9"),
    "CHAIN-3": ("Retries are at most a tenth of the calls, or one a second", "design §6"),
    "CHAIN-4": ("At most two attempts at a backend and four in a call", "design §6"),
    "CHAIN-5": ("Retry-After is obeyed up to 10 s and before the deadline", "design §6"),
    "CHAIN-6": ("An unsafe droid is never started again once it may have acted", "design §1"),
    "CHAIN-7": ("A backend that cannot do the work is passed over, with a code", "contracts §5"),
    "CHAIN-8": ("A result holds the side effects of all its attempts", "contracts §1"),
    "CHAIN-9": ("The caller's own faults and short deadlines never count", "design §6"),
    "CHAIN-10": ("A handoff names the last real cause, the attempts and the mend", "issue §4, §5"),
    "CHAIN-11": ("Context is packed newest first, labelled, within its budget", "design §6"),
    "CHAIN-12": ("Packed context can forge no marker or label and hides nothing", "design §6"),
    "CHAIN-13": ("A handoff tells the caller's agent in the imperative what to do", "contracts §1"),
    "CHAIN-14": ("A handoff's steps are those of this task and this call", "issue §5"),
    "CHAIN-15": ("Nothing was changed is said only where that is known", "issue §5"),
    "CHAIN-16": ("A mistake in a backend costs the attempt and not the call", "design §1"),
    "CHAIN-17": ("Breaker, budget and chain keep their promises together", "issue §6"),
}

TRANSPORT: dict[str, tuple[str, str]] = {
    "TRANSPORT-1": (
        "Only its own names as Host (421) and its own pages as Origin (403), compared as parsed",
        "issue §10",
    ),
    "TRANSPORT-2": ("A proxied request is refused, but for /healthz", "contracts §8"),
    "TRANSPORT-3": (
        "A body over 1 MiB, declared or streamed, gets one error that names the limit",
        "issue, bad input",
    ),
    "TRANSPORT-4": ("A body that stalls is given up and its connection closed", "facts M1"),
    "TRANSPORT-5": ("Clients of both eras call tools over HTTP, SSE and stdio", "issue §10"),
    "TRANSPORT-6": ("/readyz says what is wrong and how to mend it", "issue §10"),
    "TRANSPORT-7": ("It binds loopback only, and names who holds a busy port", "issue §10"),
    "TRANSPORT-8": (
        "SIGTERM: not ready, open calls end, streams end, exit code 0",
        "contracts §3",
    ),
    "TRANSPORT-9": (
        "stdio's first answer is given before the SDK is imported, and is the SDK's own",
        "issue §10",
    ),
    "TRANSPORT-10": ("Importing the package loads neither mcp nor sqlalchemy", "issue §10"),
    "TRANSPORT-11": ("No line on stdin, however bad or long, stops the server", "facts, clients"),
    "TRANSPORT-12": (
        "End of stdin, a signal, a dead parent or a closed stdout end stdio alike, without error",
        "contracts §3",
    ),
    "TRANSPORT-13": ("Nothing but the protocol is on stdout, whoever prints", "issue §10"),
}

HOUSE: dict[str, tuple[str, str]] = {
    "HOUSE-1": ("Every promise has a test, and every marked test a promise", "design §9"),
    "HOUSE-2": ("Files and functions stay short, and every file says what it is for", "design §8"),
    "HOUSE-3": ("The package depends on what it imports, and on nothing else", "design §8"),
    "HOUSE-4": ("Packages are locked by hash, and no lock names an address", "issue §1"),
    "HOUSE-5": ("The wheel ships all that is read at run time", "issue §2"),
    "HOUSE-6": ("Every error code has a row that says what to do", "design §7"),
    "HOUSE-7": ("Every setting has a row, and every row a setting", "design §7"),
    "HOUSE-8": ("Every command has a row, and every tool and argument", "design §7"),
    "HOUSE-9": ("No document points to a file or a program that is not ours", "issue §11"),
    "HOUSE-10": ("The README shows a first real answer within 60 lines", "issue §11"),
    "HOUSE-11": ("Both TypeScript SDKs, in both eras, reach a server and are closed", "issue"),
}

CALLS: dict[str, tuple[str, str]] = {
    "CALLS-1": (
        "A wrong argument is one error that names the field and the remedy",
        "issue: bad input",
    ),
    "CALLS-2": ("Tools have truthful annotations, short descriptions, flat schemas", "issue §3"),
    "CALLS-3": ("A call waits as long as its client bears", "contracts §3, design §6"),
    "CALLS-6": ("An answered call is in the history with its node", "design §1.2, issue §7"),
    "CALLS-7": ("A droid knows what the one before it learnt", "issue: done means"),
    "CALLS-8": ("A call answers `running`; droid_wait collects it", "contracts §3, issue §7"),
    "CALLS-9": ("The same call attaches instead of running twice", "contracts §3"),
    "CALLS-10": ("An idempotency key answers with its run", "contracts §3"),
    "CALLS-11": ("A cancel stops the run and says what is known", "contracts §3"),
    "CALLS-12": ("A call without a free slot is queued", "contracts §9"),
    "CALLS-13": ("Stopping interrupts; the same call continues the session", "contracts §3"),
    "CALLS-14": ("Ten tools are listed, readOnlyHint only on what reads", "issue §3"),
    "CALLS-15": ("Text and structure say the same, cut to the client's limit", "contracts §1"),
    "CALLS-16": ("Progress comes with a token, rises, at least every 10 s", "issue §4"),
    "CALLS-17": ("A time limit ends the wait, another cancel the run", "contracts §3"),
    "CALLS-18": ("What was learnt is a resource, and a tool shows the same", "issue §8"),
    "CALLS-19": ("An agent writes down what it did; it is found at once", "contracts §2"),
    "CALLS-20": ("A merge names its conflicts until they are settled", "contracts §2, §4"),
    "CALLS-21": ("`factory-mcp history` lists what the droids did", "issue §11"),
    "CALLS-22": ("`factory-mcp doctor`: each red line with its fix", "issue §11"),
    "CALLS-23": ("serve refuses a busy port and other addresses in one line", "contracts §6, §8"),
    "CALLS-24": ("`make run` shows a first answer and serves on", "issue §11"),
    "CALLS-5": ("The Factory key goes to one audience only", "contracts §6"),
    "CALLS-4": ("What a droid wants remembered becomes context data", "issue §8"),
}

REAL: dict[str, tuple[str, str]] = {
    "REAL-1": ("A call is answered, remembered and known to the next droid", "issue: done means"),
    "REAL-2": ("A client's 2 s time-out loses nothing", "issue: done means"),
    "REAL-3": ("droid_cancel leaves no process behind", "issue: done means"),
    "REAL-4": ("stdin EOF interrupts; the same call continues the session", "contracts §3"),
    "REAL-5": ("A model that is gone ends as a handoff", "issue: done means"),
    "REAL-6": ("Five failures open the breaker; two good probes close it", "issue: done means"),
}

REQUIREMENTS: dict[str, tuple[str, str]] = {
    **SPECS,
    **STORE,
    **DROID,
    **CHAIN,
    **TRANSPORT,
    **HOUSE,
    **CALLS,
    **REAL,
}
