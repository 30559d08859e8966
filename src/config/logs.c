#include "config/logs.h"

#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "base/mem.h"
#include "config/endpoint.h"
#include "config/lex.h"
#include "config/parser.h"

static const struct facility {
	const char *name;
	int value;
} facilities[] = {
        {"daemon", LOG_DAEMON},     {"user", LOG_USER},     {"mail", LOG_MAIL},     {"auth", LOG_AUTH},
        {"authpriv", LOG_AUTHPRIV}, {"cron", LOG_CRON},     {"ftp", LOG_FTP},       {"kern", LOG_KERN},
        {"lpr", LOG_LPR},           {"news", LOG_NEWS},     {"syslog", LOG_SYSLOG}, {"uucp", LOG_UUCP},
        {"local0", LOG_LOCAL0},     {"local1", LOG_LOCAL1}, {"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3},
        {"local4", LOG_LOCAL4},     {"local5", LOG_LOCAL5}, {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7},
};

static const char *facility_parse(const char *name, int *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(facilities); i++) {
		if (!strcmp(facilities[i].name, name)) {
			*ret = facilities[i].value;
			return NULL;
		}
	}
	return "names no facility of syslog, such as daemon, mail or local0";
}

static const char *target_parse(char *text, struct log_target *ret)
{
	if (!strcmp(text, "stderr")) {
		ret->kind = LOG_TO_STDERR;
	} else if (!strcmp(text, "journal")) {
		ret->kind = LOG_TO_JOURNAL;
	} else if (!strcmp(text, "syslog")) {
		ret->kind = LOG_TO_SYSLOG;
	} else if (!strncmp(text, "syslog:", 7)) {
		ret->kind = LOG_TO_SYSLOG;
		return facility_parse(text + 7, &ret->facility);
	} else if (!strncmp(text, "file:", 5) && text[5]) {
		ret->kind = LOG_TO_FILE;
		ret->path = mem_strdup(text + 5);
	} else if (*text == '/') {
		ret->kind = LOG_TO_FILE;
		ret->path = mem_strdup(text);
	} else if (all_digits(text)) {
		return "is no target of a log (did you mean -b, to listen on a port?): stderr, "
		       "syslog[:FACILITY], journal or file:PATH";
	} else {
		return "is no target of a log: stderr, syslog[:FACILITY], journal or file:PATH, "
		       "each with +json";
	}
	return NULL;
}

const char *log_target_parse(const char *text, struct log_target *ret)
{
	size_t len = strlen(text);
	bool json = len > 5 && !strcmp(text + len - 5, "+json");
	char *plain = mem_strndup(text, json ? len - 5 : len);
	const char *why;

	*ret = (struct log_target){.json = json, .facility = LOG_DAEMON};
	why = target_parse(plain, ret);
	free(plain);
	return why;
}

void log_target_print(const struct log_target *t, struct buf *out)
{
	struct buf word = BUF_INIT;

	switch (t->kind) {
	case LOG_TO_STDERR:
		buf_adds(&word, "stderr");
		break;
	case LOG_TO_JOURNAL:
		buf_adds(&word, "journal");
		break;
	case LOG_TO_FILE:
		buf_addf(&word, "file:%s", t->path);
		break;
	case LOG_TO_SYSLOG:
		buf_adds(&word, "syslog:");
		for (size_t i = 0; i < ARRAY_LEN(facilities); i++) {
			if (facilities[i].value == t->facility)
				buf_adds(&word, facilities[i].name);
		}
		break;
	}
	if (t->json)
		buf_adds(&word, "+json");
	lex_quote(word.s, out);
	buf_release(&word);
}

static bool same_target(const struct log_target *a, const struct log_target *b)
{
	return a->kind == b->kind && a->facility == b->facility && (!a->path || !strcmp(a->path, b->path));
}

void set_log(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct place *said = &p->global_said[d - directives];
	bool command_line = p->frame->origin != NULL;
	struct config *c = p->c;
	char shown[SHOWN_MAX];
	struct log_target t;
	const char *why = log_target_parse(args[0].text, &t);

	if (why) {
		parse_error(p, args[0].column, "%s %s", lex_show(args[0].text, shown), why);
		return;
	}
	if (t.path) {
		char *path = parse_path(p, t.path);

		free(t.path);
		t.path = path;
	}
	for (size_t i = 0; i < c->n_logs; i++) {
		if (same_target(&c->logs[i], &t) && said->command_line == command_line) {
			parse_error(p, args[0].column, "the log goes to %s already", lex_show(args[0].text, shown));
			free(t.path);
			return;
		}
	}
	/* What the command line names is not added to, but replaces. */
	if (said->command_line && !command_line) {
		free(t.path);
		return;
	}
	*said = (struct place){.file = p->frame->name, .command_line = command_line};
	c->logs = mem_resize(c->logs, c->n_logs + 1, sizeof(*c->logs));
	c->logs[c->n_logs++] = t;
}
