"""What stands on drawn receipts and forms: made-up shops, people, addresses, goods, and questions on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smola_demo.data.row import QA
from smola_demo.data.shape_names import casual, either
from smola_demo.data.vocabulary import made_up, readings

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

MOST_LINES = 14
# What can be asked, in the words people use, bars between wordings; {} is what an item or a number is called.
_PHRASES = {
    "shop": "What is the name of the shop on this receipt?|Which company issued this receipt?"
    "|What is the name of the company?|What is the store name?",
    "address": "What is the address printed on this receipt?|What is the address of the shop?",
    "city": "In which city is the shop?|What city is the shop in?",
    "date": "What is the date on this receipt?|When was this receipt issued?|What is the date?",
    "time": "What is the time on this receipt?|At what time was this receipt printed?|What time is printed?",
    "total": "What is the total amount on this receipt?|How much is the total?|What is the total?"
    "|What is the total amount?|How much was paid in total?|How much did it cost in total?",
    "subtotal": "What is the subtotal?|How much is the subtotal?|What is the amount before tax?",
    "tax": "How much is the tax?|How much tax was paid?|What is the amount of tax?",
    "phone": "What is the phone number on this receipt?|What is the telephone number?"
    "|What is the phone number of the shop?|What is the phone number?",
    "number": "What is the {} number?|What is the number of the {}?|What is the {} number on this page?",
    "change": "How much change was given?|What is the change?|How much is the change?",
    "cash": "How much cash was paid?|How much cash was given?",
    "payment": "How was it paid?|How was this paid for?|What was it paid with?",
    "price": "What is the price of {}?|How much is {}?|How much did the {} cost?|How much was paid for {}?",
    "priced": "Which item costs {}?|What was bought for {}?|Which item has the price {}?",
    "dearest": "What is the most expensive item?|Which item costs the most?|What cost the most?",
    "cheapest": "What is the cheapest item?|Which item costs the least?",
    "items": "How many items were bought?|How many items are on this receipt?"
    "|How many different items were bought?",
    "title": "What is the title of this form?|What kind of form is this?|What is the heading?",
    "lives": "Where does {} live?",
    "Name": "What is the name?|Who filled in this form?|Who is this form about?|Whose form is this?",
    "First name": "What is the first name?|What is the given name?|What is the person's first name?",
    "Last name": "What is the last name?|What is the surname?|What is the family name?"
    "|What is {}'s last name?",
    "Address": "What is the address?|What is {}'s address?|What is the street address?",
    "City": "What is the city?|Which city is given?|In which city does {} live?",
    "Postal code": "What is the postal code?|What is the zip code?|What is the postcode?",
    "Phone": "What is the phone number?|What is {}'s phone number?|What is the telephone number?"
    "|What number do I call to reach {}?",
    "Email": "What is the email address?|What is {}'s email address?|What is the e-mail address?",
    "Date": "What is the date?|When was this form filled in?|What is the date of this form?",
    "Date of birth": "When was {} born?|What is {}'s date of birth?|When is {}'s birthday?",
    "Age": "How old is {}?|What is {}'s age?|What is the age?",
    "Job": "What is {}'s job?|What does {} do?|What does {} work as?|What is the occupation?",
    "Member no": "What is the member number?|What is the membership number?|What is {}'s member number?",
    "Quantity": "What is the quantity?|How many were ordered?|How many items were ordered?",
    "Item": "What is the item?|What was ordered?|Which item was ordered?",
    "Country": "What is the country?|Which country is given?|In which country does {} live?",
}
_FIELD = "What is the {0}?|What is the {0} on this form?|What does the field {0} say?|{0}?"


Asked = tuple[str, str, str]


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
    """A receipt: its lines from top to bottom, and what can be asked.

    asked  (kind of question, what fills it, answer as printed); all kinds are wordings in this file
    """

    lines: tuple[Entry, ...]
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class FormData:
    """A form: its title, its (label, value) fields, and what can be asked, as of a receipt."""

    title: str
    fields: tuple[tuple[str, str], ...]
    asked: tuple[Asked, ...]


def _one(rng: random.Random, what: str) -> str:
    return rng.choice(made_up()[what])


def _date(rng: random.Random, first: int = 2005, last: int = 2026) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(first, last)
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


def _head(rng: random.Random, case: Callable[[str], str]) -> tuple[list[Entry], list[Asked]]:
    """Who issued the receipt, where and when: two to seven lines."""
    shop = case(f"{_one(rng, 'shop_names')} {_one(rng, 'trades')}{_one(rng, 'company_ends')}")
    lines, asked = [Entry(shop, head=True)], [("shop", "", shop)]
    if rng.random() < 0.7:
        street = case(f"{rng.randint(1, 199)}{rng.choice((' ', ', '))}{_one(rng, 'streets')}")
        city = case(_one(rng, "cities"))
        code = rng.randint(10000, 99999)
        lines += [Entry(f"{street},", head=True), Entry(f"{code} {city}", head=True)]
        asked += [("address", "", f"{street}, {code} {city}"), ("city", "", city)]
    if rng.random() < 0.5:
        phone = _phone(rng)
        lines.append(Entry(f"{case(rng.choice(('Tel', 'Phone')))}: {phone}", head=True))
        asked.append(("phone", "", phone))
    if rng.random() < 0.5:
        label = rng.choice(("Invoice No", "Receipt No", "Bill No", "Order No", "No"))
        number = f"{rng.choice(('', 'CS', 'A', 'INV-', 'R'))}{rng.randint(100, 99999)}"
        lines.append(Entry(f"{case(label)}: {number}"))
        asked.append(("number", label.lower().removesuffix("no").strip() or "receipt", number))
    date, hour = _date(rng), rng.randint(6, 23)
    time = f"{hour if rng.random() < 0.3 else f'{hour:02d}'}:{rng.randint(0, 59):02d}"
    day = f"{case('Date')}: {date}" if rng.random() < 0.7 else date
    asked.append(("date", "", date))
    if (timed := rng.random()) < 0.5:
        asked.append(("time", "", time))
    lines.append(Entry(f"{day} {time}" if timed < 0.25 else day))
    if 0.25 <= timed < 0.5:
        lines.append(Entry(f"{case('Time')}: {time}"))
    return lines, asked


def _goods(rng: random.Random, goods: list[str], lines: list[Entry], cents: list[int]) -> list[Asked]:
    """Up to three questions on what was bought; a line prints each of the goods with its price."""
    asked: list[Asked] = [
        ("price", rng.choice((goods[i], goods[i].lower())), lines[i].right)
        for i in rng.sample(range(len(goods)), min(2, len(goods)))
    ]
    one = rng.choice(lines)
    asked += [("priced", one.right, one.left), ("items", "", str(len(goods)))]
    if len(goods) > 1:
        by_price = sorted(range(len(goods)), key=cents.__getitem__)
        asked += [("cheapest", "", lines[by_price[0]].left), ("dearest", "", lines[by_price[-1]].left)]
    return rng.sample(asked, 3)


def invent_receipt(rng: random.Random) -> ReceiptData:
    """A receipt of 4 to 14 lines whose items, and the tax where there is one, add up to its total."""
    case = str.upper if rng.random() < 0.6 else str
    lines, asked = _head(rng, case)
    taxed, thanks = rng.random() < 0.45, rng.random() < 0.3
    paid = rng.choice(("", "", "cash", "cash", "card"))
    room = MOST_LINES - len(lines) - 1 - 2 * taxed - {"": 0, "cash": 2, "card": 1}[paid] - thanks
    sign = rng.choice(("", "", "", "RM ", "$", "$"))
    everywhere = sign if rng.random() < 0.3 else ""
    cents = rng.sample(range(20, 6000), rng.randint(1, min(6, room)))
    goods = rng.sample(made_up()["goods"], len(cents))
    bought = [Entry(case(name), f"{everywhere}{c / 100:.2f}") for name, c in zip(goods, cents, strict=True)]
    lines += bought
    asked += _goods(rng, goods, bought, cents)
    total, labels = sum(cents), ["Total", "Total", "Total amount", "Amount due"]
    if taxed:
        rate = rng.choice((5, 6, 8, 10, 20))
        tax = round(total * rate / 100)
        lines.append(Entry(case(rng.choice(("Subtotal", "Sub total"))), f"{everywhere}{total / 100:.2f}"))
        asked.append(("subtotal", "", lines[-1].right))
        named = case(rng.choice(("Tax", f"Tax {rate}%", f"GST {rate}%", f"VAT {rate}%")))
        lines.append(Entry(named, f"{everywhere}{tax / 100:.2f}"))
        asked.append(("tax", "", lines[-1].right))
        total, labels = total + tax, labels[:3]  # beside a subtotal the total is called so
    lines.append(Entry(case(rng.choice(labels)), f"{sign}{total / 100:.2f}"))
    asked.append(("total", "", lines[-1].right))
    if paid == "cash":
        cash = -(-total // 1000) * 1000
        lines.append(Entry(case("Cash"), f"{everywhere}{cash / 100:.2f}"))
        lines.append(Entry(case("Change"), f"{everywhere}{(cash - total) / 100:.2f}"))
        asked += [("cash", "", lines[-2].right), ("change", "", lines[-1].right)]
        asked.append(("payment", "", lines[-2].left))
    elif paid == "card":
        lines.append(Entry(case(rng.choice(("Card", "Credit card", "Visa"))), f"{sign}{total / 100:.2f}"))
        asked.append(("payment", "", lines[-1].left))
    if thanks:
        lines.append(Entry(case("Thank you"), head=True))
    return ReceiptData(tuple(lines), tuple(asked))


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
        "Date of birth": _date(rng, 1935, 2015),
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
    called = {"Name": rng.choice((f"{first} {last}", first)), "First name": first}
    who = called.get(labels[0], "this person")
    asked = [("title", "", title), *((label, who, pool[label]) for label in labels)]
    places = [label for label in labels if label in ("Address", "City", "Country")]
    if len(places) == 1:  # of several, any would answer
        asked.append(("lives", who, pool[places[0]]))
    return FormData(title, fields, tuple(asked))


def questions(rng: random.Random, asked: tuple[Asked, ...]) -> list[QA]:
    """Up to six `document` questions, each in one of several wordings."""
    found: list[QA] = []
    for kind, about, answer in rng.sample(asked, min(6, len(asked))):
        question = either(rng, _PHRASES[kind]).replace("{}", about)
        if kind[0].isupper() and rng.random() < 0.35:  # a field of a form, by its label
            question = either(rng, _FIELD).format(kind.lower())
            question = question[0].upper() + question[1:]
        found.append(QA("document", casual(rng, question), readings(answer)))
    return found
