"""Write the table of options in README.rst from criwist.command_line.table.

python tools/document_options.py            write the table
python tools/document_options.py --check    exit with status 1 if the table is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

from criwist.command_line.table import OPTIONS

README = Path(__file__).resolve().parent.parent / "README.rst"
_BEGIN = ".. options: made by tools/document_options.py from here\n"
_END = ".. options: to here\n"


def table() -> str:
    """Return the options as a list-table of reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 30 20 50", "", *_row("Option", "Default", "Meaning")]
    for option in OPTIONS:
        default = f"``{option.default}``" if option.default else ""
        lines += _row(f"``--{option.name}``", default, option.doc.replace("*", r"\*"))
    return "\n".join(lines) + "\n"


def documented(readme: str) -> str:
    """Return the README with an up-to-date table.

    :raises ValueError: the README lacks the markers of the table.
    """
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError("README.rst lacks the markers of the table of options")
    return f"{before}{begin}\n{table()}\n{end}{after}"


def _row(option: str, default: str, meaning: str) -> list[str]:
    return [f"   * - {option}", f"     - {default}".rstrip(), f"     - {meaning}"]


def main() -> int:
    """Write or check the table, and return the exit status."""
    old = README.read_text(encoding="utf-8")
    new = documented(old)
    if "--check" in sys.argv[1:]:
        return int(old != new)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
