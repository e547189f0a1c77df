/* Signals of the long-running commands: blocked in every thread, waited for by the first. */
#pragma once

/* Before any thread is made. SIGPIPE is ignored, SIGTERM, SIGINT and SIGHUP are blocked. */
void signals_block(void);
/* Waits for SIGTERM or SIGINT and returns which. */
int signals_wait(void);
/* SIGTERM or SIGINT within so many milliseconds; 0: none came. */
int signals_wait_ms(unsigned ms);
/* The same, or SIGHUP. */
int signals_wait_or_reload_ms(unsigned ms);
/* From now on a second SIGTERM or SIGINT ends the process at once, with exit code 1. One that comes within
 * half a second is taken for the first again. */
void signals_exit_on_second(void);
