# An HTTP server whose responses have the coding and the status that the path names: /gzip, /deflate, /raw, /br, /both, /bomb, /cut, /zstd,
# /404. /refuses is the page of nginx that refuses. /request says what was sent, and /long has a long header. It prints its
# port.
import base64
import gzip
import json
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = b"hello, hello, hello, world\n"
BROTLI = base64.b64decode("HxoA+I2Ubt5ECVKG1gosbG9yEEXkqQRQOFeLAQ==")


def bare(data):
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(data) + coder.flush()


def stored(data):
    # Brotli without compression (RFC 7932 section 9.2): a window of 64 KiB, one block, and an empty last one
    return ((len(data) - 1) << 4 | 1 << 20).to_bytes(3, "little") + data + b"\x03"


BODIES = {
    "/empty": (None, b""),
    "/br-br": ("br, br", stored(BROTLI)),
    "/br-br-tail": ("br, br", stored(BROTLI + b"tail")),
    "/br-br-wrong": ("br, br", stored(b"\xff" * 1000)),
    "/br-tail": ("br", BROTLI + b"tail"),
    "/gzip": ("gzip", gzip.compress(TEXT)),
    "/members": ("gzip", gzip.compress(TEXT) + gzip.compress(TEXT)),
    "/deflate": ("deflate", zlib.compress(TEXT)),
    "/raw": ("deflate", bare(TEXT)),
    "/br": ("br", BROTLI),
    "/both": ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
    "/bomb": ("gzip", gzip.compress(bytes(256 << 20))),
    "/cut": ("gzip", gzip.compress(TEXT)[:-9]),
    "/cut-deflate": ("deflate", zlib.compress(TEXT)[:-6]),
    "/cut-br": ("br", BROTLI[:-3]),
    "/zstd": ("zstd", b"no zstd"),
    "/plain": (None, TEXT),
    "/refuses": ("gzip", gzip.compress(b"<h1>400 Bad Request</h1> No required SSL certificate was sent")),
    "/404": (None, b"not here\n"),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        coding, body = BODIES.get(self.path, (None, b""))
        if self.path == "/bombs":
            # 100 GB
            coding, body = "gzip, gzip", gzip.compress(BODIES["/bomb"][1] * 400)
        if self.path == "/request":
            seen = {"method": self.command, "authorization": self.headers.get("authorization")}
            body = json.dumps(seen | {"accept-encoding": self.headers.get("accept-encoding")}).encode()
        self.send_response_only({"/404": 404, "/refuses": 400}.get(self.path, 200))
        if self.path == "/long":
            self.send_header("X-Long", "x" * 200_000)
        if coding:
            self.send_header("Content-Encoding", coding)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
