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


class Bot(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        value = body["entry"][0]["changes"][0]["value"]
        for message in value.get("messages", []):  # at most one
            try:
                person = who_is(self.headers.get("Portero-Identity", ""))
            except jwt.PyJWKClientConnectionError:
                return self.answer(503)  # Portero tries again
            except jwt.PyJWTError:
                return self.answer(401)
            if person["jti"] != message["id"]:
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
