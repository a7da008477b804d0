"""How amounts, money and dates are written on pages: Jinja filters, nothing else.

Invariant: rounding here is for the eye only; the exact value is always one hover or focus away.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_currency, format_decimal
from jinja2 import Environment

from portal.core.catalog import currency_sign, minor_places, money_words
from portal.core.periods import Zone, local_day
from portal.core.units import MICRO, NANO, format_micro

LOCALE = Locale.parse("en_US")
#: Pages repeat figures and days; writing one costs far more than finding it again.
_REMEMBERED = 4096
_MICROSECOND = timedelta(microseconds=1)
#: A cost under this is shown to the hundredth of a cent.
_SMALL_COST_NANO = NANO


def register(jinja: Environment) -> None:
    """Attach the filters and keep the markup free of the templates' own blank lines."""
    jinja.trim_blocks = True
    jinja.lstrip_blocks = True
    jinja.filters.update(
        amount=amount,
        exact_amount=exact_amount,
        signed=signed,
        measured=measured,
        whole_dollars=whole_dollars,
        tenths=tenths,
        grown=grown,
        rounded=rounded,
        money=money,
        plain_amount=plain_amount,
        plain_money=plain_money,
        price_per_credit=price_per_credit,
        credit_price=credit_price,
        dollars=dollars,
        day=day,
        short_day=short_day,
        full_day=full_day,
        dated=dated,
        last_dated=last_dated,
        last_day=last_day,
        clock=clock,
        local_day=local_day,
        place=place,
        change=change,
        share=share,
        inner=inner,
        initials=initials,
    )


def _minus(text: str) -> str:
    # What is below zero has a minus, as wide as a plus, and not a hyphen.
    return text.replace("-", "−")


@lru_cache(maxsize=_REMEMBERED)
def amount(micro: int) -> str:
    """Write credits or a quantity: 1,240 or 12.5, with at most two decimals."""
    return _minus(format_decimal(Decimal(micro) / MICRO, format="#,##0.##", locale=LOCALE))


@lru_cache(maxsize=_REMEMBERED)
def exact_amount(micro: int) -> str:
    """Write credits or a quantity with all their decimals."""
    return _minus(format_decimal(Decimal(micro) / MICRO, format="#,##0.######", locale=LOCALE))


def signed(micro: int) -> str:
    """Write a change of credits with its sign and all its decimals; none is a dash."""
    if micro == 0:
        return "–"
    return f"{'+' if micro > 0 else '−'}{exact_amount(abs(micro))}"


def rounded(micro: int) -> str:
    """Write credits that are an estimate: to the whole credit."""
    return _minus(format_decimal(Decimal(micro) / MICRO, format="#,##0", locale=LOCALE))


def money(minor: int, currency: str) -> str:
    """Write an amount in minor units: $99.00, €1,290.00, ¥3,900; the same as in letters."""
    return money_words(minor, currency)


def price_per_credit(minor: int, credits_micro: int, currency: str) -> str:
    """Write what one credit of a pack costs, to the hundredth of a cent at most."""
    value = Decimal(minor).scaleb(-minor_places(currency)) * MICRO / credits_micro
    return currency_sign(currency) + str(format_decimal(value, format="#,##0.00##", locale=LOCALE))


def credit_price(price_micro_minor: int, currency: str) -> str:
    """Write the price of one credit, given in millionths of the minor unit."""
    return price_per_credit(price_micro_minor, MICRO * MICRO, currency)


def plain_amount(micro: int) -> str:
    """Write credits as somebody types them: 1240 or 12.5."""
    return format_micro(micro)


def plain_money(minor: int, currency: str) -> str:
    """Write an amount in minor units as somebody types it: 1290.00."""
    return str(Decimal(minor).scaleb(-minor_places(currency)))


def dollars(nano: int) -> str:
    """Write a cost in US dollars; a small one with four decimals."""
    pattern = "¤#,##0.0000" if 0 < abs(nano) < _SMALL_COST_NANO else "¤#,##0.00"
    return _minus(
        format_currency(
            Decimal(nano) / NANO, "USD", format=pattern, locale=LOCALE, currency_digits=False
        )
    )


def whole_dollars(nano: int) -> str:
    """Write an amount in US dollars: to the dollar from a hundred on, else to the cent."""
    if abs(nano) < 100 * NANO:
        return dollars(nano)
    pattern = "¤#,##0"
    value = Decimal(nano) / NANO
    words = format_currency(value, "USD", format=pattern, locale=LOCALE, currency_digits=False)
    return _minus(words)


def measured(value: float | None, unit: str) -> str:
    """Write a statistic in its unit: 51 times, 42%, −3.1 points, 0.62."""
    if value is None:
        return "–"
    if unit == "times":
        return f"{value:,.0f} times" if value >= 10 else f"{value:,.1f} times"
    if unit == "share":
        return f"{value:.1%}"
    text = f"{value * 100:+.1f} points" if unit == "points" else f"{value:+.2f}"
    return _minus(text)


def tenths(tenths_percent: int | None) -> str:
    """Write a share that is given in tenths of a percent: 61.3%; a dash where there is none."""
    if tenths_percent is None:
        return "–"
    sign, rest = "−" if tenths_percent < 0 else "", abs(tenths_percent)
    return f"{sign}{rest // 10:,}.{rest % 10}%"


def grown(now: int, before: int) -> str:
    """Write by how much an amount changed: +12%; a dash where there was nothing before."""
    return change((now - before) * 100 // abs(before) if before else None)


def day(value: date | datetime, zone: Zone | None = None, today: date | None = None) -> str:
    """Write a day as 30 Nov, with its year where that is not ``today``'s.

    An instant is written as the clocks of its own time showed it.
    """
    if isinstance(value, datetime) and zone is not None:
        value = value.astimezone(zone.at(value)).date()
    pattern = "d MMM" if today is None or value.year == today.year else "d MMM y"
    return _written(value, pattern)


@lru_cache(maxsize=_REMEMBERED)
def _written(value: date, pattern: str) -> str:
    return str(format_date(value, pattern, locale=LOCALE))


@lru_cache(maxsize=_REMEMBERED)
def short_day(value: date) -> str:
    """Write a day with its weekday: Tue 12 Nov."""
    return str(format_date(value, "EEE d MMM", locale=LOCALE))


@lru_cache(maxsize=_REMEMBERED)
def full_day(value: date) -> str:
    """Write a day with its whole month, for the middle of a sentence: 10 October."""
    return str(format_date(value, "d MMMM", locale=LOCALE))


@lru_cache(maxsize=_REMEMBERED)
def dated(value: date) -> str:
    """Write a day with its year, for paper: 1 Nov 2026."""
    return str(format_date(value, "d MMM y", locale=LOCALE))


def last_day(end: datetime, zone: Zone, today: date | None = None) -> str:
    """Write the last day before an end: what ends at midnight of 1 Dec is there until 30 Nov."""
    return day(end - _MICROSECOND, zone, today)


def last_dated(end: datetime, zone: Zone) -> str:
    """Write the last day before an end with its year."""
    return dated(local_day(end - _MICROSECOND, zone))


def clock(instant: datetime, zone: Zone) -> str:
    """Write a time of day as 14:02."""
    return str(format_time(instant.astimezone(zone.at(instant)), "HH:mm", locale=LOCALE))


def place(timezone: str) -> str:
    """Name a time zone as people do: Europe/Berlin is Berlin time."""
    name = timezone.rpartition("/")[2].replace("_", " ")
    return name if name in {"UTC", "GMT"} else f"{name} time"


def change(percent: int | None) -> str:
    """Write a change: +38%, −11%, or a dash where there is nothing to compare with."""
    if percent is None:
        return "–"
    sign = "+" if percent > 0 else "−" if percent < 0 else ""
    return f"{sign}{format_decimal(abs(percent), format='#,##0', locale=LOCALE)}%"


def share(percent: int, amount: int) -> str:
    """Write a share as a whole percentage; what is there but tiny is not zero."""
    return "<1%" if percent == 0 and amount else f"{percent}%"


def inner(name: str) -> str:
    """Write a noun inside a sentence: Documents becomes documents, PDFs stays PDFs."""
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]


def initials(name: str) -> str:
    """Return one or two letters for a face that is not there."""
    words = ["".join(one for one in word if one.isalnum()) for word in name.split()]
    words = [word for word in words if word]
    letters = words[0][:1] + (words[-1][:1] if len(words) > 1 else "") if words else "?"
    return letters.upper()
