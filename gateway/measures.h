/* The numbers of this process for metrics (proto/metrics.def), read where they are counted. */
#pragma once

#include "proto/metrics.h"

struct dynabus;

/* Borrows the gateway: good as long as its bus runs. Any thread. */
struct node_source gateway_measures(struct dynabus *gateway);
