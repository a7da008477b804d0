"""Products and prices: what may be bought, and for how much."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sandbox import shapes
from sandbox.api import Route, retrieve
from sandbox.errors import ApiError, parameter_invalid, parameter_missing
from sandbox.lists import matching, page
from sandbox.parameters import (
    Kind,
    asked,
    boolean,
    choice,
    clearable,
    currency,
    decimal_text,
    each,
    integer,
    listed,
    merged,
    metadata,
    record,
    text,
    web_address,
)
from sandbox.store import Object, Store, new_id

TAX_BEHAVIOR = choice("exclusive", "inclusive", "unspecified")
_RECURRING = record(
    {
        "interval": choice("day", "week", "month", "year"),
        "interval_count": integer(1, 1095),
        "meter": text,
        "trial_period_days": integer(1),
        "usage_type": choice("licensed", "metered"),
    },
    required=["interval"],
)
_PRODUCT_FIELDS: dict[str, Kind] = {
    "active": boolean,
    "images": each(text, 8),
    "marketing_features": each(record({"name": text}, ["name"]), 15),
    "metadata": metadata,
    "name": text,
    "shippable": boolean,
    "statement_descriptor": text,
}
_PRODUCT_TEXTS: dict[str, Kind] = {
    "description": text,
    "tax_code": text,
    "unit_label": text,
    "url": web_address,
}
_AMOUNT_FIELDS: dict[str, Kind] = {
    "currency": currency,
    "recurring": _RECURRING,
    "tax_behavior": TAX_BEHAVIOR,
    "unit_amount": integer(),
    "unit_amount_decimal": decimal_text,
}
_PRICE_FIELDS: dict[str, Kind] = {
    "active": boolean,
    "lookup_key": text,
    "metadata": metadata,
    "nickname": text,
    "transfer_lookup_key": boolean,
}
_PRODUCT_DATA = record(
    {
        "active": boolean,
        "description": text,
        "id": text,
        "images": each(text, 8),
        "metadata": metadata,
        "name": text,
        "statement_descriptor": text,
        "tax_code": text,
        "unit_label": text,
    },
    required=["name"],
)
PRICE_DATA = record(
    {**_AMOUNT_FIELDS, "product": text, "product_data": _PRODUCT_DATA}, required=["currency"]
)


def create_product(store: Store, params: Object) -> Object:
    """Make a product, and its default price where one was given with it."""
    price = params.pop("default_price_data", None)
    if price:
        _check_amount(price, "default_price_data")
    identifier = params.pop("id", None) or new_id("prod_", 14)
    if store.has("product", identifier):
        raise parameter_invalid("id", "Product already exists.", "resource_already_exists")
    params["metadata"] = merged({}, params.get("metadata", {}))
    product = shapes.new(
        "product", id=identifier, created=store.now(), updated=store.now(), **params
    )
    store.add("product", product)
    store.emit("product.created", product)
    if price:
        made = create_price(store, {**price, "product": identifier})
        store.change("product.updated", product, {"default_price": made["id"]})
    return product


def update_product(store: Store, params: Object, identifier: str) -> Object:
    """Change a product."""
    product = store.get("product", identifier)
    if "default_price" in params:
        store.get("price", params["default_price"], "default_price")
    if "metadata" in params:
        params["metadata"] = merged(product["metadata"], params["metadata"])
    return store.change("product.updated", product, {**params, "updated": store.now()})


def list_products(store: Store, params: Object) -> Object:
    """List products by whether they are on sale, by id and by age."""
    found = matching(store.newest_first("product"), params, ["active", "shippable", "url"])
    if "ids" in params:
        found = [product for product in found if product["id"] in params["ids"]]
    return page("/v1/products", found, params)


def create_price(store: Store, params: Object) -> Object:
    """Make a price, for a product there is or one made with it."""
    _check_amount(params, "")
    transfer = params.pop("transfer_lookup_key", False)
    _check_lookup_key(store, params, transfer=transfer)
    product = params.pop("product", None)
    product_data = params.pop("product_data", None)
    if product_data:
        product = create_product(store, product_data)["id"]
    elif product is None:
        raise parameter_missing("product")
    else:
        store.get("product", product, "product")
    price = shapes.new("price", id=new_id("price_1"), created=store.now(), product=product)
    price.update(_amount(params))
    _free_lookup_key(store, params.get("lookup_key"))
    params["metadata"] = merged({}, params.get("metadata", {}))
    price.update({key: value for key, value in params.items() if key in price and key not in _SET})
    store.add("price", price)
    store.emit("price.created", price)
    return price


_SET = ("unit_amount", "unit_amount_decimal", "recurring")  # what _amount decides


def _check_amount(params: Object, within: str) -> None:
    given = [key for key in ("unit_amount", "unit_amount_decimal") if key in params]
    if len(given) != 1:
        name = f"{within}[unit_amount]" if within else "unit_amount"
        if not given:
            raise parameter_missing(name)
        raise parameter_invalid(name, "Give one of unit_amount and unit_amount_decimal, not both.")


def _amount(params: Object) -> Object:
    whole, decimal = params.get("unit_amount"), params.get("unit_amount_decimal")
    if decimal is not None:
        decimal = f"{Decimal(decimal).normalize():f}"
        whole = None if "." in decimal else int(decimal)
    recurring = params.get("recurring")
    return {
        "unit_amount": whole,
        "unit_amount_decimal": decimal or str(whole),
        "type": "recurring" if recurring else "one_time",
        "recurring": {
            "interval_count": 1,
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
            **recurring,
        }
        if recurring
        else None,
    }


def _holder(store: Store, lookup_key: str | None) -> Object | None:
    if lookup_key is None:
        return None
    prices = store.newest_first("price")
    return next((price for price in prices if price["lookup_key"] == lookup_key), None)


def _check_lookup_key(
    store: Store, params: Object, *, transfer: bool, own: str | None = None
) -> None:
    holder = _holder(store, params.get("lookup_key"))
    if holder and holder["id"] != own and not transfer:
        raise parameter_invalid(
            "lookup_key", f"A price (`{holder['id']}`) already uses that lookup key."
        )


def _free_lookup_key(store: Store, lookup_key: str | None) -> None:
    holder = _holder(store, lookup_key)
    if holder:
        store.change("price.updated", holder, {"lookup_key": None})


def update_price(store: Store, params: Object, identifier: str) -> Object:
    """Change what may change in a price; the amount may not."""
    price = store.get("price", identifier)
    transfer = params.pop("transfer_lookup_key", False)
    _check_lookup_key(store, params, transfer=transfer, own=identifier)
    if params.get("lookup_key") != price["lookup_key"]:
        _free_lookup_key(store, params.get("lookup_key"))
    if "metadata" in params:
        params["metadata"] = merged(price["metadata"], params["metadata"])
    return store.change("price.updated", price, params)


def list_prices(store: Store, params: Object) -> Object:
    """List prices by product, lookup keys and more."""
    fields = ["active", "currency", "product", "type"]
    found = matching(store.newest_first("price"), params, fields)
    if "lookup_keys" in params:
        found = [price for price in found if price["lookup_key"] in params["lookup_keys"]]
    for key, value in params.get("recurring", {}).items():
        found = [price for price in found if (price["recurring"] or {}).get(key) == value]
    return page("/v1/prices", found, params)


def priced(store: Store, line: dict[str, Any], name: str) -> Object:
    """Return the price a line asks for: one there is, or one made for this line alone."""
    if ("price" in line) == ("price_data" in line):
        raise ApiError(
            f"Give exactly one of {name}[price] and {name}[price_data].", param=f"{name}[price]"
        )
    if "price" in line:
        price = store.get("price", line["price"], f"{name}[price]")
        if not price["active"]:
            message = f"The price specified is inactive. {name} takes only active prices."
            raise parameter_invalid(f"{name}[price]", message, "price_inactive")
        return price
    _check_amount(line["price_data"], f"{name}[price_data]")
    price = create_price(store, dict(line["price_data"]))
    return store.change("price.updated", price, {"active": False})


ROUTES = (
    Route(
        "POST",
        "/v1/products",
        asked(
            {
                **_PRODUCT_FIELDS,
                **_PRODUCT_TEXTS,
                "id": text,
                "type": choice("good", "service"),
                "default_price_data": record(
                    {**_AMOUNT_FIELDS, "metadata": metadata}, required=["currency"]
                ),
            },
            required=["name"],
        ),
        create_product,
    ),
    retrieve("product", "/v1/products"),
    Route(
        "POST",
        "/v1/products/<identifier>",
        asked(
            {
                **_PRODUCT_FIELDS,
                **{name: clearable(kind) for name, kind in _PRODUCT_TEXTS.items()},
                "default_price": text,
            }
        ),
        update_product,
    ),
    Route(
        "GET",
        "/v1/products",
        listed({"active": boolean, "ids": each(text), "shippable": boolean, "url": text}),
        list_products,
    ),
    Route(
        "POST",
        "/v1/prices",
        asked(
            {
                **_AMOUNT_FIELDS,
                **_PRICE_FIELDS,
                "billing_scheme": choice("per_unit"),
                "product": text,
                "product_data": _PRODUCT_DATA,
            },
            required=["currency"],
        ),
        create_price,
    ),
    retrieve("price", "/v1/prices"),
    Route(
        "POST",
        "/v1/prices/<identifier>",
        asked(
            {**_PRICE_FIELDS, "nickname": clearable(text), "tax_behavior": TAX_BEHAVIOR},
        ),
        update_price,
    ),
    Route(
        "GET",
        "/v1/prices",
        listed(
            {
                "active": boolean,
                "currency": currency,
                "lookup_keys": each(text, 10),
                "product": text,
                "recurring": record({"interval": text, "meter": text, "usage_type": text}),
                "type": choice("one_time", "recurring"),
            }
        ),
        list_prices,
    ),
)
