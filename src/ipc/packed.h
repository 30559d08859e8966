/*
 * packed.h - a configuration in one block of bytes, as the supervisor hands it to the others in a sealed memfd: the canonical text, the
 * label of each section, the addresses of the interfaces. Nothing of it needs a file, a name service or the network.
 */
#ifndef IPC_PACKED_H
#define IPC_PACKED_H

#include "base/buf.h"
#include "config/config.h"

/* Appends the block to out. labels: of each section of c. */
void packed_make(const struct config *c, const uint32_t *labels, const struct interface_address *ifs, uint32_t n_ifs,
                 struct buf *out);

/* Just the configuration of a block. NULL: it is not one. */
struct config *packed_config(const void *block, size_t len);
/* The same, of a sealed memfd, which is closed. ifs, which may be NULL: also the addresses of the interfaces, n_ifs of them (free()). */
struct config *packed_config_of(int fd, struct interface_address **ifs, size_t *n_ifs);

/* The rest, which stands in the block as bytes: copy it. */
struct packed {
	uint32_t n_sections, n_ifs;
	const char *labels; /* n_sections of uint32_t */
	const char *ifs;    /* n_ifs of struct interface_address */
};
/* False: it is not one. */
bool packed_read(const void *block, size_t len, struct packed *ret);

#endif
