// A server of TLS 1.2 that asks for a client certificate by renegotiation, once it has read the request, as IIS does. When the
// client declines, it ends the connection in one of the ways that servers are known for.
//
//   renegotiating CERTIFICATE KEY AUTHORITIES alert|reset|close|notify|silence [first]
//
// With `first` it also asks in the first handshake, and accepts clients without a certificate there. It prints
// `listening PORT`, and for each request `served METHOD NAME`, or `declined METHOD` when the client did not renegotiate. Each
// connection has a process of its own: one that stays silent does not hold up the others.
//
// The records go through memory, so that the server decides what it sends when OpenSSL has failed.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
    SSL *tls;
    int socket;
};

static void say(const char *what, const char *name) {
    printf("%s %s\n", what, name);
    fflush(stdout);
}

// Sends what OpenSSL has written.
static void send_all(struct connection *c) {
    char bytes[16384];
    int length;
    while ((length = BIO_read(SSL_get_wbio(c->tls), bytes, sizeof bytes)) > 0) {
        for (int sent = 0; sent < length;) {
            int now = write(c->socket, bytes + sent, length - sent);
            if (now <= 0) return;
            sent += now;
        }
    }
}

// Receives something for OpenSSL; whether the client is still there.
static int receive(struct connection *c) {
    char bytes[16384];
    int length = read(c->socket, bytes, sizeof bytes);
    return length > 0 && BIO_write(SSL_get_rbio(c->tls), bytes, length) == length;
}

// Whether a call that returned this can be repeated, once what it waits for is there.
static int goes_on(struct connection *c, int result) {
    int error = SSL_get_error(c->tls, result);
    send_all(c);
    return error == SSL_ERROR_WANT_READ && receive(c);
}

static void decline(struct connection *c, const char *ending) {
    if (!strcmp(ending, "alert")) {
        send_all(c);
    } else if (!strcmp(ending, "reset")) {
        struct linger at_once = {1, 0};
        setsockopt(c->socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    } else if (!strcmp(ending, "notify")) {
        BIO_reset(SSL_get_wbio(c->tls));
        SSL_set_quiet_shutdown(c->tls, 0);
        SSL_shutdown(c->tls);
        send_all(c);
    } else if (!strcmp(ending, "silence")) {
        pause();
    }
}

static void serve(struct connection *c, const char *ending) {
    char request[16384] = "", method[16] = "", first[64], last[64];
    int result;
    while ((result = SSL_do_handshake(c->tls)) != 1)
        if (!goes_on(c, result)) return;
    send_all(c);
    while ((result = SSL_read(c->tls, request, sizeof request - 1)) <= 0)
        if (!goes_on(c, result)) return;
    sscanf(request, "%15s", method);

    SSL_set_verify(c->tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    size_t length = SSL_get_peer_finished(c->tls, first, sizeof first);
    SSL_renegotiate(c->tls);
    SSL_do_handshake(c->tls);
    send_all(c);
    for (;;) {
        char more[16384];
        result = SSL_read(c->tls, more, sizeof more);
        // The client's second Finished
        if (!SSL_in_init(c->tls) && SSL_get_peer_finished(c->tls, last, sizeof last) == length && memcmp(first, last, length)) break;
        if (!goes_on(c, result)) {
            say("declined", method);
            decline(c, ending);
            return;
        }
    }
    char name[256] = "", response[1024], told[300];
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get_peer_certificate(c->tls)), NID_commonName, name, sizeof name);
    snprintf(response, sizeof response, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", strlen(name), name);
    SSL_write(c->tls, response, strlen(response));
    SSL_shutdown(c->tls);
    send_all(c);
    snprintf(told, sizeof told, "%s %s", method, name);
    say("served", told);
}

int main(int count, char **arguments) {
    if (count < 5) return 2;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_clear_options(context, SSL_OP_NO_RENEGOTIATION);
    // A handshake that resumes a session cannot ask
    SSL_CTX_set_options(context, SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"r", 1);
    if (SSL_CTX_use_certificate_chain_file(context, arguments[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, arguments[2], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_locations(context, arguments[3], NULL) != 1) {
        ERR_print_errors_fp(stderr);
        return 1;
    }
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(arguments[3]));
    if (count > 5) SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listening, (void *)&address, length) || listen(listening, 16) ||
        getsockname(listening, (void *)&address, &length)) {
        perror("listen");
        return 1;
    }
    // The connections end with the server, and nobody waits for them
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int accepted = accept(listening, NULL, NULL);
        if (accepted < 0) continue;
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            struct connection c = {SSL_new(context), accepted};
            SSL_set_bio(c.tls, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
            BIO_set_mem_eof_return(SSL_get_rbio(c.tls), -1);
            BIO_set_mem_eof_return(SSL_get_wbio(c.tls), -1);
            SSL_set_accept_state(c.tls);
            serve(&c, arguments[4]);
            _exit(0);
        }
        close(accepted);
    }
}
