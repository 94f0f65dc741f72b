"""The same bot, and now it knows who is writing and acts for them."""

import os

import httpx
import jwt
from flask import Flask, request
from pywa import WhatsApp, filters, types

PORTERO = os.environ["PORTERO_URL"]
keys = jwt.PyJWKClient(f"{PORTERO}/.well-known/jwks.json")
rules = {"algorithms": ["EdDSA"], "audience": "bot", "issuer": PORTERO, "leeway": 60}
api_key = {"Authorization": f"Bearer {os.environ['PORTERO_API_KEY']}"}
portero = httpx.Client(base_url=PORTERO, headers=api_key)

app = Flask(__name__)
wa = WhatsApp(
    phone_id=os.environ["PHONE_ID"],
    token=os.environ["WHATSAPP_TOKEN"],
    app_secret=os.environ["APP_SECRET"],
    verify_token=os.environ["VERIFY_TOKEN"],
    server=app,
    webhook_endpoint="/webhook",
)


@wa.on_message(filters.text)
def answer(_: WhatsApp, message: types.Message):
    identity = request.headers["Portero-Identity"]
    person = jwt.decode(identity, keys.get_signing_key_from_jwt(identity), **rules)
    token = portero.post("/v1/tokens", json={"identity": identity, "service": "erp"}).json()

    if "token" not in token:
        message.reply(token.get("say", "That does not work at the moment."))
        if "need" in token:  # Portero asks for it, here in the chat
            portero.post("/v1/challenges", json={"identity": identity, "proof": "mail_code"})
        return
    names = {one["service"]: one["account"].get("name") for one in person["bindings"]}
    bearer = {"Authorization": f"Bearer {token['token']}"}
    orders = httpx.get(f"{os.environ['ERP_URL']}/orders", headers=bearer).json()
    message.reply(f"{names.get('erp') or 'Hello'}, you have {len(orders)} orders.")


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "9000")))
