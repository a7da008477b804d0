"""The receipt of a charge that no checkout has a page for."""

from __future__ import annotations

from flask import Blueprint, Response

from sandbox.api import Gate
from sandbox.pages import page
from sandbox.store import Cause


def blueprint(gate: Gate) -> Blueprint:
    """Make the page."""
    receipts = Blueprint("receipts", __name__)
    store = gate.store

    @receipts.get("/c/receipt/<identifier>")
    def show(identifier: str) -> Response:
        with store.acting(Cause(gate.base_url())):
            if not store.has("charge", identifier):
                return page("receipt.html", status=404, charge=None)
            charge = store.get("charge", identifier)
            refunds = [one for one in store.newest_first("refund") if one["charge"] == identifier]
            return page("receipt.html", charge=charge, refunds=refunds[::-1])

    return receipts
