/* steps.h - the bytes that a check sends or wants to hear, and how they are written. */
#ifndef CONFIG_STEPS_H
#define CONFIG_STEPS_H

#include <stddef.h>
#include "base/buf.h"

/* What is wrong in a text: an escape, or what is no byte. */
struct steps_fault {
	size_t at, len;
};

/* TEXT, in which \r \n \t \0 and \xHH are one byte each; and HEX, two digits a byte, with blanks between them or
 * without. Returns the bytes (free()), *ret_len of them, or NULL with *fault filled. */
char *steps_read_text(const char *text, size_t *ret_len, struct steps_fault *fault);
char *steps_read_hex(const char *text, size_t *ret_len, struct steps_fault *fault);

/* Appends TEXT: printable ASCII as it is, so that no byte is lost wherever the text is shown or sent. */
void steps_write_text(const char *bytes, size_t len, struct buf *out);

#endif
