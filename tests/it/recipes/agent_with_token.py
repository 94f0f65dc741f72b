"""An agent that acts for the person whose message it is working on.

It reads the `Portero-Identity` of that message from its standard input. It never sees a password,
a code or the number of anybody else: what it may do is what that person may do.
"""

import json
import os
import sys
import urllib.request


def call(url, bearer, body=None):
    """The JSON that a POST of this body answers, or a GET without one."""
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


identity = sys.stdin.read().strip()
asked = {"identity": identity, "service": "erp"}
token = call(f"{os.environ['PORTERO_URL']}/v1/tokens", os.environ["PORTERO_API_KEY"], asked)
if "need" in token:
    print(token["say"])  # what to say to the person: they have to sign in first
else:
    print(json.dumps(call(f"{os.environ['ERP_URL']}/orders", token["token"])))
