"""Reads and writes a Stripe-shaped server with Stripe's own SDK: what it reads is what a customer's code would read.

    python stripe_sdk.py BASE_URL [--key sk_test_...]

One JSON command a line on standard input, one JSON answer a line on standard output, until the input ends:

    {"cmd": "list", "collection": "customer", "params": {"limit": 100}}      every object, pages followed
    {"cmd": "retrieve", "collection": "customer", "id": "cus_1"}
    {"cmd": "create", "collection": "customer", "params": {"name": "Ada"}, "options": {"idempotency_key": "k"}}
    {"cmd": "update", "collection": "customer", "id": "cus_1", "params": {"name": "Grace"}}
    {"cmd": "delete", "collection": "customer", "id": "cus_1"}               a subscription is cancelled
    {"cmd": "raw", "method": "post", "path": "/v1/invoices/in_1/pay"}        status, headers and body
    {"cmd": "verify", "payload": "{...}", "header": "t=1,v1=...", "secret": "whsec_1"}   a webhook's signature
    {"cmd": "seed", "n": 100}                                                ids created, by collection

A collection is named as its objects name themselves. The answer is {"ok": ...} or
{"error": {"type", "status", "code", "message"}}, where `type` is the SDK's exception. Nothing is retried.
"""

import argparse
import json
import sys
from functools import reduce

import stripe

from stripe_seed import seed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("--key", default="sk_test_headrace")
    arguments = parser.parse_args()

    client = stripe.StripeClient(
        arguments.key,
        base_addresses={"api": arguments.base_url},
        max_network_retries=0,
    )
    for line in sys.stdin:
        print(json.dumps(answer(client, line)), flush=True)


def answer(client, line):
    try:
        command = json.loads(line)
        return {"ok": COMMANDS[command["cmd"]](client, command)}
    except stripe.StripeError as error:
        return {"error": describe(error, error.user_message, error.http_status, error.code)}
    except Exception as error:  # The caller is another process: it must see what went wrong, whatever it was.
        return {"error": describe(error, str(error))}


def describe(error, message, status=None, code=None):
    return {"type": type(error).__name__, "status": status, "code": code, "message": message}


def service(client, command):
    *groups, name = command["collection"].split(".")
    plural = {"invoiceitem": "invoice_items"}.get(name, name + "s")
    return reduce(getattr, [*groups, plural], client.v1)


def params(command):
    return command.get("params", {})


def options(command):
    return command.get("options", {})


def plain(stripe_object):
    return stripe_object.to_dict(for_json=True)


def do_list(client, command):
    first_page = service(client, command).list(params(command), options(command))
    return [plain(item) for item in first_page.auto_paging_iter()]


def do_retrieve(client, command):
    return plain(service(client, command).retrieve(command["id"], params(command), options(command)))


def do_create(client, command):
    return plain(service(client, command).create(params(command), options(command)))


def do_update(client, command):
    return plain(service(client, command).update(command["id"], params(command), options(command)))


def do_delete(client, command):
    verb = "cancel" if command["collection"] == "subscription" else "delete"
    return plain(getattr(service(client, command), verb)(command["id"], params(command), options(command)))


def do_raw(client, command):
    response = client.raw_request(command["method"], command["path"], **params(command), **options(command))
    return {"status": response.code, "headers": dict(response.headers), "body": response.data}


def do_verify(client, command):
    event = client.construct_event(command["payload"], command["header"], command["secret"])
    return plain(event)


def do_seed(client, command):
    return seed(client, command["n"])


COMMANDS = {
    "list": do_list,
    "retrieve": do_retrieve,
    "create": do_create,
    "update": do_update,
    "delete": do_delete,
    "raw": do_raw,
    "verify": do_verify,
    "seed": do_seed,
}


if __name__ == "__main__":
    main()
