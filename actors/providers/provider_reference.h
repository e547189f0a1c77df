/* The reference page of the providers, made from their rows. */
#pragma once

#include "core/buf.h"

void provider_write_reference(struct dyn_buf *out);
