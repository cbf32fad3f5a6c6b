"""Access to the database: transactions, the check of the schema revision, and a cache of specs.

A spec is the full specification of a trial. The digest of a spec is a hash that identifies the spec
(`telescope.trials.identity`).
"""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, select

import migrations
from api.store.engines import open_engines, translated_errors
from api.store.tables import specs, trials
from telescope.errors import Unavailable
from telescope.studies.telescoping.question.documents import data_sections
from telescope.trials.data import ORIGIN
from telescope.trials.spec import TrialSpec

SPEC = TypeAdapter(TrialSpec)


class Database:
    """Connections to the database, and a cache of specs. Several threads may share them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._writer, self._reader = open_engines(url)
        self._specs: dict[str, TrialSpec] = {}  # cache by digest; a spec never changes

    def close(self) -> None:
        """Close all connections."""
        self._writer.dispose()
        self._reader.dispose()

    def check_revision(self) -> None:
        """Raise Unavailable if the database has another schema than this version needs.

        Also raises Unavailable if the database cannot be reached.
        """
        with translated_errors():
            current, needed = migrations.current(self.url), migrations.head()
        if current != needed:
            migrations.check_known(current)
            state = f"at revision {current}" if current else "empty"
            need = f"this version of telescope needs revision {needed}"
            raise Unavailable(f"the database is {state}, but {need}; run `telescope migrate`")

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated_errors(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated_errors(), self._writer.begin() as connection:
            yield connection

    def _spec_of_trial(self, row: Any) -> TrialSpec:
        """Return a trial's spec with the corpus and tokenizer that the trial's own job names.

        Jobs with equal trials share one stored spec. The job that stored the spec may have read
        equal tokens from another path.

        `row` has the columns `digest`, `document` (the stored spec as JSON) and `study` (the
        document of the trial's job as JSON).
        """
        spec = self._spec(row.digest, row.document)
        blocks = data_sections(json.loads(row.study))
        matching = (block for block in blocks if block.get("content") == spec.data.content)
        data = next(matching, blocks[0])
        origin = {
            name: data[name]
            for name in ORIGIN
            if name in data and data[name] != getattr(spec.data, name)
        }
        return replace(spec, data=replace(spec.data, **origin)) if origin else spec

    def _load_specs(
        self, connection: Connection, digests: Collection[str], condition: ColumnElement[bool]
    ) -> None:
        """Load the specs with these digests into the cache, unless the cache has all of them.

        `condition` is an SQL condition that selects the trials with these specs.
        """
        if not self._specs.keys() >= set(digests):
            query = select(specs).join_from(trials, specs).where(condition)
            for row in connection.execute(query):
                self._spec(row.digest, row.document)

    def _spec(self, digest: str, document: str) -> TrialSpec:
        if digest not in self._specs:
            self._specs[digest] = SPEC.validate_json(document)
        return self._specs[digest]
