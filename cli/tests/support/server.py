"""A TLS server that tells what clients sent to it: one JSON line on stdout for every handshake,
whether it succeeded or not, and for every request. Asked to CONNECT it is a proxy. It never names
authorities in its certificate request, for Python's ssl module has no way to."""

import argparse
import hashlib
import json
import select
import socket
import ssl
import threading
import urllib.parse

PENDING = threading.Condition()
unfinished = 0
output = threading.Lock()


def say(**event):
    with output:
        print(json.dumps(event, separators=(",", ":")), flush=True)


def finished(by):
    global unfinished
    with PENDING:
        unfinished += by
        PENDING.notify_all()


def chain_of(secured):
    """Every certificate as it came; Python has this only inside before 3.13. A resumed session has kept the first."""
    leaf = secured.getpeercert(binary_form=True)
    if leaf is None:
        return []
    chain = secured._sslobj.get_unverified_chain()
    ders = [each.public_bytes(ssl._ssl.ENCODING_DER) for each in chain] if chain else [leaf]
    return [hashlib.sha256(der).hexdigest() for der in ders]


def subject_of(secured):
    names = (secured.getpeercert() or {}).get("subject", ())
    return ",".join("=".join(pair) for name in names for pair in name)


def described(secured):
    return {
        "tls": secured.version().removeprefix("TLSv"),
        "resumed": secured.session_reused,
        "chain": chain_of(secured),
        "subject": subject_of(secured),
    }


def barrier(connection):
    """A connection that starts with 'B' asks for everything before it to be written down."""
    mark = connection.recv(32)[1:].decode()
    with PENDING:
        PENDING.wait_for(lambda: unfinished == 0, timeout=3)
    say(event="barrier", mark=mark)


def read_request(stream):
    first = stream.readline().decode("latin-1").split()
    headers = {}
    while (line := stream.readline().strip()):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    stream.read(int(headers.get("content-length", 0)))
    return first, headers


def tunnel(secured, to):
    """Carries bytes to and from there, as a proxy does (RFC 9110 section 9.3.6), until one side ends."""
    host, _, port = to.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=20) as there:
        secured.settimeout(20)
        secured.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        other = {secured: there, there: secured}
        while True:
            waiting = [secured] if secured.pending() else select.select(list(other), [], [], 20)[0]
            for side in waiting:
                data = side.recv(16384)
                if not data:
                    return
                other[side].sendall(data)
            if not waiting:
                return


def answer(secured):
    stream = secured.makefile("rwb")
    first, headers = read_request(stream)
    if len(first) < 2:
        return
    seen = described(secured) | {"proto": first[2], "method": first[0], "path": first[1], "host": headers.get("host")}
    say(event="request", **seen)
    if first[0] == "CONNECT":
        return tunnel(secured, first[1])
    url = urllib.parse.urlsplit(first[1])
    to = urllib.parse.parse_qs(url.query).get("to", [""])[0]
    body = json.dumps(seen).encode()
    status = f"302 Found\r\nLocation: {to}" if url.path == "/redirect" else "200 OK"
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    stream.write(head.encode() + body)
    stream.flush()
    secured.unwrap()


def receive(connection, context):
    try:
        if connection.recv(1, socket.MSG_PEEK) == b"B":
            finished(-1)
            return barrier(connection)
        secured = context.wrap_socket(connection, server_side=True)
    except OSError as error:
        say(event="handshake", complete=False, error=str(error), tls="", resumed=False, chain=[], subject="")
        return finished(-1)
    say(event="handshake", complete=True, error="", **described(secured))
    finished(-1)
    try:
        answer(secured)
    except OSError:
        pass  # the client hung up; what it sent is written down already
    finally:
        secured.close()


def serve(connection, context):
    with connection:
        receive(connection, context)


def context_of(options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    context.set_alpn_protocols(["http/1.1"])
    if options.tls:
        context.minimum_version = context.maximum_version = ssl.TLSVersion["TLSv" + options.tls.replace(".", "_")]
    if options.authorities:
        context.load_verify_locations(options.authorities)
    modes = {"require": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "never": ssl.CERT_NONE}
    context.verify_mode = modes[options.ask]
    return context


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--tls", default="")
    parser.add_argument("--ask", default="require")
    parser.add_argument("--authorities")
    options = parser.parse_args()
    context = context_of(options)
    family = socket.AF_INET6 if ":" in options.listen else socket.AF_INET
    listener = socket.create_server((options.listen, 0), family=family)
    say(event="listening", port=listener.getsockname()[1])
    while True:
        connection, _ = listener.accept()
        finished(+1)
        threading.Thread(target=serve, args=(connection, context), daemon=True).start()


main()
