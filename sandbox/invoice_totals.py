"""What an invoice's lines add up to: discounts off, tax on, and the customer's balance."""

from __future__ import annotations

from sandbox import discounts, tax
from sandbox.store import Object, Store


def add_up(store: Store, invoice: Object, lines: list[Object]) -> None:
    """Set an invoice's amounts from its lines; a draft takes the balance as it is now."""
    customer = store.get("customer", invoice["customer"])
    subtotal = sum(line["amount"] for line in lines)
    off = _take_off(store, invoice, lines)
    inclusive, exclusive = _put_tax(store, invoice, lines, customer)
    total = subtotal - off + exclusive
    if invoice["status"] == "draft":
        invoice["starting_balance"] = customer["balance"]
    due = max(0, total + invoice["starting_balance"])
    invoice.update(
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal - inclusive,
        total=total,
        total_excluding_tax=total - exclusive - inclusive,
        amount_due=due,
        amount_remaining=due - invoice["amount_paid"],
    )


def _take_off(store: Store, invoice: Object, lines: list[Object]) -> int:
    for line in lines:
        line["discount_amounts"] = []
    sums = []
    for discount in invoice["discounts"]:
        amounts = [net_of(line) if line["discountable"] else 0 for line in lines]
        parts = discounts.taken_off(amounts, discounts.terms(store, discount))
        for line, part in zip(lines, parts, strict=True):
            line["discount_amounts"].append({"amount": part, "discount": discount})
        sums.append({"amount": sum(parts), "discount": discount})
    invoice["total_discount_amounts"] = sums
    return sum(one["amount"] for one in sums)


def net_of(line: Object) -> int:
    """Return what a line comes to after its discounts, before tax on top."""
    amount: int = line["amount"] - sum(one["amount"] for one in line["discount_amounts"])
    return amount


def _put_tax(
    store: Store, invoice: Object, lines: list[Object], customer: Object
) -> tuple[int, int]:
    """Put tax on the lines where it is automatic; return what is within and what comes on top."""
    if not invoice["automatic_tax"]["enabled"]:
        return 0, 0
    invoice["automatic_tax"]["status"] = tax.status(customer["address"])
    rate = tax.percent(customer["address"], customer["tax_exempt"])
    for line in lines:
        net, inclusive = net_of(line), _includes_tax(store, line)
        amount = tax.of_amount(net, rate, inclusive=inclusive)
        line["taxes"] = [tax.entry(net, amount, rate, inclusive=inclusive)]
    invoice["total_taxes"] = tax.summed([line["taxes"][0] for line in lines])
    by_behavior = {one["tax_behavior"]: one["amount"] for one in invoice["total_taxes"]}
    return by_behavior.get("inclusive", 0), by_behavior.get("exclusive", 0)


def _includes_tax(store: Store, line: Object) -> bool:
    details = line["pricing"]["price_details"]
    return bool(details) and store.get("price", details["price"])["tax_behavior"] == "inclusive"
