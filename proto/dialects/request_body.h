/* What readers of all dialects do the same way with a request's body: the scan over its members, and the
 * model's name. Private to this folder. */
#pragma once

#include "proto/dialects/dialect.h"

/* What `visit` returns other than 0 ends the scan and is returned; -1: the body is no JSON object, and the
 * problem says so. */
int request_body_scan(struct dyn_slice body, json_member_fn visit, void *self,
                      struct dialect_problem *problem);
/* Takes the model's name. NULL, or what is wrong: the rest of a sentence that begins with the field. */
const char *request_body_model(struct json_value value, struct arena *arena,
                               struct dialect_request *request);
