"""The least a Flask view can do about a balance: one guarded UPDATE. What HTTP is compared with."""

from __future__ import annotations

import os
import threading

import psycopg
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

app = Flask(__name__)
_mine = threading.local()


def _connection() -> psycopg.Connection:
    """Return this thread's own connection, so that no pool stands in the way."""
    if not hasattr(_mine, "connection"):
        _mine.connection = psycopg.connect(os.environ["PEER_ADDRESS"], autocommit=True)
    found: psycopg.Connection = _mine.connection
    return found


@app.get("/readyz")
def ready() -> ResponseReturnValue:
    """Answer once the program is up."""
    return jsonify(status="ready")


@app.post("/take")
def take() -> ResponseReturnValue:
    """Take one from the balance, never below zero."""
    row = (
        _connection()
        .execute(
            "UPDATE bench_balance SET balance = balance - 1"
            " WHERE id = 1 AND balance >= 1 RETURNING balance"
        )
        .fetchone()
    )
    return (jsonify(balance=row[0]), 201) if row else (jsonify(error="empty"), 402)
