"""A bot with pywa that repeats what people write. It knows nothing of Portero."""

import os

from flask import Flask
from pywa import WhatsApp, filters, types

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
    message.reply(f"You wrote: {message.text}")


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "9000")))
