"""Write the next step of the database's schema from the tables in p2pgrid/domain/storage/tables.py.

  .venv/bin/python scripts/new_revision.py "Add a column for X"   a step from the newest revision to the tables
  .venv/bin/python scripts/new_revision.py --initial              the first revision anew; only before the first release

Read what it wrote: a renamed column looks like one that went and one that came.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from p2pgrid.domain.storage.migrate import FOLDER, config, upgrade

VERSIONS = FOLDER / "versions"
WORDS = "\n    words.create(op.get_bind())\n"


def main(words: list[str]) -> int:
    """Write one file, and print its path."""
    if len(words) != 1 or words[0] in ("-h", "--help"):
        print(__doc__)
        return 2
    initial = words[0] == "--initial"
    if initial:
        for old in VERSIONS.glob("*.py"):
            old.unlink()
    number = f"{len(list(VERSIONS.glob('*.py'))) + 1:04d}"
    message = "The tables of the first release" if initial else words[0].rstrip(".")
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{folder}/empty.sqlite")
        with engine.begin() as connection:
            upgrade(connection) if not initial else None
            settings = config(connection)
            slug = re.sub(r"\W+", "_", message.lower())[:40]
            settings.set_main_option("file_template", f"{number}_{slug}")
            command.revision(settings, message, autogenerate=True, rev_id=number)
        engine.dispose()
    path = next(VERSIONS.glob(f"{number}_*.py"))
    if initial:
        begin_search(path)
    for tool in (["check", "--fix", "-q"], ["format", "-q"]):
        subprocess.run([sys.executable, "-m", "ruff", *tool, str(path)], check=True)
    print(path)
    return 0


def begin_search(path: Path) -> None:
    """The tables of the full-text search are no models: have them made after the others."""
    text = path.read_text(encoding="utf-8").rstrip()
    head = "from alembic import op\n"
    text = text.replace(head, f"{head}\nfrom p2pgrid.domain.storage import words\n", 1)
    path.write_text(text + WORDS, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
