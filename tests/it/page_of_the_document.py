"""A sign-in page by somebody who has read the published document and nothing else.

It serves one page, /sign-in/?mappingHash=..., asks for user and password, and then does what the
document says: two calls to the back end, and a redirect to WhatsApp. The only argument is a JSON
object: backend (the address in place of https://backend.optiwe.com), user, password. Prints
{"port"} when it listens and ends when its standard input is closed.
"""

import html
import json
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WISHES = json.loads(sys.argv[1])
TIMEOUT_SECONDS = 60

FORM = """<!doctype html><title>Iniciar sesión</title>
<form method="post"><input type="hidden" name="mappingHash" value="{hash}">
<input name="user"><input name="password" type="password"><button>Entrar</button></form>"""


def call(request):
    """The answer's status and JSON."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def hash_mapping(mapping_hash):
    return call(urllib.request.Request(f"{WISHES['backend']}/hash-mappings/{mapping_hash}/"))


def chat_history(mapping):
    body = {
        "userUuid": mapping["userUuid"],
        "messageFrom": mapping["userType"],
        "messagePayload": {"type": "SIGN_IN", "signInPayload": {"auth": True}},
    }
    headers = {
        "Content-Type": "application/json;charset=UTF-8",
        "Authorization": f"Bearer {mapping['accessToken']}",
    }
    url = f"{WISHES['backend']}/chat/history/"
    return call(urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST"))


class Page(BaseHTTPRequestHandler):
    def answer(self, status, text, **headers):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        mapping_hash = query.get("mappingHash", [""])[0]
        self.answer(200, FORM.format(hash=html.escape(mapping_hash)))

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        form = urllib.parse.parse_qs(self.rfile.read(length).decode())
        mapping_hash = form["mappingHash"][0]
        if (form["user"], form["password"]) != ([WISHES["user"]], [WISHES["password"]]):
            return self.answer(403, "Usuario o contraseña incorrectos")
        status, mapping = hash_mapping(mapping_hash)
        if status == 404:
            return self.answer(404, mapping["error"]["message"])
        if status != 200:
            return self.answer(502, f"hash-mappings: {status}")
        status, _ = chat_history(mapping)
        if status != 200:
            return self.answer(502, f"chat/history: {status}")
        whatsapp = f"https://api.whatsapp.com/send/?phone={mapping['wanumber']}"
        self.answer(302, "", Location=whatsapp)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_port, "ca_pem": ""}), flush=True)
sys.stdin.read()
