"""A TLS server whose responses are odd, each under a path of its own. It asks for client certificates and accepts clients without
one. Prints its port."""

import socket
import ssl
import sys
import threading
import time

certificate, key, authority = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.load_verify_locations(authority)
context.verify_mode = ssl.CERT_OPTIONAL

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b"Content-Length: 3\r\n\r\nok\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
RESPONSES = {
    "plain": OK + BODY,
    "fold": OK + b"X-A: one\r\n two\r\n" + BODY,
    "space-before-colon": OK + b"X-A : one\r\n" + BODY,
    "odd-name": OK + b"X(A): one\r\n" + BODY,
    "empty-name": OK + b": one\r\n" + BODY,
    "no-colon": OK + b"Garbage line\r\n" + BODY,
    "many-headers": OK + b"".join(b"X-%d: y\r\n" % number for number in range(400)) + BODY,
    "http2-status-line": b"HTTP/2 200 OK\r\n" + BODY,
    "http2-after-103": b"HTTP/2 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/2 200 OK\r\n" + BODY,
    "line-feeds": b"HTTP/1.1 200 OK\nContent-Length: 3\n\nok\n",
    "chunks-with-line-feeds": CHUNKED + b"3\nok\n\n0\n\n",
    "chunks-with-extensions": CHUNKED + b"3;a=b\r\nok\n\r\n0\r\nTrailer: x\r\n\r\n",
    "no-reason": b"HTTP/1.1 200\r\n" + BODY,
    "latin1": OK + "X-Name: M\u00fcller\r\n".encode("latin-1") + BODY,
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: /redirect\r\n" + BODY,
    "no-http": b"<html>plain</html>\n",
    "binary": OK + b"Content-Length: 11\r\n\r\nhead\0\xff\xfe\x9b2J\n",
    "escapes": OK + b"X-Title: \x9b31m\xe2\x80\xae\xef\xbe\xa0\r\nContent-Length: 41\r\n\r\n"
    + b"\x1b]0;owned\x07\x1b[31mred\r\n\xc2\x9b2J\xe2\x80\xae\xef\xbe\xa0next\rline\n\n",
}




def repeat(begin, again, pause=0.0):
    """Sends `begin` once, and then `again` forever."""

    def send(secured):
        secured.sendall(begin)
        while True:
            secured.sendall(again)
            time.sleep(pause)

    return send


ENDLESS = {
    "silent": repeat(b"", b"", 1),
    "drip-head": repeat(OK + b"X-A: ", b"x", 0.2),
    "drip-1xx": repeat(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.2),
    "endless-headers": repeat(OK, b"X-A: " + b"x" * 1000 + b"\r\n"),
    "endless-header": repeat(OK + b"X-A: ", b"x" * 1000),
    "endless-1xx": repeat(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100),
    # The size of a chunk, and what may follow it and the last one (RFC 9112 section 7.1)
    "endless-size": repeat(CHUNKED, b"0" * 1000),
    "endless-extension": repeat(CHUNKED + b"1;", b"x" * 1000),
    "endless-trailers": repeat(CHUNKED + b"0\r\n", b"X-A: " + b"x" * 1000 + b"\r\n"),
    "silent-body": repeat(OK + BODY.replace(b"3", b"9"), b"", 1),
    "drip-body": repeat(OK + BODY.replace(b"3", b"999999"), b"x", 0.2),
    "drip-page": repeat(b"HTTP/1.1 403 Forbidden\r\n" + BODY.replace(b"3", b"999999"), b"x", 0.2),
    "steady": repeat(OK + BODY.replace(b"3", b"999999"), b"x" * 1000, 0.01),
}


def serve(connection):
    try:
        secured = context.wrap_socket(connection, server_side=True)
        head = b""
        while b"\r\n\r\n" not in head:
            head += secured.recv(4096) or b"\r\n\r\n"
        path = head.split(b" ")[1].decode().lstrip("/")
        if path in ENDLESS:
            ENDLESS[path](secured)
        secured.sendall(RESPONSES[path])
        secured.unwrap()
    except (OSError, ssl.SSLError):
        pass


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
