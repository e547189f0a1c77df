/* models/corrections.tsv as it was when the program was built: what we know better than price lists. */
#pragma once

#include "core/text.h"

struct dyn_slice catalogue_corrections(void);
