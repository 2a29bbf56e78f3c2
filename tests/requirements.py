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
    "DROID-1": ("A prompt arrives whole and the answer comes back", "issue §4"),
    "DROID-2": ("A created file appears and is reported", "issue §4"),
    "DROID-3": ("A turn without permission says what the caller can do", "issue §4"),
    "DROID-4": ("The providers refusals have names", "issue §4"),
    "DROID-5": ("A program that ends is a crash without secrets", "issue §4"),
    "DROID-6": ("Another model than the one asked for is never used", "issue §4"),
    "DROID-7": ("A deadline that has passed starts nothing", "issue §4"),
    "DROID-8": ("A program deaf to everything is gone after a cancel", "issue §4"),
    "DROID-9": ("A prompt arrives whole and the answer comes back", "issue §4"),
    "DROID-10": ("A session of ours is resumed", "issue §4"),
    "DROID-11": ("The program gets its arguments and the allowed variables", "issue §4"),
    "DROID-12": ("Without a workspace it works in a folder that goes away", "issue §4"),
    "DROID-13": ("A wanted mcp server is waited for", "issue §4"),
    "DROID-14": ("The version is probed", "issue §4"),
    "DROID-15": ("The shipped specs are droids to the program", "issue §4"),
    "DROID-16": ("A repository that starts programs is refused unless trusted", "issue §4"),
    "DROID-17": ("A repository that takes the key or widens rights is refused", "issue §4"),
    "DROID-20": ("Every reason that the sdk knows is mapped", "issue §4"),
    "DROID-21": ("A retry notice is no sign of life", "issue §4"),
    "DROID-22": ("A missing program says how to install it", "issue §4"),
    "DROID-23": ("The sdk is not imported before it is used", "issue §4"),
    "DROID-24": ("Silence is reported every tick", "issue §4"),
    "DROID-25": ("A line beyond measure is garbage", "issue §4"),
}

CHAIN: dict[str, tuple[str, str]] = {
    "CHAIN-1": (
        "It opens at five failures in a row or half of at least five in thirty seconds",
        "issue §5, §6",
    ),
    "CHAIN-2": ("One probe at a time and two good ones close it", "issue §5, §6"),
    "CHAIN-3": ("Retries are at most a tenth of the calls", "issue §5, §6"),
    "CHAIN-4": (
        "A passing fault is tried once more at the same backend and then at the next",
        "issue §5, §6",
    ),
    "CHAIN-5": ("A retry after is obeyed up to ten seconds", "issue §5, §6"),
    "CHAIN-6": (
        "An unsafe droid is never started again once something may have happened",
        "issue §5, §6",
    ),
    "CHAIN-7": (
        "A backend that cannot see the workspace gets no droid that changes it",
        "issue §5, §6",
    ),
    "CHAIN-8": ("Side effects of earlier attempts are carried on", "issue §5, §6"),
    "CHAIN-9": ("Only the backends own faults count", "issue §5, §6"),
    "CHAIN-10": ("The reason names the cause the attempts and when to try again", "issue §5, §6"),
    "CHAIN-11": (
        "Values and summaries stand under their author revision and run newest first",
        "issue §5, §6",
    ),
    "CHAIN-12": ("A forged label or marker is only data", "issue §5, §6"),
    "CHAIN-13": ("The brief tells the callers agent what to do in the imperative", "issue §5, §6"),
    "CHAIN-14": ("Two tasks and two arguments give different steps", "issue §5, §6"),
    "CHAIN-15": ("It never says that nothing was changed unless that is known", "issue §5, §6"),
    "CHAIN-16": ("A mistake in a backend costs the attempt and not the call", "issue §5, §6"),
    "CHAIN-17": ("TestReliability", "issue §5, §6"),
}

TRANSPORT: dict[str, tuple[str, str]] = {
    "TRANSPORT-1": ("It answers for every form of its own name", "issue §10"),
    "TRANSPORT-2": ("A proxied request is refused", "issue §10"),
    "TRANSPORT-3": ("A body over the limit is refused with the limit", "issue §10"),
    "TRANSPORT-4": ("A body that stalls is given up", "issue §10"),
    "TRANSPORT-5": ("A client of either era calls tools over http", "issue §10"),
    "TRANSPORT-6": ("Ready says what is wrong and how to mend it", "issue §10"),
    "TRANSPORT-7": ("An address that others reach is refused", "issue §10"),
    "TRANSPORT-8": ("Sigterm lets an open call end and exits with 0", "issue §10"),
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
    "CALLS-5": ("The Factory key goes to one audience only", "contracts §6"),
    "CALLS-4": ("What a droid wants remembered becomes context data", "issue §8"),
}

REQUIREMENTS: dict[str, tuple[str, str]] = {
    **SPECS,
    **STORE,
    **DROID,
    **CHAIN,
    **TRANSPORT,
    **HOUSE,
    **CALLS,
}
