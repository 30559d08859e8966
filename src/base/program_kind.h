/* program_kind.h - what programs of the administrator's are for, where they are counted. */
#ifndef BASE_PROGRAM_KIND_H
#define BASE_PROGRAM_KIND_H

enum program_kind { PROGRAM_ACP, PROGRAM_CHECK, PROGRAM_NOTIFY, PROGRAM_SERVERS };
#define PROGRAM_KINDS (PROGRAM_SERVERS + 1)

const char *program_kind_name(enum program_kind kind); /* "acp" */

#endif
