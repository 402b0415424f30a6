#!/usr/bin/env python3
"""Makes private keys in many forms, each with a certificate: what other programs write, or wrote once.

    tests/odd-keys.py DIRECTORY CA.pem CA.key TYPE...

A type is rsa, ec, ed25519, ed448 or dsa. Writes DIRECTORY/TYPE-KIND.pem, a private key and its certificate. OpenSSL makes
the keys and the certificates; the forms that it does not write are assembled here.
"""

import base64
import math
import pathlib
import subprocess
import sys

directory, ca, ca_key, *types = pathlib.Path(sys.argv[1]), *sys.argv[2:]
directory.mkdir(parents=True, exist_ok=True)


def openssl(line, *more, given=None):
    return subprocess.run(["openssl", *line.split(), *map(str, more)], input=given, check=True, capture_output=True).stdout


def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = (len(body).bit_length() + 7) // 8
    return bytes([tag, 128 | size]) + len(body).to_bytes(size, "big") + body


def number(value, zeros=0):
    return tlv(2, bytes(zeros) + value.to_bytes(value.bit_length() // 8 + 1, "big"))


def parts(der):
    """Tag and body of each element."""
    while der:
        tag, size, start = der[0], der[1], 2
        if size & 128:
            start += size & 127
            size = int.from_bytes(der[2:start], "big")
        yield tag, der[start : start + size]
        der = der[start + size :]


def inside(der):
    return list(parts(list(parts(der))[0][1]))


def pem(label, der):
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def write(name, key, public, label="PRIVATE KEY"):
    """`key` is DER, or PEM as it is; `public` PEM of a public key in the form that the certificate gets."""
    public_file = directory / "public"
    public_file.write_bytes(public)
    extensions = directory / "extensions"
    extensions.write_text("basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth\n")
    certificate = openssl(
        f"x509 -new -days 30 -CA {ca} -CAkey {ca_key} -force_pubkey {public_file} -extfile {extensions} -subj /CN={name}"
    )
    text = key if isinstance(key, str) else pem(label, key)
    (directory / f"{name}.pem").write_text(text + certificate.decode())


def made(arguments):
    return openssl(f"genpkey {arguments}")


def public_of(key, *form):
    return openssl("pkey -pubout", *form, given=key)


OIDS = {
    "rsa": "06092a864886f70d010101",
    "rsa-x509": "060455080101",
    "ec": "06072a8648ce3d0201",
    "ed25519": "06032b6570",
    "ed448": "06032b6571",
    "p256": "06082a8648ce3d030107",
}
NULL = bytes([5, 0])


def info(algorithm, key, parameters=b"", version=0, after=b""):
    """PrivateKeyInfo"""
    return tlv(0x30, number(version), tlv(0x30, bytes.fromhex(OIDS[algorithm]), parameters), tlv(4, key), after)


def rsa():
    key = made("-algorithm RSA")
    public = public_of(key)
    der = openssl("rsa -traditional -outform DER", given=key)
    n, e, d, p, q, dp, dq, qinv = [int.from_bytes(body, "big") for _, body in inside(der)][1:]
    lcm = (p - 1) * (q - 1) // math.gcd(p - 1, q - 1)

    def private(*numbers, version=0, zeros=0):
        return tlv(0x30, number(version), *[number(value, zeros) for value in numbers])

    whole = (n, e, d, p, q, dp, dq, qinv)
    bits = inside(openssl("pkey -pubin -outform DER", given=public))[1][1]
    forms = {
        "plain": info("rsa", der, NULL),
        "without-parameters": info("rsa", der),
        "old-oid": info("rsa-x509", der, NULL),
        "swapped-exponents": info("rsa", private(n, e, d, p, q, dq, dp, qinv), NULL),
        "swapped-primes": info("rsa", private(n, e, d, q, p, dp, dq, qinv), NULL),
        "smaller-prime-first": info("rsa", private(n, e, d, q, p, dq, dp, pow(p, -1, q)), NULL),
        "wrong-coefficient": info("rsa", private(n, e, d, p, q, dp, dq, 1), NULL),
        "zero-crt": info("rsa", private(n, e, d, p, q, 0, 0, 0), NULL),
        "zero-primes": info("rsa", private(n, e, d, 0, 0, 0, 0, 0), NULL),
        "one-prime": info("rsa", private(n, e, d, p, 0, 0, 0, 0), NULL),
        "unreduced-d": info("rsa", private(n, e, d + lcm, p, q, dp, dq, qinv), NULL),
        "d-above-n": info("rsa", private(n, e, d + (n // lcm + 1) * lcm, p, q, dp, dq, qinv), NULL),
        "padded": info("rsa", private(*whole, zeros=3), NULL),
        "version-2": info("rsa", der, NULL, 1, tlv(0x81, bits)),
        "attributes": info("rsa", der, NULL, 0, tlv(0xA0)),
    }
    for name, key_der in forms.items():
        write(f"rsa-{name}", key_der, public)
    write("rsa-pkcs1", der, public, "RSA PRIVATE KEY")
    options = {
        "1024": ["bits:1024"],
        "2047": ["bits:2047"],
        "2056": ["bits:2056"],
        "e-3": ["pubexp:3"],
        "e-35-bits": [f"pubexp:{2**34 + 3}"],
        "e-64-bits": [f"pubexp:{2**63 + 29}"],
        "three-primes": ["primes:3"],
        # With two primes it takes minutes
        "8200": ["bits:8200", "primes:4"],
    }
    for name, values in options.items():
        key = made("-algorithm RSA " + " ".join(f"-pkeyopt rsa_keygen_{value}" for value in values))
        write(f"rsa-{name}", key.decode(), public_of(key))
    key = made("-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:1024")
    write("rsa-pss-1024", key.decode(), public_of(key))


def ec():
    # With a zero byte in front, which some programs leave away
    while True:
        key = made("-algorithm EC -pkeyopt ec_paramgen_curve:P-256")
        sec1 = openssl("ec -outform DER", given=key)
        scalar = inside(sec1)[1][1]
        if scalar[0] == 0:
            break
    public = public_of(key)
    curve = bytes.fromhex(OIDS["p256"])
    bits = lambda form: inside(openssl(f"pkey -pubout -outform DER -ec_conv_form {form}", given=key))[1][1]
    point = {form: bits(form) for form in ("uncompressed", "compressed", "hybrid")}

    def private(scalar, form="uncompressed", inner=b""):
        bits = tlv(0xA1, tlv(3, point[form])) if form else b""
        return tlv(0x30, number(1), tlv(4, scalar), tlv(0xA0, inner) if inner else b"", bits)

    explicit = openssl("pkey -outform DER -ec_param_enc explicit", given=key)
    forms = {
        "plain": info("ec", private(scalar), curve),
        "without-public": info("ec", private(scalar, None), curve),
        "compressed": info("ec", private(scalar, "compressed"), curve),
        "hybrid": info("ec", private(scalar, "hybrid"), curve),
        "short": info("ec", private(scalar.lstrip(b"\0")), curve),
        "padded": info("ec", private(bytes(4) + scalar), curve),
        "curve-twice": info("ec", private(scalar, inner=curve), curve),
        "curve-inside": info("ec", private(scalar, inner=curve), NULL),
        "explicit": explicit,
        "version-2": info("ec", private(scalar), curve, 1, tlv(0x81, point["uncompressed"])),
        "attributes": info("ec", private(scalar), curve, 0, tlv(0xA0)),
    }
    for name, der in forms.items():
        write(f"ec-{name}", der, public)
    sec1_forms = {"sec1": private(scalar, inner=curve), "sec1-without-curve": private(scalar),
                  "sec1-without-public": private(scalar, None, curve), "sec1-bare": private(scalar, None)}
    for name, der in sec1_forms.items():
        write(f"ec-{name}", der, public, "EC PRIVATE KEY")
    for form in ("compressed", "hybrid"):
        write(f"ec-certificate-{form}", key.decode(), public_of(key, "-ec_conv_form", form))
    write("ec-certificate-explicit", key.decode(), public_of(key, "-ec_param_enc", "explicit"))
    for curve in ("P-384", "P-521", "P-224", "secp256k1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"):
        key = made(f"-algorithm EC -pkeyopt ec_paramgen_curve:{curve}")
        write(f"ec-{curve}", key.decode(), public_of(key))


def edwards(name, size):
    key = made(f"-algorithm {name.upper()}")
    public = public_of(key)
    seed = inside(openssl("pkey -outform DER", given=key))[2][1][2:]
    bits = inside(openssl("pkey -pubin -outform DER", given=public))[1][1]
    assert len(seed) == size
    wrapped = tlv(4, seed)
    forms = {
        "plain": info(name, wrapped),
        "null-parameters": info(name, wrapped, NULL),
        "version-2": info(name, wrapped, b"", 1, tlv(0x81, bits)),
        "version-2-explicit": info(name, wrapped, b"", 1, tlv(0xA1, tlv(3, bits))),
        "version-2-without-public": info(name, wrapped, b"", 1),
        "version-2-named-1": info(name, wrapped, b"", 0, tlv(0x81, bits)),
        "attributes": info(name, wrapped, b"", 0, tlv(0xA0)),
        "attributes-and-public": info(name, wrapped, b"", 1, tlv(0xA0) + tlv(0x81, bits)),
    }
    if name == "ed25519":
        forms |= {
            "unwrapped": info(name, seed),
            "wrapped-twice": info(name, tlv(4, wrapped)),
            "with-public": info(name, tlv(4, seed + bits[1:])),
            "with-public-unwrapped": info(name, seed + bits[1:]),
        }
    for form, der in forms.items():
        write(f"{name}-{form}", der, public)


def dsa():
    for bits in (1024, 2048, 3072):
        file = pathlib.Path(__file__).parent.parent / f"fixtures/keys/dsa-{bits}.key"
        key = file.read_bytes()
        write(f"dsa-{bits}", key.decode(), public_of(key))


makers = {
    "rsa": rsa,
    "ec": ec,
    "ed25519": lambda: edwards("ed25519", 32),
    "ed448": lambda: edwards("ed448", 57),
    "dsa": dsa,
}
for name in types:
    makers[name]()
