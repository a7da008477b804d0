"""A link by mail: for whoever has no password at hand, and for whoever forgot theirs.

Invariant: nobody can tell from outside whether an address is known; a link works once, for a
quarter of an hour, for whoever has the address when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from portal.access import people, tokens
from portal.access.people import Place
from portal.core.errors import Unauthenticated
from portal.db import Database
from portal.notices.mail import Mail, Mailer

LIFETIME = timedelta(minutes=15)
#: Unused links that one address is sent in that time: nobody's mailbox is flooded from here.
MOST_UNUSED = 5


def send_link(
    database: Database,
    mailer: Mailer,
    email: str,
    *,
    compose: Callable[[str, str], Mail],
    now: datetime,
) -> bool:
    """Mail a link to an address that is known; returns whether one went out.

    ``compose`` makes the mail for an address and a token. Call this beside the request, not in it:
    it takes longer for an address that is known. Raises Unavailable.
    """
    with database.reading() as tx:
        if not people.places_of(tx, email):
            return False
    with database.transaction() as tx:
        unused = tokens.count_unused(tx, email, purpose=tokens.SIGN_IN, since=now - LIFETIME)
        if unused >= MOST_UNUSED:
            return False
        token, _ = tokens.make_token(
            tx, purpose=tokens.SIGN_IN, email=email, lifetime=LIFETIME, now=now
        )
    mailer.send(compose(email, token))
    return True


def use_mail_link(tx: Connection, token: str, *, now: datetime) -> tuple[str, Sequence[Place]]:
    """Use a link from the mail, once; returns the address and where it leads.

    Raises Unauthenticated, also where nobody has that address any more.
    """
    used = tokens.use_token(tx, token, purpose=tokens.SIGN_IN, now=now)
    places = people.places_of(tx, used.email)
    if not places:
        raise Unauthenticated("Nobody has this address here any more.")
    return used.email, places
