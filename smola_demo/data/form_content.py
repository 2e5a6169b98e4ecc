"""What stands on drawn receipts and forms: made-up shops, people, addresses, goods, and questions on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smola_demo.data.row import QA
from smola_demo.data.vocabulary import made_up

if TYPE_CHECKING:
    import random

# What can be asked, in the words people use; {} is the name of a field of a form.
_PHRASES = {
    "shop": (
        "What is the name of the shop on this receipt?",
        "Which company issued this receipt?",
        "What is the name of the company?",
        "What is the store name?",
    ),
    "address": ("What is the address printed on this receipt?", "What is the address of the shop?"),
    "date": ("What is the date on this receipt?", "When was this receipt issued?", "What is the date?"),
    "total": (
        "What is the total amount on this receipt?",
        "How much is the total?",
        "What is the total?",
        "What is the total amount?",
    ),
    "phone": ("What is the phone number on this receipt?", "What is the telephone number?"),
    "number": ("What is the invoice number?", "What is the receipt number?"),
    "change": ("How much change was given?", "What is the change?"),
    "cash": ("How much cash was paid?",),
    "title": ("What is the title of this form?", "What kind of form is this?", "What is the heading?"),
}
_FIELD_PHRASES = ("What is the {}?", "What is the {} on this form?", "What does the field {} say?", "{}?")


@dataclass(frozen=True)
class Entry:
    """One line of a receipt; `right` stands at the right edge, `head` lines may be centred."""

    left: str
    right: str = ""
    head: bool = False

    @property
    def text(self) -> str:
        """The line as it is read."""
        return f"{self.left} {self.right}".strip()


@dataclass(frozen=True)
class ReceiptData:
    """A receipt: its lines from top to bottom, and (what can be asked, answer) pairs."""

    lines: tuple[Entry, ...]
    asked: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FormData:
    """A form: its title, its (label, value) fields, and (what can be asked, answer) pairs."""

    title: str
    fields: tuple[tuple[str, str], ...]
    asked: tuple[tuple[str, str], ...]


def _one(rng: random.Random, what: str) -> str:
    return rng.choice(made_up()[what])


def _date(rng: random.Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2005, 2026)
    return rng.choice(
        (
            f"{day:02d}/{month:02d}/{year}",
            f"{day:02d}-{month:02d}-{year}",
            f"{day:02d}/{month:02d}/{year % 100:02d}",
            f"{day:02d} {made_up()['months'][month - 1]} {year}",
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}.{month:02d}.{year}",
        )
    )


def _phone(rng: random.Random) -> str:
    return f"0{rng.randint(1, 9)}{rng.choice(('-', ' ', ''))}{rng.randint(1000000, 99999999)}"


def invent_receipt(rng: random.Random) -> ReceiptData:
    """A receipt of 5 to 13 lines whose items add up to its total."""
    caps = rng.random() < 0.6
    case = str.upper if caps else str
    shop = case(f"{_one(rng, 'shop_names')} {_one(rng, 'trades')}{_one(rng, 'company_ends')}")
    street = case(f"{rng.randint(1, 199)}{rng.choice((' ', ', '))}{_one(rng, 'streets')}")
    city = case(f"{rng.randint(10000, 99999)} {_one(rng, 'cities')}")
    date, sign = _date(rng), rng.choice(("", "", "", "RM ", "$", "$"))
    asked = [("shop", shop), ("date", date)]
    head = [Entry(shop, head=True)]
    if rng.random() < 0.7:
        head += [Entry(f"{street},", head=True), Entry(city, head=True)]
        asked.append(("address", f"{street}, {city}"))
    if rng.random() < 0.5:
        phone = _phone(rng)
        head.append(Entry(f"{case(rng.choice(('Tel', 'Phone')))}: {phone}", head=True))
        asked.append(("phone", phone))
    if rng.random() < 0.5:
        number = f"{rng.choice(('', 'CS', 'A', 'INV-', 'R'))}{rng.randint(100, 99999)}"
        head.append(Entry(f"{case(rng.choice(('Invoice No', 'Receipt No', 'No')))}: {number}"))
        asked.append(("number", number))
    head.append(Entry(f"{case('Date')}: {date}" if rng.random() < 0.7 else date))
    cents = [rng.randint(20, 6000) for _ in range(rng.randint(1, 5))]
    names = rng.sample(made_up()["goods"], len(cents))
    goods = [Entry(case(name), f"{c / 100:.2f}") for name, c in zip(names, cents, strict=True)]
    total = f"{sign}{sum(cents) / 100:.2f}"
    foot = [Entry(case(rng.choice(("Total", "Total", "Total amount", "Amount due"))), total)]
    asked.append(("total", total.removeprefix("RM ").removeprefix("$")))
    if rng.random() < 0.35:
        cash = -(-sum(cents) // 1000) * 1000
        foot += [
            Entry(case("Cash"), f"{cash / 100:.2f}"),
            Entry(case("Change"), f"{(cash - sum(cents)) / 100:.2f}"),
        ]
        asked += [("cash", foot[-2].right), ("change", foot[-1].right)]
    if rng.random() < 0.4:
        foot.append(Entry(case("Thank you"), head=True))
    asked += [(f"price of {name}", entry.right) for name, entry in zip(names[:2], goods, strict=False)]
    return ReceiptData((*head, *goods, *foot), tuple(asked))


def invent_form(rng: random.Random) -> FormData:
    """A form of three to six fields about one made-up person."""
    first, last = _one(rng, "first_names"), _one(rng, "last_names")
    pool = {
        "Name": f"{first} {last}",
        "First name": first,
        "Last name": last,
        "Address": f"{rng.randint(1, 199)} {_one(rng, 'streets')}",
        "City": _one(rng, "cities"),
        "Postal code": str(rng.randint(10000, 99999)),
        "Phone": _phone(rng),
        "Email": f"{first.lower()}@{rng.choice(('mail.com', 'post.org', 'home.net', 'mail.net'))}",
        "Date": _date(rng),
        "Date of birth": _date(rng),
        "Age": str(rng.randint(6, 95)),
        "Job": _one(rng, "jobs"),
        "Member no": str(rng.randint(100, 99999)),
        "Quantity": str(rng.randint(1, 60)),
        "Item": _one(rng, "goods"),
        "Country": _one(rng, "countries"),
    }
    del pool[rng.choice(("Name", "First name"))]
    labels = rng.sample(list(pool), rng.randint(3, 6))
    labels.sort(key=list(pool).index)
    fields = tuple((label, pool[label]) for label in labels)
    title = _one(rng, "form_titles")
    return FormData(
        title, fields, (*((f"field {label}", value) for label, value in fields), ("title", title))
    )


def questions(rng: random.Random, asked: tuple[tuple[str, str], ...]) -> list[QA]:
    """Up to six `document` questions, each in one of several wordings."""
    found: list[QA] = []
    for what, answer in rng.sample(asked, min(6, len(asked))):
        if what.startswith("field "):
            question = rng.choice(_FIELD_PHRASES).format(what.removeprefix("field ").lower())
            question = question[0].upper() + question[1:]
        elif what.startswith("price of "):
            item = what.removeprefix("price of ")
            question = rng.choice((f"What is the price of {item}?", f"How much is {item}?"))
        else:
            question = rng.choice(_PHRASES[what])
        found.append(QA("document", question, (answer,)))
    return found
