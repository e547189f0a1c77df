/* Certificates made for a test, and a server side of TLS on a connected socket. */
#pragma once

#include "core/base.h"
#include "core/buf.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct certificate {
    EVP_PKEY *key;
    X509 *x509;
    SSL_CTX *context;
    char path[64]; /* of the certificate as PEM: it is its own authority */
};

/* Self-signed, for that alternative name ("DNS:upstream.test", "IP:127.0.0.1"); from now for `seconds`. */
static inline void
certificate_make(struct certificate *certificate, const char *name, long seconds)
{
    certificate->key = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    DYN_ASSERT(certificate->key != NULL && x509 != NULL);
    (void)X509_set_version(x509, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(x509), -7200);
    (void)X509_gmtime_adj(X509_getm_notAfter(x509), seconds);
    X509_NAME *subject = X509_get_subject_name(x509);
    (void)X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    (void)X509_set_issuer_name(x509, subject);
    (void)X509_set_pubkey(x509, certificate->key);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, name);
    DYN_ASSERT(names != NULL && X509_add_ext(x509, names, -1) == 1);
    X509_EXTENSION_free(names);
    DYN_ASSERT(X509_sign(x509, certificate->key, EVP_sha256()) > 0);
    certificate->x509 = x509;
    certificate->context = SSL_CTX_new(TLS_server_method());
    DYN_ASSERT(certificate->context != NULL && SSL_CTX_use_certificate(certificate->context, x509) == 1 &&
               SSL_CTX_use_PrivateKey(certificate->context, certificate->key) == 1);
    (void)snprintf(certificate->path, sizeof certificate->path, "/tmp/dynabus-test-ca-XXXXXX");
    int fd = mkstemp(certificate->path);
    FILE *file = fdopen(fd, "w");
    DYN_ASSERT(file != NULL && PEM_write_X509(file, x509) == 1);
    (void)fclose(file);
}

static inline void
certificate_free(struct certificate *certificate)
{
    (void)unlink(certificate->path);
    SSL_CTX_free(certificate->context);
    X509_free(certificate->x509);
    EVP_PKEY_free(certificate->key);
}

/* NULL when the client turned away. */
static inline SSL *
certificate_accept(const struct certificate *certificate, int fd)
{
    SSL *ssl = SSL_new(certificate->context);
    (void)SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

/* Reads up to the end of a head and what came with it. */
static inline bool
certificate_read_request(SSL *ssl, struct dyn_buf *request)
{
    dyn_buf_clear(request);
    while (strstr(dyn_buf_cstr(request), "\r\n\r\n") == NULL) {
        char bytes[4096];
        int got = SSL_read(ssl, bytes, sizeof bytes);
        if (got <= 0) {
            return false;
        }
        dyn_buf_add(request, bytes, (size_t)got);
    }
    return true;
}
