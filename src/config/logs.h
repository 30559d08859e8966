/* logs.h - where the log goes, as people write it: "stderr", "syslog:mail+json", "file:/var/log/x".
 */
#ifndef CONFIG_LOGS_H
#define CONFIG_LOGS_H

#include "config/config.h"

/* A path is taken as it stands; it is malloc()ed. NULL, or what is wrong (static). */
const char *log_target_parse(const char *text, struct log_target *ret);
void log_target_print(const struct log_target *t, struct buf *out);

#endif
