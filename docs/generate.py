"""Writes the references in this folder, and config.example.toml, from the code; ``--check`` fails when they differ.

usage: python docs/generate.py [--check]
"""

import subprocess
import sys
from pathlib import Path

from bouncepoll.settings import example_toml, reference_markdown

ROOT = Path(__file__).resolve().parent.parent


def command_line_reference() -> str:
    """Return the CLI reference as Markdown, from the program's own help texts."""
    command = [sys.executable, "-m", "typer", "bouncepoll.cli.app", "utils", "docs", "--name", "bouncepoll"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()) + "\n"


def main() -> int:
    """Write the files, or compare them."""
    wanted = {
        ROOT / "docs" / "cli.md": command_line_reference(),
        ROOT / "docs" / "configuration.md": reference_markdown(),
        ROOT / "config.example.toml": example_toml(),
    }
    if "--check" not in sys.argv[1:]:
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)} is not what the code says; run 'make docs' and commit it", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
