/* endpoint.h - HOST:PORT as people write it. */
#ifndef CONFIG_ENDPOINT_H
#define CONFIG_ENDPOINT_H

#include <stdbool.h>
#include "config/config.h"

/* "host", "host:port", "[v6]", "[v6]:port". Both texts are malloc()ed; *ret_port is NULL without a
 * port. The host has no brackets. Returns NULL, or what is wrong (static); both are then NULL. */
const char *endpoint_split(const char *text, char **ret_host, char **ret_port);

/* A number from 1 to 65535, or a name that the world knows. */
bool port_parse(const struct config_ops *world, const char *text, uint16_t *ret);

/* NULL if `name` can be a host's name; else what is wrong (static). */
const char *host_check(const char *name);

bool all_digits(const char *text); /* at least one */

#endif
