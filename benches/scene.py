"""What benches/peers and .ci/instructions measure with: certificates, stores of a given size, and servers on loopback."""

import base64
import json
import os
import re
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
SERVER_CA = FIXTURES / "server/root.pem"
# `import` reads files of up to 16 MiB
IN_ONE_FILE = 20_000


def run(*command, **options):
    """Runs a program that has to succeed. Returns what it writes to stdout."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


class Certificates:
    """PEM files of as many identities as wanted, under ten issuers. openssl makes one certificate of each kind; the others are
    copies of it with another name and serial number. Nothing that is measured verifies their signatures."""

    SERIAL = 0x7100_0000_0000_0000
    ISSUERS = 10

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir()
        for name, subject in [("root", "Root"), ("other", "A000"), ("issuer", "Issuer 000"), ("person", "Person 0000000")]:
            run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={subject}",
                "-keyout", self.file(name, "key"), "-out", self.file(name, "csr"))
        authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\n"
        self.sign("root", "root", authority)
        self.sign("other", "other", authority)
        self.sign("issuer", "root", authority)
        self.sign("person", "issuer", "keyUsage=digitalSignature\nextendedKeyUsage=clientAuth\n")

    def file(self, name, kind):
        return self.directory / f"{name}.{kind}"

    def sign(self, name, issuer, extensions):
        self.file(name, "ext").write_text(extensions)
        signer = ["-signkey", self.file(name, "key")] if name == issuer else ["-CA", self.file(issuer, "pem"), "-CAkey", self.file(issuer, "key")]
        run("openssl", "x509", "-req", "-in", self.file(name, "csr"), *signer, "-set_serial", hex(self.SERIAL), "-days", 3650,
            "-extfile", self.file(name, "ext"), "-out", self.file(name, "pem"))

    def der(self, name):
        lines = self.file(name, "pem").read_text().splitlines()
        return base64.b64decode("".join(line for line in lines if not line.startswith("-")))

    def copy(self, template, number):
        serial = [each.to_bytes(8, "big") for each in (self.SERIAL, self.SERIAL + number)]
        of = template.replace(*serial).replace(b"Person 0000000", b"Person %07d" % number)
        return of.replace(b"Issuer 000", b"Issuer %03d" % (number % self.ISSUERS))

    def identities(self, first, last):
        """PEM with the identities of these numbers, their key, and the certificates above them."""
        person, issuer = self.der("person"), self.der("issuer")
        issuers = [self.copy(issuer, number) for number in range(self.ISSUERS)]
        persons = [self.copy(person, number) for number in range(first, last + 1)]
        return self.file("person", "key").read_text() + armoured([self.der("root"), *issuers, *persons])

    def authorities(self, count):
        """PEM of authorities with short names, and of the root."""
        other = self.der("other")
        return armoured([self.der("root"), *(other.replace(b"A000", b"%04X" % number) for number in range(1, count))])


def armoured(certificates):
    encoded = (base64.encodebytes(each).decode() for each in certificates)
    return "".join(f"-----BEGIN CERTIFICATE-----\n{each}-----END CERTIFICATE-----\n" for each in encoded)


def command(program, store, *arguments):
    """A call of cardcase that asks nobody."""
    return [str(program), "--store", str(store), "--batch", *map(str, arguments)]


def make_store(program, store, certificates, identities=0, decisions=0, rules=0, history=0):
    """Makes a store by the command itself, so that commands of different versions can be compared. Many decisions and history
    entries at once go into the database directly; the decisions are then accepted as the owner's."""
    file = certificates.directory / "many.pem"
    for first in range(1, identities + 1, IN_ONE_FILE):
        file.write_text(certificates.identities(first, min(first + IN_ONE_FILE - 1, identities)))
        run(*command(program, store, "import", file))
    if rules:
        entries = [rule(number) for number in range(rules)]
        file.write_text(json.dumps({"AutoSelectCertificateForUrls": list(map(json.dumps, entries))}))
        run(*command(program, store, "rules", "import", file))
    if not identities:
        run(*command(program, store, "config", "mode", "firefox"))
    with sqlite3.connect(store) as database:
        for sql, rows in [(DECISIONS, decisions), (HISTORY, history)]:
            if rows:
                database.execute(sql, (rows, int(time.time()) - rows))
    database.close()
    if decisions:
        run(*command(program, store, "accept"))


def rule(number):
    """A rule as an administrator writes it: for one application, the certificates of one issuer."""
    return {"pattern": f"https://[*.]application-{number}.example.com", "filter": {"ISSUER": {"CN": f"Issuer {number % 10:03}"}}}


NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)"

# For host-1, host-2 and so on, one identity after another
DECISIONS = f"""{NUMBERS} INSERT INTO decisions (host, identity, decided_at)
    SELECT 'host-' || n || '.example.com', 1 + n % (SELECT max(id) FROM identities), ?2 + n FROM numbers"""

HISTORY = f"""{NUMBERS} INSERT INTO uses (at, host, port, identity, source, outcome, tls_version)
    SELECT ?2 + n, 'host-' || n % 10000 || '.example.com', 443,
        (SELECT fingerprint FROM identities WHERE id = 1 + n % (SELECT max(id) FROM identities)), 'decision', 'accepted', 'TLSv1.3'
    FROM numbers"""


def alice(directory):
    """Alice's certificate with its chain, and her key, as PEM files for other programs."""
    whole = (FIXTURES / "pem/whole.pem").read_text()
    blocks = list(re.finditer(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n", whole, re.S))
    certificate, key = Path(directory) / "alice.pem", Path(directory) / "alice.key"
    certificate.write_text("".join(each.group() for each in blocks if each[1] == "CERTIFICATE"))
    key.write_text("".join(each.group() for each in blocks if each[1] != "CERTIFICATE"))
    key.chmod(0o600)
    return certificate, key


class Nginx:
    """Serves a folder over HTTPS: `port` speaks HTTP/1.1, `port2` HTTP/2 too. Asks for a certificate of the fixtures, and accepts
    uploads, which it discards."""

    ATTEMPTS = 5

    def __init__(self, directory, authorities=SERVER_CA):
        self.directory, self.authorities = Path(directory), authorities
        (self.directory / "www").mkdir(parents=True)
        (self.directory / "www/page.html").write_text("<p>A small page</p>\n" * 10)
        for _ in range(self.ATTEMPTS):
            if self.start():
                return
        raise SystemExit("nginx found no free port")

    def start(self):
        self.port, self.port2 = free_ports(2)
        configuration, log = self.directory / "nginx.conf", self.directory / "log"
        configuration.write_text(self.configuration())
        log.write_text("")
        with log.open("w") as stderr:
            self.process = subprocess.Popen(["nginx", "-p", self.directory, "-c", configuration, "-e", "stderr"], stderr=stderr, stdout=stderr)
        said = wait_for(log, "OS: Linux", self.process)
        if said and "Address already in use" not in said:
            raise SystemExit(f"nginx did not start:\n{said}")
        return not said

    def configuration(self):
        folder = self.directory
        temporary = "".join(f"{kind}_temp_path {folder};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
        user = "user root;" if os.getuid() == 0 else ""
        return f"""
            daemon off; master_process off; {user} pid {folder}/pid; error_log stderr notice;
            events {{ worker_connections 4096; }}
            http {{
                access_log off; {temporary} sendfile on; client_max_body_size 0;
                ssl_certificate {FIXTURES}/server/localhost.pem; ssl_certificate_key {FIXTURES}/server/localhost.key;
                ssl_protocols TLSv1.2 TLSv1.3; ssl_client_certificate {self.authorities}; ssl_verify_client on; ssl_verify_depth 5;
                server {{
                    listen 127.0.0.1:{self.port} ssl; listen 127.0.0.1:{self.port2} ssl http2;
                    root {folder}/www; dav_methods PUT; create_full_put_path on; keepalive_requests 1000000;
                }}
            }}"""

    def url(self, path, http2=False):
        return f"https://127.0.0.1:{self.port2 if http2 else self.port}/{path}"

    def end(self):
        self.process.terminate()
        self.process.wait()


def wait_for(log, text, process):
    """Waits until a process writes this to its log. Returns the log if it ends before."""
    while text not in (said := log.read_text()):
        if process.poll() is not None:
            return said
        time.sleep(0.02)
    return None


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
