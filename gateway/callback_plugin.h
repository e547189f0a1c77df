/* The operations of a plugin that is functions of the program around the library: questions go to them, on
 * the loop of the cell, and their votes, said on whatever thread, go back from there. They time nothing:
 * limits and failure policy are the router's. */
#pragma once

#include "actors/plugins/plugin.h"

/* Without a name and what belongs to an instance, which registered_plugin.c fills in; its instances are
 * struct registered_config. */
extern const struct plugin_ops callback_plugin_ops;
