"""A witness that says what it is told to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskqueue.interfaces import Testimony, Witness, WitnessMark


class FakeWitness(Witness):
    """Recognises what has its name in ``database``; ``answers`` are by key, ``answer`` is for all others."""

    def __init__(self, database: str = "main", kind: str = "fake", answer: Testimony = "unknown") -> None:
        self.kind = kind
        self.answer: Testimony = answer
        self.answers: dict[str, Testimony] = {}
        self.marked: list[str] = []
        self.asked: list[tuple[str, ...]] = []
        self.error: Exception | None = None  # of whatever it is asked
        self.is_silent = False  # it answers, and says nothing
        self.writes_nothing = False
        self.tidied = 0
        self._database = database

    @property
    def database(self) -> str:
        if isinstance(self.error, ConnectionError):
            raise self.error
        return self._database

    def recognises(self, data_manager: Any) -> bool:
        return getattr(data_manager, "database", None) == self._database

    def mark(self, key: str, transaction: Any, data_managers: Sequence[Any]) -> WitnessMark | None:
        if self.error is not None:
            raise self.error
        if self.writes_nothing:
            return None
        self.marked.append(key)
        return WitnessMark(kind=self.kind, database=self._database, position=str(len(data_managers)))

    def testify(self, marks: Mapping[str, WitnessMark], timeout: float) -> Mapping[str, Testimony]:
        self.asked.append(tuple(marks))
        if self.error is not None:
            raise self.error
        return {} if self.is_silent else {key: self.answers.get(key, self.answer) for key in marks}

    def tidy(self) -> None:
        self.tidied += 1
        if self.error is not None:
            raise self.error
