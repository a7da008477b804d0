"""What a refusal says: which limit, what is left of it, when it resets, and what would lift it."""

from __future__ import annotations

from datetime import datetime

from portal.core.caps import CapState
from portal.core.errors import CapReached, InDebt, InsufficientCredits, PaymentOverdue
from portal.core.units import format_micro


def in_debt(debt_micro: int) -> InDebt:
    """Return the refusal of work while credits are owed."""
    return InDebt(
        f"{format_micro(debt_micro)} credits are owed after a refund or a dispute. "
        "Buy credits to settle them first.",
        options=[{"do": "buy-credits"}],
    )


def payment_overdue(stopped_at: datetime, page_url: str) -> PaymentOverdue:
    """Return the refusal of new work from the end of a late payment's grace on.

    ``page_url`` is where the invoice is paid, or nothing where that is not known.
    """
    pay = {"do": "pay-invoice"} | ({"url": page_url} if page_url else {})
    return PaymentOverdue(
        f"A payment for the plan is overdue and its grace ended at {stopped_at.isoformat()}. Pay "
        "the invoice to start new work; what was authorized can still be captured.",
        stopped_at=stopped_at.isoformat(),
        options=[pay, {"do": "change-payment-method"}],
    )


def cap_reached(state: CapState, credits_micro: int) -> CapReached:
    """Return a cap's refusal of work that needs more than it has left.

    Its option names the portal's page where whoever was stopped can ask for more.
    """
    cap = state.cap
    whose = "the organization" if cap.scope == "organization" else f"{cap.scope} {cap.target}"
    of = f", for {cap.action} alone," if cap.action else ""
    return CapReached(
        f"The cap of {format_micro(state.limit_micro)} credits for {whose}{of} has "
        f"{format_micro(state.remaining_micro)} left and this needs {format_micro(credits_micro)}. "
        f"It resets at {state.window.end.isoformat()}.",
        limit={
            "scope": cap.scope,
            "target": cap.target or None,
            "action": cap.action or None,
            "window": cap.window,
            "limit": format_micro(state.limit_micro),
            "spent": format_micro(state.spent_micro),
            "held": format_micro(state.held_micro),
            "remaining": format_micro(state.remaining_micro),
            "resets_at": state.window.end.isoformat(),
        },
        options=[
            {"do": "raise-cap", "cap": cap.cap_id, "page": f"/limit/{cap.cap_id}"},
            {"do": "wait", "until": state.window.end.isoformat()},
        ],
    )


def insufficient(
    organization_id: str,
    credits_micro: int,
    *,
    available_micro: int,
    held_micro: int,
    overage_room_micro: int | None,
    sells_overage: bool,
    resets_at: datetime | None,
) -> InsufficientCredits:
    """Return the refusal of work that the balance does not cover.

    ``overage_room_micro`` is what the organization's own limit still allows beyond its credits;
    None where it does not go on when they run out. Only where the plan ``sells_overage`` would
    allowing it help.
    """
    left = available_micro + (overage_room_micro or 0)
    beyond = (
        ""
        if overage_room_micro is None
        else f", {format_micro(overage_room_micro)} of them beyond the plan"
    )
    options = [{"do": "buy-credits"}, {"do": "change-tier"}]
    advice = "Buy credits, or change to a larger plan."
    if overage_room_micro is not None:
        options.append({"do": "raise-overage-limit"})
        advice = "Buy credits, change to a larger plan, or raise the limit of what goes beyond it."
    elif sells_overage:
        options.append({"do": "allow-overage"})
    return InsufficientCredits(
        f"This needs {format_micro(credits_micro)} credits and {format_micro(left)} are left"
        f"{beyond}. {advice}",
        limit={
            "scope": "organization",
            "target": organization_id,
            "window": "balance",
            "limit": format_micro(left + held_micro),
            "spent": "0",
            "held": format_micro(held_micro),
            "remaining": format_micro(left),
            "resets_at": resets_at.isoformat() if resets_at else None,
        },
        options=options,
    )
