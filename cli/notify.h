/* Tells the service manager how far we are: the protocol of sd_notify(3), a datagram to the Unix socket that
 * NOTIFY_SOCKET names. Without that variable nothing happens; without a listener nothing is said. */
#pragma once

/* "READY=1", "STOPPING=1", "RELOADING=1\nMONOTONIC_USEC=..": lines as in sd_notify(3). */
void notify_say(const char *lines);
/* RELOADING=1 with the time that Type=notify-reload asks for. */
void notify_reloading(void);
