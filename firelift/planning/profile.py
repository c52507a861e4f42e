"""The types of values in the fields of each collection, counted over every document.

A profile is a tree: a collection has fields, a field that holds maps has keys, one that holds arrays has elements.
Its size is bounded, however many names the documents have, and profiles of key ranges can be added up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from firelift.firestore.values import KIND_OF, Document, UnknownValueType, Value, is_vector, wrapped_kind
from firelift.paths import collection_of

# A field name beyond the first 10 000 of a collection never gets a column, so its types need not be known; a map with
# more than 100 keys is taken for a dictionary, whose values share one profile; 50 000 value profiles in all bound the rest.
MOST_FIELDS, MOST_KEYS, MOST_VALUE_PROFILES = 10_000, 100, 50_000


class ValueProfile:
    """The values of a field, of a map key, or of an array's elements: how many there are of each kind."""

    __slots__ = ("counts", "every", "keys", "targets")

    def __init__(self) -> None:
        # By protobuf name, which is how a value names its own type; `vector`, those of `WRAPPED` and `nonfinite`
        # (also counted as double) are our own.
        self.counts: dict[str | None, int] = defaultdict(int)
        self.keys: dict[str, ValueProfile] | None = None
        self.every: ValueProfile | None = None
        self.targets: dict[str, int] | None = None

    def kinds(self) -> dict[str, int]:
        """Counts by kind of value, without `nonfinite`."""
        return {KIND_OF.get(name, str(name)): count for name, count in self.counts.items() if count and name != "nonfinite"}

    def add(self, other: ValueProfile) -> None:
        for name, count in other.counts.items():
            self.counts[name] += count
        for target, count in (other.targets or {}).items():
            self.targets = self.targets or defaultdict(int)
            self.targets[target] += count
        for key, values in (other.keys or {}).items():
            self.keys = self.keys or {}
            self.keys.setdefault(key, ValueProfile()).add(values)
        if other.every is not None:
            self.every = self.every or ValueProfile()
            self.every.add(other.every)

    def to_json(self) -> dict[str, Any]:
        written: dict[str, Any] = {"counts": {str(name): count for name, count in self.counts.items()}}
        if self.keys:
            written["keys"] = {key: values.to_json() for key, values in self.keys.items()}
        if self.every is not None:
            written["every"] = self.every.to_json()
        if self.targets:
            written["targets"] = dict(self.targets)
        return written

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> ValueProfile:
        values = cls()
        values.counts.update(written["counts"])
        if "keys" in written:
            values.keys = {key: cls.from_json(inner) for key, inner in written["keys"].items()}
        if "every" in written:
            values.every = cls.from_json(written["every"])
        if "targets" in written:
            values.targets = defaultdict(int, written["targets"])
        return values


class CollectionProfile:
    """The fields of one collection. `overflowed` means that some names were not followed."""

    def __init__(self) -> None:
        self.documents = 0
        self.fields: dict[str, ValueProfile] = {}
        self.overflowed = False

    def at(self, path: Sequence[str]) -> ValueProfile | None:
        """The values of the field, or the map key, at this path; None where none were seen there."""
        field, *keys = path
        values = self.fields.get(field)
        for key in keys:
            values = (values.keys or {}).get(key) if values else None
        return values

    def add(self, other: CollectionProfile) -> None:
        # A field that only one side followed, while the other side had stopped following new names, is not known
        # completely and must not become a column.
        if self.overflowed or other.overflowed:
            self._forget(self, other)
            self._forget(other, self)
        self.documents += other.documents
        for field, values in other.fields.items():
            self.fields.setdefault(field, ValueProfile()).add(values)
        self.overflowed |= other.overflowed

    @staticmethod
    def _forget(overflowed: CollectionProfile, other: CollectionProfile) -> None:
        if overflowed.overflowed:
            other.fields = {field: values for field, values in other.fields.items() if field in overflowed.fields}
            other.overflowed = True

    def to_json(self) -> dict[str, Any]:
        fields = {field: values.to_json() for field, values in self.fields.items()}
        return {"documents": self.documents, "overflowed": self.overflowed, "fields": fields}

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> CollectionProfile:
        profile = cls()
        profile.documents, profile.overflowed = written["documents"], written["overflowed"]
        profile.fields = {field: ValueProfile.from_json(values) for field, values in written["fields"].items()}
        return profile


Profile = dict[str, CollectionProfile]


def merged(profiles: list[Profile]) -> Profile:
    """The profile of the documents of all these profiles."""
    total: Profile = {}
    for profile in profiles:
        for collection, seen in profile.items():
            total.setdefault(collection, CollectionProfile()).add(seen)
    return total


def profile_to_json(profile: Profile) -> dict[str, Any]:
    return {collection: seen.to_json() for collection, seen in profile.items()}


def profile_from_json(written: dict[str, Any]) -> Profile:
    return {collection: CollectionProfile.from_json(seen) for collection, seen in written.items()}


class Profiler:
    """Counts the values of one key range's documents while they are read."""

    def __init__(self, database: str) -> None:
        self.profile: Profile = {}
        self._prefix = f"{database}/documents/"
        self._made = 0
        self._targets: dict[str, str] = {}
        self._document: Document | None = None
        self._field = ""
        self._deeper: dict[str, Callable[[ValueProfile, Value], None]] = {
            "map_value": self._map,
            "array_value": self._array,
            "reference_value": self._reference,
            "double_value": self._double,
        }

    def of(self, collection: str) -> CollectionProfile:
        """What was counted of this collection so far."""
        seen = self.profile.get(collection)
        if seen is None:
            seen = self.profile[collection] = CollectionProfile()
        return seen

    def is_nearly_full(self, collection: str) -> bool:
        """Whether names may soon be too many to follow them all, so that their order matters."""
        return self._made > MOST_VALUE_PROFILES // 2 or len(self.of(collection).fields) > MOST_FIELDS // 2

    def see(self, collection: str, document: Document) -> None:
        """Counts one parsed Document."""
        seen = self.of(collection)
        seen.documents += 1
        fields, known, deeper = document.fields, seen.fields, self._deeper
        for name in fields:
            value = fields[name]
            values = known.get(name)
            if values is None:
                if len(known) >= MOST_FIELDS or self._made >= MOST_VALUE_PROFILES:
                    seen.overflowed = True
                    continue
                values = known[name] = self.new()
            kind = value.WhichOneof("value_type")
            if kind in deeper:
                self._document, self._field = document, name
                deeper[kind](values, value)
            elif kind in KIND_OF:
                values.counts[kind] += 1
            else:
                raise UnknownValueType(path=document.name, field=name)

    def new(self) -> ValueProfile:
        self._made += 1
        return ValueProfile()

    def count(self, values: ValueProfile, value: Value) -> None:
        kind = value.WhichOneof("value_type")
        further = self._deeper.get(kind or "")
        if further is not None:
            further(values, value)
        elif kind in KIND_OF:
            values.counts[kind] += 1
        else:
            raise UnknownValueType(path=self._document.name if self._document else "", field=self._field)

    def _map(self, values: ValueProfile, value: Value) -> None:
        if is_vector(value):
            values.counts["vector"] += 1
            return
        if kind := wrapped_kind(value):
            values.counts[kind] += 1
            return
        values.counts["map_value"] += 1
        if values.keys is None:
            values.keys = {}
        keys, fields = values.keys, value.map_value.fields
        for key in fields:
            inner = keys.get(key)
            if inner is None:
                if len(keys) < MOST_KEYS and self._made < MOST_VALUE_PROFILES:
                    inner = keys[key] = self.new()
                else:
                    inner = values.every = values.every or self.new()
            self.count(inner, fields[key])

    def _array(self, values: ValueProfile, value: Value) -> None:
        values.counts["array_value"] += 1
        if values.every is None:
            values.every = self.new()
        every = values.every
        for element in value.array_value.values:
            self.count(every, element)

    def _double(self, values: ValueProfile, value: Value) -> None:
        values.counts["double_value"] += 1
        number = value.double_value
        if number - number != 0.0:
            values.counts["nonfinite"] += 1

    def _reference(self, values: ValueProfile, value: Value) -> None:
        self.count_reference(values, value.reference_value)

    def count_reference(self, values: ValueProfile, reference: str) -> None:
        values.counts["reference_value"] += 1
        if values.targets is None:
            values.targets = defaultdict(int)
        parent = reference[: reference.rfind("/")]
        target = self._targets.get(parent)
        if target is None:
            target = self._target(reference)
            if len(self._targets) < MOST_VALUE_PROFILES:
                self._targets[parent] = target
        values.targets[target if target in values.targets or len(values.targets) < MOST_KEYS else ""] += 1

    def _target(self, reference: str) -> str:
        """The collection that a reference leads to; empty for another database or project."""
        if not reference.startswith(self._prefix):
            return ""
        path = reference[len(self._prefix) :]
        return collection_of(path) if path.count("/") % 2 else ""
