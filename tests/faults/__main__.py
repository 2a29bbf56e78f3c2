"""Everything that is broken on purpose, with its pass line: `make faults`.

python -m tests.faults            all of it
python -m tests.faults S1 droid   some of it
FAULTS=long …                     ten times as long
"""

import sys
import time
import traceback
from collections.abc import Iterator

from tests.faults import droid_faults, store_faults
from tests.faults.table import Row, summary, unmeasured


def measured(names: list[str]) -> Iterator[Row]:
    """The rows of these; one that ends with an error is a row that failed."""
    for name in names or [*store_faults.FAULTS, "droid"]:
        began = time.monotonic()
        try:
            yield from droid_faults.rows() if name == "droid" else store_faults.rows(name)
        except Exception as error:  # noqa: BLE001 — the others are to be measured all the same
            traceback.print_exception(error)
            yield unmeasured(name, type(error).__name__)
        print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr)


def main() -> int:
    """Print each row when it is there, then all of them; 1 if one failed."""
    found: list[Row] = []
    for row in measured(sys.argv[1:]):
        print(row)
        found.append(row)
    return summary(found)


if __name__ == "__main__":
    sys.exit(main())
