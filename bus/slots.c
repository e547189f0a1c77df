/* Who is where: the places of actors on a loop. A loop takes and gives back its own places; every thread
 * may look at them at any time, without a lock. So a page of places never moves and is never freed while
 * the bus lives, and a place that is used again gets another generation, hence another address. Not here:
 * what lives in a place (bus.c). */
#include "bus/bus_impl.h"

#include <stdlib.h>

enum {
    FIRST_PAGE_BITS = 4, /* 16 places, about 2 KiB: a cell has fewer actors than that */
    /* A place rests until so many others are free, so that an address comes back after 64 * 256 peers have
     * come and gone. Whoever still knew it has heard GOODBYE long before. */
    RESTING_MIN = 64,
    GENERATIONS = 256,
};

/* Pages hold 16, 16, 32, 64, .. places: page p > 0 begins at place 2^(p+3). */
static unsigned
page_of(unsigned slot)
{
    unsigned above = slot >> FIRST_PAGE_BITS;
    return above == 0 ? 0 : 32u - (unsigned)__builtin_clz(above);
}

static unsigned
page_start(unsigned page)
{
    return page == 0 ? 0 : 1u << (page + FIRST_PAGE_BITS - 1);
}

static unsigned
page_size(unsigned page)
{
    return page == 0 ? 1u << FIRST_PAGE_BITS : page_start(page);
}

static struct bus_actor *
place_at(const struct bus_host *host, unsigned slot)
{
    unsigned page = page_of(slot);
    return atomic_load_explicit(&host->pages[page], memory_order_acquire) + (slot - page_start(page));
}

struct bus_actor *
bus_place(const bus_t *bus, bus_addr_t addr)
{
    unsigned number = addr >> BUS_ADDR_LOOP_SHIFT;
    if (number == 0 || number > bus->n_hosts) {
        return NULL;
    }
    const struct bus_host *host = bus->hosts[number - 1];
    unsigned slot = addr & BUS_ADDR_SLOT_MASK;
    return slot < atomic_load_explicit(&host->n_slots, memory_order_acquire) ? place_at(host, slot) : NULL;
}

struct bus_actor *
bus_find(const bus_t *bus, bus_addr_t addr)
{
    struct bus_actor *actor = bus_place(bus, addr);
    return actor != NULL && atomic_load_explicit(&actor->addr, memory_order_acquire) == addr ? actor : NULL;
}

static void
set_addr(struct bus_actor *actor, unsigned generation, unsigned slot)
{
    bus_addr_t addr = ((bus_addr_t)(actor->host->number + 1) << BUS_ADDR_LOOP_SHIFT) |
                      ((bus_addr_t)generation << BUS_ADDR_GENERATION_SHIFT) | (bus_addr_t)slot;
    atomic_store_explicit(&actor->addr, addr, memory_order_release);
}

static struct bus_actor *
new_place(struct bus_host *host)
{
    unsigned slot = atomic_load_explicit(&host->n_slots, memory_order_relaxed);
    unsigned page = page_of(slot);
    if (slot == page_start(page)) {
        struct bus_actor *places = dyn_zalloc(page_size(page) * sizeof *places);
        for (unsigned i = 0; i < page_size(page); i++) {
            atomic_init(&places[i].state, BUS_ACTOR_GONE);
        }
        atomic_store_explicit(&host->pages[page], places, memory_order_release);
    }
    struct bus_actor *actor = place_at(host, slot);
    actor->host = host;
    dyn_list_init(&actor->children);
    dyn_list_init(&actor->link);
    set_addr(actor, 0, slot);
    atomic_store_explicit(&host->n_slots, slot + 1, memory_order_release);
    return actor;
}

static struct bus_actor *
used_place(struct bus_host *host)
{
    struct dyn_list *link = host->free_slots.next;
    struct bus_actor *actor = DYN_CONTAINER_OF(link, struct bus_actor, link);
    dyn_list_remove(link);
    bus_addr_t addr = bus_actor_addr(actor);
    unsigned generation = (addr >> BUS_ADDR_GENERATION_SHIFT) % GENERATIONS;
    host->n_free--;
    set_addr(actor, (generation + 1) % GENERATIONS, addr & BUS_ADDR_SLOT_MASK);
    return actor;
}

struct bus_actor *
bus_place_take(struct bus_host *host)
{
    bool table_is_full = atomic_load_explicit(&host->n_slots, memory_order_relaxed) == BUS_SLOTS_MAX;
    if (host->n_free >= RESTING_MIN || (table_is_full && host->n_free > 0)) {
        return used_place(host);
    }
    return table_is_full ? NULL : new_place(host);
}

void
bus_place_give_back(struct bus_actor *actor)
{
    dyn_list_append(&actor->host->free_slots, &actor->link);
    actor->host->n_free++;
}

void
bus_places_free(struct bus_host *host)
{
    for (unsigned page = 0; page < BUS_SLOT_PAGES; page++) {
        free(atomic_load_explicit(&host->pages[page], memory_order_relaxed));
    }
}
