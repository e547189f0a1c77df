/* The question of an ASK and the answer of a VOTE (proto/vote.h) as one call, for who asks plugins of its own
 * loop: nothing is packed, and no envelope is made. What it means is what 05-PLUGIN.md says
 * of the two. Plugins elsewhere get envelopes. */
#pragma once

#include "proto/vote.h"

/* The texts of a body where they stand in it, for as long as the body does; decoded where something is
 * escaped. Made by whoever asks, read by vote_texts_of(). */
struct vote_text_list {
    struct vote_text *items;
    size_t n;
    size_t room;
    bool uninspectable;
    bool is_full;       /* there are more than anyone looks at */
    struct arena arena; /* of the items, their pointers, and what is decoded */
};
enum { VOTE_TEXTS_MAX = 64 * 1024 }; /* 4 MiB of items */

void vote_text_list_init(struct vote_text_list *list, void *memory, size_t size);
void vote_text_list_fini(struct vote_text_list *list);
/* Copies `text->at`; role and text have to stay as long as the list does. */
void vote_text_list_add(struct vote_text_list *list, const struct vote_text *text);

/* Reads the list as vote_texts_open() reads a map: -1 with a sentence when it holds not all texts. */
DYN_MUST_CHECK int vote_texts_of(struct vote_texts *texts, const struct vote_text_list *list,
                                 struct dyn_err *err);

/* Borrowed for the call, except facts, of which a reference may be kept. */
struct vote_question {
    struct env_id id;
    uint32_t epoch;
    enum vote_stage stage;
    uint64_t instance;
    bus_addr_t from; /* who asks: a vote that comes later goes there as a VOTE */
    struct vote_facts *facts;
    dyn_block_t *body;                  /* as in an ASK; NULL: none */
    const struct vote_text_list *texts; /* instead of their map, to a plugin that reads lists; NULL: none */
    const struct vote_deltas *deltas;   /* the same during a stream */
    bool tell;
    bool charged;
};

/* Good until the same plugin is asked again. */
struct vote_heard {
    const struct env_header *headers;
    size_t n_headers;
    struct dyn_slice notes;
    bool charged;
    const struct vote_mark *marks; /* on deltas that were no map */
    size_t n_marks;
    struct env *vote; /* VOTE_HERE_VOTED: the caller's */
};

enum vote_here_said {
    VOTE_HERE_PASSED, /* as told in `heard`; most votes are this one */
    VOTE_HERE_VOTED,  /* anything else, as an envelope */
    VOTE_HERE_LATER,  /* a VOTE follows; also said where nobody waits for one */
    VOTE_HERE_ABSENT, /* that instance is not here */
};

/* Lies with who made both sides, and outlives them: `ask` is NULL while nobody is there to be asked. */
struct vote_here {
    enum vote_here_said (*ask)(void *self, const struct vote_question *question, struct vote_heard *heard);
    void *self;
};
