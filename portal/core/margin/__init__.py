"""Margin: revenue recognised less cost. Pure decisions; the figures come from portal/margin."""
