/* Variables that Ferro knows and this version does not serve. */
#pragma once

/* Names each that is set, in the log: somebody relies on it. */
void gateway_warn_of_variables(void);
