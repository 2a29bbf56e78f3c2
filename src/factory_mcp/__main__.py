"""The program: stdio's first line is answered before anything heavy is imported."""

import sys

from factory_mcp import __version__


def main(arguments: list[str] | None = None) -> int:
    """Run `factory-mcp`; `stdio` and `--version` take short cuts, the rest is the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    match arguments:
        case ["stdio"]:
            return _stdio()
        case ["--version"]:
            sys.stdout.write(f"factory-mcp {__version__}\n")
            return 0
        case _:
            from factory_mcp.cli.main import app  # noqa: PLC0415 — not needed above

            sys.exit(app(arguments))


def _stdio() -> int:
    from factory_mcp.transports.hello import open_wire, take_wire  # noqa: PLC0415 — see above

    opening = open_wire(*take_wire())
    if not opening.buffered:  # the client left without a word
        return 0

    from factory_mcp.app import run_stdio  # noqa: PLC0415 — the client has its answer already

    return run_stdio(opening)


if __name__ == "__main__":
    sys.exit(main())
