"""An SMTP server that accepts, refuses and misbehaves on request.

Called with one JSON object; prints one JSON object a line: first {"event": "ready", …}, then
what happens, in order. Ends when its standard input does.

    security  "starttls", "tls" or "plain" (which offers no STARTTLS)
    names     the names in the certificate; default localhost and 127.0.0.1
    expired   true for a certificate of the past
    user, password   what AUTH accepts; without them AUTH is neither needed nor accepted
    replies   {"RCPT": ["451 4.7.1 later"], …}: said once each, in order, before the server
              behaves; commands AUTH, MAIL, RCPT, QUIT, DATA (after the final dot); the reply
              "drop" cuts the connection instead, "silence" is none (not to DATA), and null
              behaves this once
    mood      a file: while it is there, {"RCPT": "451 4.7.1 later", …} in it are said each time
"""

import asyncio
import base64
import datetime
import email
import email.policy
import json
import logging
import pathlib
import ssl
import sys
import warnings

import trustme
from aiosmtpd.smtp import MISSING, SMTP, AuthResult, TLSSetupException, syntax

# Allowing AUTH without TLS is the point of some tests.
warnings.simplefilter("ignore")
logging.getLogger("mail.log").setLevel(logging.CRITICAL)

WISHES = json.loads(sys.argv[1])
REPLIES = {command: list(replies) for command, replies in WISHES.get("replies", {}).items()}


def wished_reply(command):
    """What is to be said instead of the usual, if anything."""
    if queue := REPLIES.get(command):
        return queue.pop(0)
    try:
        return json.loads(pathlib.Path(WISHES["mood"]).read_text()).get(command)
    except (KeyError, FileNotFoundError):
        return None


def tell(**event):
    print(json.dumps(event), flush=True)


def certificate():
    """The TLS context and the PEM of the authority that signed its certificate."""
    authority = trustme.CA()
    names = WISHES.get("names", ["localhost", "127.0.0.1"])
    lifetime = {}
    if WISHES.get("expired"):
        lifetime["not_before"] = datetime.datetime(2020, 1, 1)
        lifetime["not_after"] = datetime.datetime(2020, 2, 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **lifetime).configure_cert(context)
    return context, authority.cert_pem.bytes().decode()


class Server(SMTP):
    """aiosmtpd with the wished-for replies in front."""

    async def wished(self, command):
        reply = wished_reply(command)
        if reply is None:
            return False
        if reply == "drop":
            tell(event="dropped", command=command)
            self.transport.abort()
        elif reply != "silence":
            await self.push(reply)
        return True

    def connection_made(self, transport):
        super().connection_made(transport)
        tell(event="connection")

    @syntax("AUTH <mechanism>")
    async def smtp_AUTH(self, arg):
        if not await self.wished("AUTH"):
            await super().smtp_AUTH(arg)

    async def smtp_MAIL(self, arg):
        if not await self.wished("MAIL"):
            await super().smtp_MAIL(arg)

    async def smtp_QUIT(self, arg):
        tell(event="quit")
        if not await self.wished("QUIT"):
            await super().smtp_QUIT(arg)

    async def smtp_RCPT(self, arg):
        tell(event="rcpt", argument=arg)
        if not await self.wished("RCPT"):
            await super().smtp_RCPT(arg)


class Handler:
    async def handle_exception(self, error):
        # A client that refuses the certificate is what some tests want to see.
        if not isinstance(error, TLSSetupException):
            sys.stderr.write(f"smtp_sink.py: {error!r}\n")
        return "500 the sink failed"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        told = {
            "event": "mail",
            "encrypted": server.transport.get_extra_info("cipher") is not None,
            "authenticated": bool(session.authenticated),
            "hello": session.host_name,
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": [[name, str(value)] for name, value in mail.items()],
            "defects": [type(defect).__name__ for defect in mail.defects],
            "parts": [
                {
                    "type": part.get_content_type(),
                    "encoding": part["Content-Transfer-Encoding"],
                    "headers": part.keys(),
                    "text": part.get_content(),
                }
                for part in mail.walk()
                if not part.is_multipart()
            ],
            "raw": base64.b64encode(envelope.content).decode(),
        }
        reply = wished_reply("DATA")
        if reply is None:
            tell(**told)
            return "250 2.0.0 taken"
        if reply != "drop":
            return reply
        tell(**told)
        tell(event="dropped", command="DATA")
        server.transport.abort()
        return MISSING


def authenticate(server, session, envelope, mechanism, data):
    good = (
        data.login.decode() == WISHES["user"] and data.password.decode() == WISHES["password"]
    )
    tell(event="auth", accepted=good, encrypted=session.ssl is not None or SECURITY == "tls")
    return AuthResult(success=good, handled=False)


SECURITY = WISHES.get("security", "starttls")


async def main():
    context, authority = certificate()
    options = {"hostname": "sink.example"}
    if "user" in WISHES:
        options["authenticator"] = authenticate
        options["auth_required"] = SECURITY != "plain"
        options["auth_require_tls"] = SECURITY == "starttls"
    if SECURITY == "starttls":
        options["tls_context"] = context
        options["require_starttls"] = True
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Server(Handler(), loop=loop, **options),
        "127.0.0.1",
        0,
        ssl=context if SECURITY == "tls" else None,
    )
    tell(event="ready", port=server.sockets[0].getsockname()[1], ca_pem=authority)
    await loop.run_in_executor(None, sys.stdin.read)
    sys.exit(0)


asyncio.run(main())
