"""What schemathesis cannot make up: identities and names of people who are really there.

What it makes well-formed is taken in their place; what it makes malformed stays so. Whoever is
signed out on the way is Bruno, so that there are tokens for Ana until the end."""

import itertools
import os
import re

import schemathesis

PEOPLE = {
    name: (os.environ[f"PORTERO_{name}"], os.environ[f"PORTERO_{name}_IDENTITY"])
    for name in ("ANA", "BRUNO")
}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
MARK = re.compile(r"[!-~]{1,128}")
number = itertools.count()
SERVICE = re.compile(r"[a-z0-9_-]{1,40}")


def person(context):
    return PEOPLE["BRUNO" if context.operation.method.lower() == "delete" else "ANA"]


def put(values, name, form, value):
    known = isinstance(values, dict) and isinstance(values.get(name), str)
    if known and form.fullmatch(values[name]):
        values[name] = value


@schemathesis.hook
def map_body(context, body):
    uuid, identity = person(context)
    put(body, "identity", TOKEN, identity)
    put(body, "contact", UUID, uuid)
    put(body, "service", SERVICE, "kutamma")
    return body


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    put(path_parameters, "userUuid", UUID, person(context)[0])
    return path_parameters


@schemathesis.hook
def map_headers(context, headers):
    # A mark belongs to one request; that it does is tested elsewhere.
    put(headers, "Idempotency-Key", MARK, f"mark-{next(number)}")
    put(headers, "Portero-Identity", TOKEN, person(context)[1])
    return headers
