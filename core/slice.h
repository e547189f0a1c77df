/* Borrowed bytes, struct dyn_slice: they are part of core/base.h. */
#pragma once

#include "core/base.h"
