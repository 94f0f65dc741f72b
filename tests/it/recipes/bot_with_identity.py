"""A bot that wants to know one thing: who is writing. It answers nobody."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

PORTERO = os.environ["PORTERO_URL"]
KEYS = jwt.PyJWKClient(f"{PORTERO}/.well-known/jwks.json")


def who_is(identity):
    """The claims of a `Portero-Identity`; raises what PyJWT raises."""
    verified = jwt.decode_complete(
        identity,
        KEYS.get_signing_key_from_jwt(identity),
        algorithms=["EdDSA"],
        audience="bot",
        issuer=PORTERO,
        leeway=60,  # seconds that two clocks may differ
        options={"require": ["exp", "jti", "sub"]},
    )
    if verified["header"]["typ"] != "portero-identity+jwt":
        raise jwt.InvalidTokenError("signed by Portero, but not an identity")
    return verified["payload"]


def messages_in(body):
    """What people wrote in a webhook of Meta, if it is one; at most one message."""
    return json.loads(body)["entry"][0]["changes"][0]["value"].get("messages", [])


class Bot(BaseHTTPRequestHandler):
    def do_POST(self):
        try:
            length = int(self.headers.get("Content-Length", "0"))
            ids = [one["id"] for one in messages_in(self.rfile.read(length))]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return self.answer(400)
        identity = self.headers.get("Portero-Identity")
        if not ids or identity is None:  # a group, or news that nobody wrote
            return self.answer(200)
        try:
            person = who_is(identity)
        except jwt.PyJWKClientConnectionError:
            return self.answer(503)  # Portero tries again
        except jwt.PyJWTError:
            return self.answer(401)
        if person["jti"] not in ids:
            return self.answer(401)  # true, but it came with another message
        accounts = [f"{one['account']['id']} in {one['service']}" for one in person["bindings"]]
        print(person["sub"], "is", ", ".join(accounts) or "nobody we know", flush=True)
        self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "9000"))
    ThreadingHTTPServer(("127.0.0.1", port), Bot).serve_forever()
