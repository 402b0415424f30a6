"""An SMTP server that requires STARTTLS and a client's certificate, and prints who delivers a mail.

Arguments: the server's certificate, its key, the authorities of clients, the port.
"""

import asyncio
import ssl
import sys

from aiosmtpd.smtp import SMTP


class Handler:
    async def handle_DATA(self, server, session, envelope):
        subject = dict(pair for names in server.transport.get_extra_info("peercert")["subject"] for pair in names)
        print("delivered by CN=" + subject["commonName"], flush=True)
        return "250 OK"


async def main(certificate, key, authorities, port):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authorities)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)

    def serve():
        return SMTP(Handler(), tls_context=context, require_starttls=True)

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", int(port))
    print("listening", flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
