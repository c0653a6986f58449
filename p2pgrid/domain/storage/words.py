"""Full-text search over datasets, with what the database brings: SQLite's FTS5, PostgreSQL's tsvector, or LIKE.

A search finds what has, for each of its words, a word that begins so; case does not count, nor do accents in SQLite.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

TABLE: Final = "dataset_words"
MAX_WORDS: Final = 16
"""Words of one search; further ones are left out."""
MAX_WORD: Final = 200
"""Characters of a word that count: PostgreSQL takes 2046 bytes at most."""
_WORD: Final = re.compile(r"[^\W_]+")
# Of our own words: PostgreSQL's parser would cut some in two, and by the locale of its server.
_VECTOR: Final = "array_to_tsvector(string_to_array({}, ' '))"
_PLAIN: Final = (f"CREATE TABLE {TABLE} (position INTEGER PRIMARY KEY, words TEXT NOT NULL)",)
CREATE: Final = {
    "sqlite": (
        f"CREATE VIRTUAL TABLE {TABLE} USING fts5(words, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3')",
    ),
    "postgresql": (
        *_PLAIN,
        f"CREATE INDEX {TABLE}_found ON {TABLE} USING gin (({_VECTOR.format('words')}))",
    ),
}
_SQLITE: Final = f"SELECT d.id FROM {TABLE} w JOIN datasets d ON d.position = w.rowid WHERE {TABLE} MATCH :query"  # noqa: S608
_POSTGRES: Final = (
    f"SELECT d.id FROM {TABLE} w JOIN datasets d ON d.position = w.position"  # noqa: S608
    f" WHERE {_VECTOR.format('w.words')} @@ CAST(:query AS tsquery)"
)


def is_ours(table: str) -> bool:
    """Whether a table of that name belongs to the search: FTS5 keeps its index in tables of its own."""
    return table == TABLE or table.startswith(f"{TABLE}_")


def create(connection: Connection) -> None:
    """Make the empty index."""
    for statement in CREATE.get(connection.dialect.name, _PLAIN):
        connection.execute(text(statement))


def put(session: Session, position: int, *texts: str) -> None:
    """Index a dataset's texts in place of those it had."""
    drop(session, position)
    words = " ".join(_words(" ".join(texts)))
    session.execute(
        text(f"INSERT INTO {TABLE} ({_key(session)}, words) VALUES (:position, :words)"),  # noqa: S608
        {"position": position, "words": words},
    )


def drop(session: Session, position: int) -> None:
    """Take a dataset out of the index."""
    session.execute(text(f"DELETE FROM {TABLE} WHERE {_key(session)} = :position"), {"position": position})  # noqa: S608


def matching(session: Session, query: str) -> list[str]:
    """Ids of the datasets that have all words of ``query``, in order of their making; none for a query of no words."""
    words = _words(query)[:MAX_WORDS]
    if not words:
        return []
    statement, values = _statement(session.get_bind().dialect.name, words)
    return list(session.scalars(text(f"{statement} ORDER BY d.position"), values))


def _statement(dialect: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    if dialect == "sqlite":
        return _SQLITE, {"query": " ".join(f'"{word}"*' for word in words)}
    if dialect == "postgresql":
        return _POSTGRES, {"query": " & ".join(f"'{word}':*" for word in words)}
    where = " AND ".join(f"concat(' ', w.words) LIKE :word{place}" for place in range(len(words)))
    statement = f"SELECT d.id FROM {TABLE} w JOIN datasets d ON d.position = w.position WHERE {where}"  # noqa: S608
    return statement, {f"word{place}": f"% {word}%" for place, word in enumerate(words)}


def _words(raw: str) -> list[str]:
    """Letters and digits only: nothing that a query language would heed is left."""
    return [word[:MAX_WORD] for word in _WORD.findall(unicodedata.normalize("NFKC", raw).casefold())]


def _key(session: Session) -> str:
    return "rowid" if session.get_bind().dialect.name == "sqlite" else "position"
