"""An HTTPS server with a certificate as wished for, which gives one answer to every POST, and a page
to every GET; or, with routes, the answers of a service that exists.

Called with one JSON object; prints one JSON object a line: {"event": "ready", …}, then one for
each request. Ends when its standard input does.

    names     the names in the certificate; default localhost and 127.0.0.1
    expired   true for a certificate of the past
    answer    the JSON to answer with
    routes    by "METHOD /path" without its query: {"needs": headers without which the answer is 401,
              "status": 200 if not given, "answer": JSON; "echo": true adds the request to it};
              anything else is a web server's 404
    moves_to  where the first GET of a path that begins with /send/ is sent on: this is appended
"""

import datetime
import http.server
import json
import ssl
import sys
import threading

import trustme

WISHES = json.loads(sys.argv[1])


def tell(**event):
    print(json.dumps(event), flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def route(self):
        """Answers by the routes, if there are any."""
        if "routes" not in WISHES:
            return False
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        tell(event="call", method=self.command, path=self.path, headers=headers, body=body)
        route = WISHES["routes"].get(f"{self.command} {self.path.split('?')[0]}")
        if route is None:
            status, kind, answer = 404, "text/html", "<h1>404</h1>"
        elif any(headers.get(name) != value for name, value in route.get("needs", {}).items()):
            status, kind, answer = 401, "application/json", '{"message": "who are you?"}'
        else:
            status, kind, answer = route.get("status", 200), "application/json", route["answer"]
            if route.get("echo"):
                sent = {"headers": " ".join(headers.values()), "body": body, "path": self.path}
                answer = {**answer, "you_sent": sent, "list": [*headers.values(), body]}
            answer = json.dumps(answer)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())
        return True

    def do_PUT(self):
        self.route()

    def do_PATCH(self):
        self.route()

    def do_POST(self):
        if self.route():
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        tell(event="request", path=self.path, body=body.decode())
        answer = json.dumps(WISHES["answer"]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self):
        if self.route():
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        tell(event="visit", path=self.path, headers=headers)
        further = WISHES.get("moves_to", "")
        if further and self.path.startswith("/send/") and not self.path.endswith(further):
            self.send_response(302)
            self.send_header("Location", further if "://" in further else self.path + further)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        page = b"<!doctype html><title>chat</title><h1>The chat</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # A client that refuses the certificate is what the tests want to see.


authority = trustme.CA()
lifetime = {}
if WISHES.get("expired"):
    lifetime["not_before"] = datetime.datetime(2020, 1, 1)
    lifetime["not_after"] = datetime.datetime(2020, 2, 1)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
authority.issue_cert(
    *WISHES.get("names", ["localhost", "127.0.0.1"]), **lifetime
).configure_cert(context)
server = Server(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
tell(event="ready", port=server.server_port, ca_pem=authority.cert_pem.bytes().decode())
sys.stdin.read()
