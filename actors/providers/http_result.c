/* What libcurl's codes mean to a caller, and the sentence for the log. */
#include "actors/providers/http_curl.h"

#include <stdio.h>

static enum http_call_end
end_of(const http_call_t *call, CURLcode code)
{
    switch ((int)code) { /* int: most of libcurl's codes are of other protocols */
    case CURLE_OK:
        return call->head_is_done ? HTTP_CALL_COMPLETE : HTTP_CALL_CUT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return HTTP_CALL_UNRESOLVED;
    case CURLE_COULDNT_CONNECT:
        return call->lacks_descriptor ? HTTP_CALL_FAILED : HTTP_CALL_REFUSED;
    case CURLE_PROXY:
        return HTTP_CALL_PROXY;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return HTTP_CALL_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return HTTP_CALL_CONNECT_TIMEOUT;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
        return HTTP_CALL_CUT;
    case CURLE_RECV_ERROR: /* before the request was sent: what the proxy said to CONNECT */
        return call->sent == 0 && call->origin->proxy != NULL ? HTTP_CALL_PROXY : HTTP_CALL_CUT;
    case CURLE_UNSUPPORTED_PROTOCOL: /* no status line */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WRITE_ERROR:   /* our own refusal of the head */
    case CURLE_OUT_OF_MEMORY: /* a header line longer than libcurl takes, 100 KiB */
        return HTTP_CALL_GARBAGE;
    default:
        return HTTP_CALL_FAILED;
    }
}

static const char *
timeout_sentence(enum http_call_end end)
{
    switch ((int)end) {
    case HTTP_CALL_CONNECT_TIMEOUT:
        return "no connection was made in time";
    case HTTP_CALL_FIRST_BYTE_TIMEOUT:
        return "no byte of the answer came in time";
    case HTTP_CALL_IDLE_TIMEOUT:
        return "the answer stood still for too long";
    default:
        return "the time given to the request is used up";
    }
}

struct http_call_result
http_call_result_of(http_call_t *call, CURLcode code)
{
    http_client_t *client = call->origin->client;
    struct http_call_result result = {.end = call->timed_out, .detail = ""};
    const char *what = timeout_sentence(call->timed_out);
    if (call->timed_out == HTTP_CALL_COMPLETE) {
        result.end = end_of(call, code);
        what = call->error[0] != '\0' ? call->error : curl_easy_strerror(code);
        if (result.end == HTTP_CALL_CUT && code == CURLE_OK) {
            what = "the connection ended inside the head of the answer";
        }
        if (result.end == HTTP_CALL_FAILED && call->lacks_descriptor) {
            what = "this process may not open more files and connections (ulimit -n)";
        }
        if (call->head_bytes > HTTP_HEAD_BYTES_MAX) {
            what = "the head of the answer is longer than 64 KiB";
        }
    }
    if (result.end != HTTP_CALL_COMPLETE) {
        (void)snprintf(client->detail, sizeof client->detail, "%s: %s", call->origin->authority, what);
        result.detail = client->detail;
    }
    return result;
}
