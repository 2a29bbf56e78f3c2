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

STORE: dict[str, tuple[str, str]] = {}

DROID: dict[str, tuple[str, str]] = {}

CHAIN: dict[str, tuple[str, str]] = {}

TRANSPORT: dict[str, tuple[str, str]] = {}

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
