/*
 * http_library.h - libmicrohttpd, loaded by the one process that needs it: it and what it brings
 * along would more than double the memory of all others. The functions stand in `mhd` under their
 * names.
 */
#ifndef PAGE_HTTP_LIBRARY_H
#define PAGE_HTTP_LIBRARY_H

#include <microhttpd.h>
#include <stdbool.h>

#define MHD_FUNCTIONS(F)               \
	F(add_connection)              \
	F(add_response_header)         \
	F(create_response_from_buffer) \
	F(destroy_response)            \
	F(get_connection_info)         \
	F(get_daemon_info)             \
	F(get_timeout)                 \
	F(lookup_connection_value)     \
	F(queue_response)              \
	F(resume_connection)           \
	F(run)                         \
	F(start_daemon)                \
	F(stop_daemon)                 \
	F(suspend_connection)

struct http_library {
#define F(name) __typeof__(&MHD_##name) name;
	MHD_FUNCTIONS(F)
#undef F
};

extern struct http_library mhd;

/* Once. Returns NULL, or what is wrong. */
const char *http_library_load(void);

#endif
