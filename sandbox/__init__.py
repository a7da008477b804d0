"""A small, stateful stand-in for Stripe, for demonstrations and tests. No money moves here.

The real ``stripe`` library talks to it over HTTP. The product never imports it, and it never
imports the product.
"""
