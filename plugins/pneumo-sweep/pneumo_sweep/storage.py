"""The database of a sweep: an Optuna study, in SQLite in the sweep's folder or in any database that Optuna takes.

Checked before anything is written to it. Errors of the database are one line.
"""

from __future__ import annotations

import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pneumo_cli.errors import PneumoError, UsageError, one_line, shown

_OWN_TABLES = frozenset({"studies", "trials", "version_info"})
_CHECK_SECONDS = 5.0
_WAIT_SECONDS = 60.0
"""How long a worker waits for others that write to an SQLite database."""
_EXAMPLES = "such as sqlite:////shared/sweeps.db or postgresql://USER@HOST/NAME"


def parsed(url: str) -> URL:
    """The URL of a storage, the path of SQLite absolute.

    Raises:
        UsageError: it is none of a database, or one in memory.
    """
    try:
        found = make_url(url)
        found.get_dialect()
    except (ArgumentError, ValueError):
        raise UsageError(f"--storage {shown(url)} is no URL of a database, {_EXAMPLES}") from None
    if found.get_backend_name() != "sqlite":
        return found
    if found.database in (None, "", ":memory:"):
        raise UsageError(
            "--storage: a database in memory cannot be shared or resumed; name a file, sqlite:///FILE"
        )
    return found.set(database=str(Path(str(found.database)).expanduser().absolute()))


def without_password(url: URL) -> str:
    """For messages and records."""
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    return bare.render_as_string(hide_password=False)


def check(url: URL) -> None:
    """Check that a sweep may use a database, without writing to it.

    Raises:
        UsageError: it cannot be reached, is locked, or belongs to another program.
    """
    name = without_password(url)
    if url.get_backend_name() == "sqlite":
        tables = _sqlite_tables(Path(str(url.database)))
    else:
        with storage_errors(name, UsageError):
            engine = sqlalchemy.create_engine(url)
            try:
                with engine.connect() as connection:
                    tables = set(sqlalchemy.inspect(connection).get_table_names())
            finally:
                engine.dispose()
    if tables and not tables >= _OWN_TABLES:
        raise UsageError(
            f"the storage {name} is a database of another program (its tables: {', '.join(sorted(tables)[:4])}): "
            "name a new one with --storage"
        )


def _sqlite_tables(path: Path) -> set[str]:
    """The tables of an SQLite file, which can be written to; none if there is no file yet."""
    if not path.parent.is_dir():
        raise UsageError(f"the storage {path} cannot be made: there is no folder {path.parent}")
    if not path.exists():
        return set()
    try:
        with closing(
            sqlite3.connect(f"file:{path}?mode=rw", timeout=_CHECK_SECONDS, isolation_level=None, uri=True)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise UsageError(_described(str(path), error)) from None
    return {name for (name,) in rows if not name.startswith("sqlite_")}


def open_storage(url: URL) -> RDBStorage:
    """Open a database, whose tables are made if it is new.

    Raises:
        UsageError: it cannot be used.
    """
    own: dict[str, Any] = (
        {"connect_args": {"timeout": _WAIT_SECONDS}}
        if url.get_backend_name() == "sqlite"
        else {"pool_pre_ping": True}
    )
    with storage_errors(without_password(url), UsageError), quiet():
        return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=own)


@contextmanager
def storage_errors(name: str, kind: type[PneumoError] = PneumoError, hint: str = "") -> Iterator[None]:
    """Within it, errors of a database become one line."""
    try:
        yield
    except PneumoError:
        raise
    except ImportError as error:
        driver = re.search(r"named '?([\w.]+)", one_line(error.__cause__ or error))
        missing = f" ({driver[1]})" if driver else ""
        raise kind(f"the storage {name} needs the driver of its database{missing}: install it") from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError, sqlite3.Error) as error:
        raise kind(_described(name, error) + hint) from error
    except RuntimeError as error:  # of Optuna's check of the version
        raise kind(f"the storage {name} cannot be used: {one_line(error)}{hint}") from error


def _described(name: str, error: BaseException) -> str:
    """What is wrong with a database, from the innermost error."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = one_line(getattr(error, "orig", None) or error)
    if "locked" in text:
        return f"the storage {name} is locked by another program: end it, or name another one with --storage"
    if "not a database" in text or "malformed" in text:
        return f"the storage {name} is no SQLite database, or is damaged ({text}): name another one with --storage"
    return f"the storage {name} cannot be used: {text}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's own messages."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
