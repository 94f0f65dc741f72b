"""The way to graph.facebook.com for a bot that must stay unchanged.

An HTTP proxy that answers every CONNECT itself, with a certificate for the name that is asked for,
and takes the calls to a stand-in without TLS. A bot uses it when its environment has HTTPS_PROXY
and SSL_CERT_FILE. The only argument is a JSON object: to (the port of the stand-in). Prints
{"port", "ca_pem"} when it listens, then {"event": "call", "host", "path"} for each call; ends when
its standard input is closed.
"""

import http.client
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme

WISHES = json.loads(sys.argv[1])
AUTHORITY = trustme.CA()
TIMEOUT_SECONDS = 60


def tell(**event):
    print(json.dumps(event), flush=True)


class Tunnel(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rbufsize = 0  # What comes after the head of a CONNECT is for TLS.
    host = None

    def do_CONNECT(self):
        self.host = self.path.rsplit(":", 1)[0]
        self.send_response(200)
        self.end_headers()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        AUTHORITY.issue_cert(self.host).configure_cert(context)
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        tell(event="call", host=self.host, path=self.path)
        stand_in = http.client.HTTPConnection("127.0.0.1", WISHES["to"], TIMEOUT_SECONDS)
        names = ("Authorization", "Content-Type")
        stand_in.request("POST", self.path, body, {name: self.headers[name] for name in names})
        answer = stand_in.getresponse()
        words = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # A bot that goes away is not ours to judge.


server = Server(("127.0.0.1", 0), Tunnel)
threading.Thread(target=server.serve_forever, daemon=True).start()
tell(event="ready", port=server.server_port, ca_pem=AUTHORITY.cert_pem.bytes().decode())
sys.stdin.read()
