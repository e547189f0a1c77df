/* What a process that serves for long gives back to the system. */
#pragma once

/* Pages that were read once, while the program was loaded and set up. Any thread may be running. */
void memory_give_back_start(void);

/* Once, when all is set up: from now on malloc gives little back of its own accord. */
void memory_keep_while_busy(void);

enum { MEMORY_LOOK_MS = 2000 };
/* Called that often: what the requests of a load took and left, when next to nothing was done since the
 * call before. By one thread. */
void memory_give_back_after_load(void);
