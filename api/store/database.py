"""The connection of one process to the database: transactions, the revision of the schema, and specifications at hand."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, select

import migrations
from api.store.engines import open_engines, translated
from api.store.tables import specs, trials
from telescope.errors import Unavailable
from telescope.studies.telescoping.question.documents import data_blocks
from telescope.trials.data import ORIGIN
from telescope.trials.spec import TrialSpec

SPEC = TypeAdapter(TrialSpec)


class Database:
    """The database, to one process; usable from several threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._writer, self._reader = open_engines(url)
        self._specs: dict[str, TrialSpec] = {}  # by digest; a spec never changes

    def close(self) -> None:
        """Give all connections back."""
        self._writer.dispose()
        self._reader.dispose()

    def check_revision(self) -> None:
        """Unavailable when the schema is not the one that this version works with."""
        with translated():
            found, wanted = migrations.current(self.url), migrations.head()
        if found != wanted:
            migrations.check_known(found)
            state = f"at revision {found}" if found else "empty"
            raise Unavailable(f"the database is {state}, this version of telescope needs {wanted}; run `telescope migrate`")

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(), self._writer.begin() as connection:
            yield connection

    def _own_spec(self, row: Any) -> TrialSpec:
        """A spec in its own job's words: equal tokens may come from elsewhere for the job that entered it first."""
        spec = self._spec(row.digest, row.document)
        named = data_blocks(json.loads(row.study))
        data = next((one for one in named if one.get("content") == spec.data.content), named[0])
        origin = {name: data[name] for name in ORIGIN if name in data and data[name] != getattr(spec.data, name)}
        return replace(spec, data=replace(spec.data, **origin)) if origin else spec

    def _know(self, connection: Connection, digests: Collection[str], of: ColumnElement[bool]) -> None:
        """See that the specs of these trials, which are those that `of` selects, are at hand."""
        if not self._specs.keys() >= set(digests):
            for found in connection.execute(select(specs).join_from(trials, specs).where(of)):
                self._spec(found.digest, found.document)

    def _spec(self, digest: str, document: str) -> TrialSpec:
        if digest not in self._specs:
            self._specs[digest] = SPEC.validate_json(document)
        return self._specs[digest]
