#include "ipc/packed.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/shm.h"

#define BLOCK_MAGIC 0x7463707063303031ULL

struct block {
	uint64_t magic;
	uint64_t text_len; /* with its NUL */
	uint32_t n_sections, n_ifs;
	/* text, uint32_t labels[n_sections], struct interface_address ifs[n_ifs] */
};

void packed_make(const struct config *c, const uint32_t *labels, const struct interface_address *ifs, uint32_t n_ifs,
                 struct buf *out)
{
	struct buf text = BUF_INIT;
	struct block head = {.magic = BLOCK_MAGIC, .n_sections = (uint32_t)c->n_sections, .n_ifs = n_ifs};

	config_print_packed(c, &text);
	buf_addc(&text, '\0');
	head.text_len = text.len;
	buf_add(out, &head, sizeof(head));
	buf_add(out, text.s, text.len);
	buf_add(out, labels, c->n_sections * sizeof(*labels));
	buf_add(out, ifs, n_ifs * sizeof(*ifs));
	buf_release(&text);
}

/* Checks that the parts are there; returns the head, copied. */
static bool read_head(const void *block, size_t len, struct block *head)
{
	if (len < sizeof(*head))
		return false;
	memcpy(head, block, sizeof(*head));
	return head->magic == BLOCK_MAGIC && head->text_len > 0 && head->text_len < len &&
	       len == sizeof(*head) + head->text_len + head->n_sections * sizeof(uint32_t) +
	                       head->n_ifs * sizeof(struct interface_address) &&
	       ((const char *)block)[sizeof(*head) + head->text_len - 1] == '\0';
}

struct config *packed_config(const void *block, size_t len)
{
	struct block head;
	struct config_errors errors = {NULL, 0};
	struct config_ops nothing = {.packed = true};
	struct config *c;

	if (!read_head(block, len, &head))
		return NULL;
	c = config_parse("", (const char *)block + sizeof(head), &nothing, &errors);
	config_errors_release(&errors);
	return c;
}

static void copy_ifs(const void *block, size_t len, struct interface_address **ret, size_t *n)
{
	struct packed rest = {.n_ifs = 0};

	packed_read(block, len, &rest);
	*n = rest.n_ifs;
	*ret = mem_alloc(*n * sizeof(**ret) + 1);
	if (*n)
		memcpy(*ret, rest.ifs, *n * sizeof(**ret));
}

struct config *packed_config_of(int fd, struct interface_address **ifs, size_t *n_ifs)
{
	struct config *c = NULL;
	const void *block;
	size_t len;

	if (shm_map_sealed(fd, &block, &len) == 0) {
		c = packed_config(block, len);
		if (c && ifs)
			copy_ifs(block, len, ifs, n_ifs);
		munmap((void *)block, len);
	}
	close(fd);
	return c;
}

bool packed_read(const void *block, size_t len, struct packed *ret)
{
	struct block head;

	if (!read_head(block, len, &head))
		return false;
	*ret = (struct packed){.n_sections = head.n_sections, .n_ifs = head.n_ifs};
	ret->labels = (const char *)block + sizeof(head) + head.text_len;
	ret->ifs = ret->labels + head.n_sections * sizeof(uint32_t);
	return true;
}
