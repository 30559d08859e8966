/*
 * protocols.h - those who read and write for kinds.def: lines.c (mail, ssh, redis), http.c, pgsql.c, mysql.c.
 */
#ifndef CHECKER_PROTOCOLS_H
#define CHECKER_PROTOCOLS_H

#include "checker/script.h"

script_hear hear_smtp, hear_pop3, hear_imap, hear_ssh, hear_redis, hear_http, hear_pgsql, hear_mysql, hear_agent;
script_say say_ehlo, say_http, say_pgsql;

#endif
