"""Passkeys: a key pair that a person's device keeps, for one membership. Owns ``passkeys``.

Invariant: a device proves each time that its owner is there (a finger, a face, a code) and that it
was asked by this portal just now: a challenge is taken once, and a counter that does not grow is
refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from portal.access import tokens
from portal.accounts import Member
from portal.core.errors import InvalidRequest, NotFound, Unauthenticated
from portal.db import Database
from portal.ids import new_id
from portal.tables import members, passkeys

#: How long an answer to a challenge may take.
PATIENCE = timedelta(minutes=5)
MOST_PASSKEYS = 20
LONGEST_NAME = 60


@dataclass(frozen=True)
class Site:
    """The portal as a device knows it: its host, its name and its whole origin."""

    host: str
    name: str
    origin: str


@dataclass(frozen=True)
class Challenge:
    """What a device is to sign, and until when."""

    value: str
    expires_at: datetime


@dataclass(frozen=True)
class Passkey:
    """A passkey as its owner's list tells of it."""

    passkey_id: str
    name: str
    created_at: datetime
    used_at: datetime | None


def passkeys_of(tx: Connection, member: Member) -> Sequence[Passkey]:
    """Return a member's passkeys, the oldest first."""
    rows = tx.execute(
        select(passkeys).where(*_of(member)).order_by(passkeys.c.created_at, passkeys.c.passkey_id)
    )
    return [Passkey(row.passkey_id, row.name, row.created_at, row.used_at) for row in rows]


def ask_to_add(
    tx: Connection, site: Site, member: Member, organization_name: str, *, now: datetime
) -> tuple[dict[str, Any], Challenge]:
    """Return what a browser needs to make a passkey. Raises InvalidRequest with too many."""
    known = tx.execute(select(passkeys.c.credential_id).where(*_of(member))).scalars().all()
    if len(known) >= MOST_PASSKEYS:
        raise InvalidRequest(f"You have {MOST_PASSKEYS} passkeys. Remove one first.")
    options = generate_registration_options(
        rp_id=site.host,
        rp_name=site.name,
        user_id=_handle(member.organization_id, member.member_id),
        user_name=member.email,
        user_display_name=f"{member.name}, {organization_name}",
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[
            PublicKeyCredentialDescriptor(id=base64url_to_bytes(one)) for one in known
        ],
    )
    return json.loads(options_to_json(options)), _challenge(options.challenge, now)


def add(
    database: Database,
    site: Site,
    member: Member,
    challenge: Challenge,
    answer: Mapping[str, Any],
    *,
    name: str,
    now: datetime,
) -> str:
    """Keep the passkey a device made; returns its id.

    Raises Unauthenticated where the answer is none to this challenge, InvalidRequest where the key
    is known.
    """
    with database.transaction() as tx:
        _spend(tx, challenge, now)
    with _refusing():
        made = verify_registration_response(
            credential=dict(answer),
            expected_challenge=base64url_to_bytes(challenge.value),
            expected_rp_id=site.host,
            expected_origin=site.origin,
            require_user_verification=True,
        )
    passkey_id = new_id("pk")
    try:
        with database.transaction() as tx:
            tx.execute(
                insert(passkeys).values(
                    organization_id=member.organization_id,
                    passkey_id=passkey_id,
                    member_id=member.member_id,
                    credential_id=bytes_to_base64url(made.credential_id),
                    public_key=bytes_to_base64url(made.credential_public_key),
                    sign_count=made.sign_count,
                    name=name.strip()[:LONGEST_NAME] or "Passkey",
                    created_at=now,
                )
            )
    except IntegrityError as error:
        raise InvalidRequest("This passkey is known here already.") from error
    return passkey_id


def ask_to_sign_in(site: Site, *, now: datetime) -> tuple[dict[str, Any], Challenge]:
    """Return what a browser needs to offer the passkeys a device has for this portal."""
    options = generate_authentication_options(
        rp_id=site.host, user_verification=UserVerificationRequirement.REQUIRED
    )
    return json.loads(options_to_json(options)), _challenge(options.challenge, now)


def use(
    database: Database,
    site: Site,
    challenge: Challenge,
    answer: Mapping[str, Any],
    *,
    now: datetime,
) -> tuple[str, str]:
    """Return (organization, member) of the passkey that answered. Raises Unauthenticated."""
    with database.transaction() as tx:
        _spend(tx, challenge, now)
        row = tx.execute(
            select(passkeys)
            .join(
                members,
                (members.c.organization_id == passkeys.c.organization_id)
                & (members.c.member_id == passkeys.c.member_id)
                & members.c.removed_at.is_(None),
            )
            .where(passkeys.c.credential_id == str(answer.get("id", "")))
        ).first()
    if row is None:
        raise Unauthenticated("This passkey is not known here, or was removed.")
    with _refusing():
        _check_handle(answer, _handle(row.organization_id, row.member_id))
        proven = verify_authentication_response(
            credential=dict(answer),
            expected_challenge=base64url_to_bytes(challenge.value),
            expected_rp_id=site.host,
            expected_origin=site.origin,
            credential_public_key=base64url_to_bytes(row.public_key),
            credential_current_sign_count=row.sign_count,
            require_user_verification=True,
        )
    with database.transaction() as tx:
        counted = tx.execute(
            update(passkeys)
            .where(
                passkeys.c.organization_id == row.organization_id,
                passkeys.c.passkey_id == row.passkey_id,
                passkeys.c.sign_count == row.sign_count,
            )
            .values(sign_count=proven.new_sign_count, used_at=now)
        ).rowcount
    if counted != 1:
        raise Unauthenticated("This passkey was used twice at once, or was removed. Try again.")
    return row.organization_id, row.member_id


def remove(tx: Connection, member: Member, passkey_id: str) -> str:
    """Remove one of a member's passkeys; returns its name. Raises NotFound."""
    mine = (*_of(member), passkeys.c.passkey_id == passkey_id)
    name = tx.execute(select(passkeys.c.name).where(*mine)).scalar()
    if name is None:
        raise NotFound("passkey", passkey_id)
    tx.execute(delete(passkeys).where(*mine))
    return str(name)


def remove_all(tx: Connection, organization_id: str, member_id: str) -> None:
    """Remove every passkey of a member."""
    tx.execute(
        delete(passkeys).where(
            passkeys.c.organization_id == organization_id, passkeys.c.member_id == member_id
        )
    )


def _of(member: Member) -> tuple[Any, Any]:
    return (
        passkeys.c.organization_id == member.organization_id,
        passkeys.c.member_id == member.member_id,
    )


def _handle(organization_id: str, member_id: str) -> bytes:
    """Return what a device knows a membership by: it tells nothing of who that is."""
    return hashlib.sha256(f"{len(organization_id)} {organization_id} {member_id}".encode()).digest()


def _check_handle(answer: Mapping[str, Any], expected: bytes) -> None:
    if base64url_to_bytes(answer["response"]["userHandle"]) != expected:
        raise ValueError("a passkey of somebody else")


def _challenge(value: bytes, now: datetime) -> Challenge:
    return Challenge(bytes_to_base64url(value), now + PATIENCE)


def _spend(tx: Connection, challenge: Challenge, now: datetime) -> None:
    tokens.spend(
        tx,
        challenge.value,
        purpose=tokens.PASSKEY_CHALLENGE,
        expires_at=challenge.expires_at,
        now=now,
    )


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn whatever is wrong with a device's answer into one refusal."""
    try:
        yield
    except (WebAuthnException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unauthenticated("The passkey did not fit. Try again, or use another way.") from error
