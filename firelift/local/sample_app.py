"""Writes a realistic sample app into an emulator: the same few thousand documents every time."""

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random

from firelift.local.writer import GeoPoint, Reference, Vector, values, write_documents

Fields = Mapping[str, object]
Document = tuple[str, Fields]

OPENED = datetime(2023, 1, 1, tzinfo=UTC)
CITIES = {
    "Berlin": GeoPoint(52.52, 13.405),
    "Lisbon": GeoPoint(38.7223, -9.1393),
    "Nairobi": GeoPoint(-1.2921, 36.8219),
    "Quito": GeoPoint(-0.1807, -78.4678),
    "Reykjavík": GeoPoint(64.1466, -21.9426),
    "上海": GeoPoint(31.2304, 121.4737),
}
FIRST_NAMES = ["Ada", "Björn", "Chioma", "Dmitri", "Elif", "Fátima", "Grace", "Haruto", "Inês", "João", "Kwame", "Łucja", "Mei", "Noor"]
LAST_NAMES = ["Adeyemi", "Brandt", "Costa", "Demir", "Eriksson", "Fernández", "García", "Haddad", "Ivanova", "Jensen", "Kowalski", "李"]
WORDS = [
    "please",
    "thanks",
    "tomorrow",
    "the",
    "order",
    "is",
    "late",
    "great",
    "invoice",
    "ship",
    "it",
    "when",
    "new",
    "colour",
    "blue",
    "🚚",
    "🎉",
    "size",
    "returned",
    "why",
    "café",
]
ORGS, PRODUCTS, USERS, ROOMS, MESSAGES_A_ROOM, INVOICES_A_YEAR = 12, 60, 400, 15, 50, 40


def load_sample(host: str, project: str = "demo-firelift", database: str = "(default)") -> int:
    """Writes the sample app; returns the number of documents."""
    resource = f"projects/{project}/databases/{database}"
    return write_documents(host, resource, ((path, values(fields)) for path, fields in sample_documents(resource)))


def sample_documents(database: str) -> Iterator[Document]:
    """`(path, fields)` of every document, with references into `projects/{p}/databases/{d}`."""
    app = _App(database, Random(2026))
    yield from app.orgs()
    yield from app.products()
    yield from app.users()
    yield from app.rooms()
    yield from app.invoices()
    yield from app.oddities()


class _App:
    def __init__(self, database: str, random: Random) -> None:
        self.database = database
        self.random = random
        self.user_ids = [self.auto_id() for _ in range(USERS)]

    def orgs(self) -> Iterator[Document]:
        for number in range(ORGS):
            city = self.random.choice(list(CITIES))
            yield (
                f"orgs/org-{number:02}",
                {
                    "name": f"{self.random.choice(LAST_NAMES)} {self.random.choice(['GmbH', 'Ltd', 'S.A.', '株式会社'])}",
                    "plan": self.random.choice(["free", "team", "enterprise"]),
                    "seats": self.random.randint(1, 500),
                    "headquarters": CITIES[city],
                    "billing": {"city": city, "vatId": f"EU{self.random.randint(10**8, 10**9 - 1)}", "net": self.random.choice([14, 30])},
                    "foundedAt": self.moment(),
                },
            )

    def products(self) -> Iterator[Document]:
        for number in range(PRODUCTS):
            yield f"products/sku-{number:03}", self.product(number)

    def product(self, number: int) -> Fields:
        price = self.random.randint(199, 99_999) / 100
        return {
            "id": f"P-{number:05}",  # a field that bears the name of Firelift's key column
            "title": f"Product {number}",
            "price": price if number % 7 else int(price),  # an integer now and then in a field of doubles, as JavaScript writes it
            "rating": math.nan if number % 20 == 0 else round(self.random.uniform(1, 5), 2),
            "balance": -0.0 if number % 15 == 0 else float(number),
            "dimensions": "one size" if number % 10 == 0 else {"w": number, "h": self.random.random() * 10, "unit": "cm"},
            "tags": self.random.sample(["new", "sale", "eco", "gift", "heavy"], k=self.random.randint(0, 3)),
            "embedding": Vector(tuple(self.random.uniform(-1, 1) for _ in range(8))),
            "thumbnail": self.random.randbytes(24),
            "inStock": number % 4 != 0,
        }

    def users(self) -> Iterator[Document]:
        for number, user in enumerate(self.user_ids):
            yield f"users/{user}", self.user(number)
            for order in range(self.random.choice([0, 0, 1, 2, 3])):
                yield from self.order(f"users/{user}/orders/{order + 1:04}")

    def user(self, number: int) -> Fields:
        first, last = self.random.choice(FIRST_NAMES), self.random.choice(LAST_NAMES)
        city = self.random.choice(list(CITIES))
        joined = self.moment()
        fields: dict[str, object] = {
            "displayName": f"{first} {last}",
            "email": f"user{number}@example.com",
            "age": self.random.randint(18, 90),
            "score": round(self.random.uniform(0, 100), 3),
            "active": self.random.random() < 0.8,
            "createdAt": joined,
            "address": {"street": f"{number} Main Street", "city": city, "geo": CITIES[city]},
            "roles": self.random.sample(["admin", "editor", "viewer"], k=self.random.randint(1, 2)),
            "org": self.reference("orgs/org-99" if number == 7 else f"orgs/org-{number % ORGS:02}"),  # org-99 is not there
        }
        if number % 3 == 0:
            fields["nickname"] = None if number % 9 == 0 else first.lower()  # null, missing and text
        if number % 50 == 0:
            fields["lastSeen"] = (joined + timedelta(days=3)).isoformat()  # text among timestamps
        else:
            fields["lastSeen"] = joined + timedelta(days=self.random.randint(0, 300))
        if number % 11 == 0:
            fields["avatar"] = b"\x89PNG\r\n\x1a\n" + self.random.randbytes(16)
        return fields

    def order(self, path: str) -> Iterator[Document]:
        items = [(number, self.item()) for number in range(self.random.randint(1, 5))]
        placed = self.moment()
        yield (
            path,
            {
                "status": self.random.choice(["open", "paid", "shipped", "returned"]),
                "placedAt": placed,
                "lines": len(items),
                "total": round(self.random.uniform(5, 900), 2),
                "history": [{"status": "open", "at": placed}, {"status": "paid", "at": placed + timedelta(minutes=5)}],
            },
        )
        yield from ((f"{path}/items/{number}", item) for number, item in items)

    def item(self) -> Fields:
        return {
            "product": self.reference(f"products/sku-{self.random.randrange(PRODUCTS):03}"),
            "quantity": self.random.randint(1, 9),
            "price": self.random.randint(199, 99_999) / 100,
            "giftWrap": self.random.random() < 0.1,
        }

    def rooms(self) -> Iterator[Document]:
        for number in range(ROOMS):
            members = self.random.sample(self.user_ids, k=self.random.randint(2, 12))
            room = "🎉 party" if number == 0 else f"room-{number}"
            yield (
                f"rooms/{room}",
                {
                    "topic": " ".join(self.random.sample(WORDS, k=3)),
                    "members": [self.reference(f"users/{member}") for member in members],
                    "lastRead": {member: self.moment() for member in members},  # keys are data: never a column each
                },
            )
            for _ in range(MESSAGES_A_ROOM):
                yield f"rooms/{room}/messages/{self.auto_id()}", self.message(members)

    def message(self, members: list[str]) -> Fields:
        fields: dict[str, object] = {
            "text": " ".join(self.random.choices(WORDS, k=self.random.randint(1, 14))),
            "from": self.reference(f"users/{self.random.choice(members)}"),
            "sentAt": self.moment(),
            "reactions": {emoji: self.random.randint(1, 5) for emoji in self.random.sample(["👍", "❤️", "😂"], k=self.random.randint(0, 2))},
        }
        if self.random.random() < 0.1:
            fields["editedAt"] = self.moment()
        return fields

    def invoices(self) -> Iterator[Document]:
        """Below `archive/2019` and `archive/2020`, which are not documents themselves."""
        for year in (2019, 2020):
            for number in range(INVOICES_A_YEAR):
                issued = datetime(year, number % 12 + 1, number % 28 + 1, tzinfo=UTC)
                yield (
                    f"archive/{year}/invoices/{year}-{number:04}",
                    {
                        "number": number,
                        "issuedAt": issued,
                        "amount": self.random.randint(100, 99_999) / 100,
                        "customer": self.random.choice(LAST_NAMES),
                    },
                )

    def oddities(self) -> Iterator[Document]:
        """What people have really stored."""
        here = f"{self.database}/documents"
        odd: dict[str, Fields] = {
            "empty": {},
            "nul": {"note": "before\x00after", "map": {"a\x00b": "NUL in a key"}},
            "null": {"note": None},
            "numbers": {"big": 2**63 - 1, "small": -(2**63), "exact": 2**53 + 1, "sum": 0.1 + 0.2, "tiny": 5e-324, "huge": 1.797e308},
            "specials": {"list": [math.nan, math.inf, -math.inf, -0.0], "mixed": [1, 1.0, "1", None, True, {"one": [1]}]},
            "twins": {"Name": "upper", "name": "lower", "NAME": "shouting"},
            "names": {"a.b": 1, "with space": 2, "`tick`": 3, 'quote"': 4, "ctid": 5, "select": 6, "50%s": 7, "🔑": 8, "x" * 70: 9},
            "times": {
                "first": datetime(1, 1, 1, tzinfo=UTC),
                "last": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
                "epoch": datetime(1970, 1, 1, tzinfo=UTC),
            },
            "containers": {"emptyMap": {}, "emptyList": [], "emptyBytes": b"", "emptyText": ""},
            "references": {
                "self": Reference(f"{here}/oddities/references"),
                "elsewhere": Reference("projects/other/databases/(default)/documents/users/u1"),
                "list": [self.reference("orgs/org-00"), self.reference("products/sku-001")],
            },
            "poles": {"north": GeoPoint(90, 180), "south": GeoPoint(-90, -180), "zero": GeoPoint(-0.0, 0)},
            "lookalike": {
                "point": {"latitude": 1.5, "longitude": 2.5},
                "tagged": {"$bytes": "AAA="},
                "date": "2024-01-01T00:00:00Z",
                "json": '{"a": 1}',
            },
            "vectors": {"short": Vector((1.0, 2.0)), "odd": Vector((-0.0, 0.1, 1e-300))},
            "👩‍👩‍👧 family": {"note": "an id of many code points"},
            "trailing ": {"note": "an id that ends in a space"},
            "..%2F..": {"note": "an id that looks like a way up"},
        }
        yield from ((f"oddities/{name}", fields) for name, fields in odd.items())

    def reference(self, path: str) -> Reference:
        return Reference(f"{self.database}/documents/{path}")

    def moment(self) -> datetime:
        return OPENED + timedelta(microseconds=self.random.randrange(730 * 86_400 * 1_000_000))

    def auto_id(self) -> str:
        return "".join(self.random.choices(string.ascii_letters + string.digits, k=20))
