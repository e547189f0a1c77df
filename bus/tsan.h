/* Tells ThreadSanitizer what it cannot see: libzmq is not instrumented, so a message that goes
 * through one of its lock-free pipes looks like memory shared without order. The sender releases what
 * it wrote, the receiver acquires it; nothing is hidden from the tool but libzmq's own memory. */
#pragma once

#if defined(__SANITIZE_THREAD__)
#define BUS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BUS_TSAN 1
#endif
#endif

#ifdef BUS_TSAN
#include <sanitizer/tsan_interface.h>
#include <stdint.h>
#define BUS_TSAN_RELEASE(addr) __tsan_release(addr)
#define BUS_TSAN_ACQUIRE(addr) __tsan_acquire((void *)(uintptr_t)(addr))
#else
#define BUS_TSAN_RELEASE(addr) ((void)(addr))
#define BUS_TSAN_ACQUIRE(addr) ((void)(addr))
#endif
