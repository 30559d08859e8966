/*
 * top.c - asks for the connections again and again, and shows what fits on the terminal. The table
 * comes as tcpproxyctl connections prints it: this only scrolls, chooses and colours it.
 */
#include "ctl/top.h"

#include <curses.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/utf8.h"
#include "ctl/client.h"
#include "ctl/failing.h"

#define LINE_WIDTH 512

static const char *const columns[] = {"id", "service", "client", "server", "state",      "age",
                                      "up", "down",    "rate",   "rtt",    "retransmits"};

struct top {
	const char *path;
	char **filters;
	size_t n_filters;
	int64_t period_ms;
	size_t sort; /* index in columns */
	bool paused;
	char *text;   /* the last answer; lines point into it */
	char **lines; /* [0] is the head */
	size_t n_lines;
	size_t first;             /* line at the top of the screen, from 1 */
	char chosen[24];          /* id of the chosen connection; "": none */
	char message[256];        /* in the last line until the next key */
	char failing[LINE_WIDTH]; /* servers; "": none */
};

/* ---- asking ---- */

static bool ask(struct top *t, char **words, size_t n, struct answer *ret)
{
	client_ask(t->path, words, n, ret);
	if (!ret->ok)
		snprintf(t->message, sizeof(t->message), "%s", ret->text.s);
	return ret->ok;
}

static void split(struct top *t)
{
	size_t cap = 0;

	t->n_lines = 0;
	for (char *line = t->text; line && *line;) {
		char *end = strchr(line, '\n');

		if (t->n_lines == cap) {
			cap = cap ? cap * 2 : 64;
			t->lines = mem_resize(t->lines, cap, sizeof(*t->lines));
		}
		t->lines[t->n_lines++] = line;
		if (!end)
			break;
		*end = '\0';
		line = end + 1;
	}
}

static bool refresh_list(struct top *t)
{
	char sort[32];
	char **words = mem_alloc((t->n_filters + 2) * sizeof(*words));
	struct answer a;
	size_t n = 0;
	bool ok;

	snprintf(sort, sizeof(sort), "sort=%s", columns[t->sort]);
	words[n++] = (char *)"connections";
	words[n++] = sort;
	for (size_t i = 0; i < t->n_filters; i++)
		words[n++] = t->filters[i];
	ok = ask(t, words, n, &a);
	free(words);
	if (ok) {
		free(t->text);
		t->text = buf_detach(&a.text);
		utf8_tame(t->text, strlen(t->text));
		split(t);
	}
	answer_release(&a);
	return ok;
}

static void refresh_failing(struct top *t)
{
	char *words[] = {(char *)"status"};
	struct answer a;

	if (ask(t, words, 1, &a))
		failing_servers(a.text.s, t->failing, sizeof(t->failing));
	answer_release(&a);
}

static bool refresh_all(struct top *t)
{
	if (!refresh_list(t))
		return false;
	refresh_failing(t);
	return true;
}

static void kill_chosen(struct top *t)
{
	char *words[] = {(char *)"kill", t->chosen};
	struct answer a;

	if (ask(t, words, 2, &a))
		snprintf(t->message, sizeof(t->message), "connection %s is ended", t->chosen);
	answer_release(&a);
}

/* ---- the list ---- */

static void id_of(const char *line, char *ret, size_t size)
{
	while (*line == ' ')
		line++;
	snprintf(ret, size, "%.*s", (int)strcspn(line, " "), line);
}

/* The line of the chosen connection, 0: it is not there. */
static size_t chosen_line(const struct top *t)
{
	char id[24];

	for (size_t i = 1; i < t->n_lines && *t->chosen; i++) {
		id_of(t->lines[i], id, sizeof(id));
		if (strcmp(id, t->chosen) == 0)
			return i;
	}
	return 0;
}

static void move_by(struct top *t, long by)
{
	size_t now = chosen_line(t);
	long to = (long)now + by;

	if (t->n_lines < 2)
		return;
	if (to < 1)
		to = 1;
	if (to > (long)t->n_lines - 1)
		to = (long)t->n_lines - 1;
	id_of(t->lines[to], t->chosen, sizeof(t->chosen));
}

/* ---- the screen ---- */

static void put_line(int y, const char *text, attr_t attributes)
{
	int width = getmaxx(stdscr);

	attrset(attributes);
	mvaddnstr(y, 0, text, width);
	for (int x = getcurx(stdscr); y == getcury(stdscr) && x < width; x++)
		addch(' ');
	attrset(A_NORMAL);
}

/* Above the first connection. */
static int head_lines(const struct top *t)
{
	return *t->failing ? 3 : 2;
}

static void draw_head(const struct top *t)
{
	char line[LINE_WIDTH];

	snprintf(line, sizeof(line), "tcpproxyctl top: %zu connections by %s%s", t->n_lines ? t->n_lines - 1 : 0,
	         columns[t->sort], t->paused ? ", paused" : "");
	put_line(0, line, A_BOLD);
	if (*t->failing) {
		snprintf(line, sizeof(line), "failed: %.*s", LINE_WIDTH - 16, t->failing);
		put_line(1, line, A_BOLD);
	}
	if (t->n_lines)
		put_line(head_lines(t) - 1, t->lines[0], A_REVERSE);
}

static void draw(struct top *t)
{
	int height = getmaxy(stdscr), head = head_lines(t), rows = height - head - 1;
	size_t chosen = chosen_line(t);

	erase();
	draw_head(t);
	if (rows < 1)
		rows = 1;
	if (t->first < 1)
		t->first = 1;
	if (t->first + (size_t)rows > t->n_lines) /* no empty place below */
		t->first = t->n_lines > (size_t)rows ? t->n_lines - (size_t)rows : 1;
	if (chosen && chosen < t->first)
		t->first = chosen;
	if (chosen && chosen >= t->first + (size_t)rows)
		t->first = chosen - (size_t)rows + 1;
	for (int y = 0; y < rows && t->first + (size_t)y < t->n_lines; y++) {
		size_t i = t->first + (size_t)y;

		put_line(y + head, t->lines[i], i == chosen ? A_STANDOUT : A_NORMAL);
	}
	put_line(height - 1, *t->message ? t->message : "arrows choose   < > sort   k kill   p pause   q quit", A_DIM);
	refresh();
}

/* ---- keys ---- */

static bool sure(struct top *t)
{
	int key;

	snprintf(t->message, sizeof(t->message), "end connection %s? y/n", t->chosen);
	draw(t);
	*t->message = '\0';
	timeout(-1);
	do
		key = getch();
	while (key == KEY_RESIZE);
	return key == 'y' || key == 'Y';
}

static void next_column(struct top *t, size_t by)
{
	t->sort = (t->sort + by) % ARRAY_LEN(columns);
	refresh_list(t);
}

/* false: it is to end. */
static bool dispatch(struct top *t, int key)
{
	int page = getmaxy(stdscr) - head_lines(t) - 2;

	*t->message = '\0';
	switch (key) {
	case 'q':
	case 3: /* Ctrl-C */
		return false;
	case KEY_DOWN:
	case 'j':
		move_by(t, 1);
		break;
	case KEY_UP:
		move_by(t, -1);
		break;
	case KEY_NPAGE:
		move_by(t, page);
		break;
	case KEY_PPAGE:
		move_by(t, -page);
		break;
	case '>':
	case KEY_RIGHT:
		next_column(t, 1);
		break;
	case '<':
	case KEY_LEFT:
		next_column(t, ARRAY_LEN(columns) - 1);
		break;
	case 'p':
	case ' ':
		t->paused = !t->paused;
		break;
	case 'k':
		if (!chosen_line(t))
			snprintf(t->message, sizeof(t->message), "choose a connection with the arrow keys");
		else if (sure(t))
			kill_chosen(t);
		break;
	default: /* KEY_RESIZE: it is drawn again */
		break;
	}
	return true;
}

static void run(struct top *t)
{
	bool go_on = true;

	initscr();
	raw();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	while (go_on) {
		int key;

		draw(t);
		timeout((int)t->period_ms);
		key = getch();
		if (key == ERR && !t->paused)
			refresh_all(t);
		else if (key != ERR)
			go_on = dispatch(t, key);
	}
	endwin();
}

/* Takes "-d SECONDS" out of the words. false: it is wrong. */
static bool take_period(char **words, size_t *n, int64_t *ret)
{
	size_t left = 1;

	for (size_t i = 1; i < *n; i++) {
		if (strcmp(words[i], "-d") != 0)
			words[left++] = words[i];
		else if (++i == *n || !text_parse_time_ms(words[i], ret) || *ret < 100)
			return false;
	}
	*n = left;
	return true;
}

int ctl_top(const char *path, char **words, size_t n)
{
	struct top t = {.path = path, .period_ms = 1000};

	if (!take_period(words, &n, &t.period_ms)) {
		fprintf(stderr, "tcpproxyctl: -d takes seconds, at least 0.1\n");
		return REFUSED;
	}
	t.filters = words + 1;
	t.n_filters = n - 1;
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		fprintf(stderr, "tcpproxyctl: \"top\" needs a terminal; \"connections\" does not\n");
		return REFUSED;
	}
	if (!refresh_all(&t)) {
		fprintf(stderr, "tcpproxyctl: %s\n", t.message);
		return REFUSED;
	}
	setlocale(LC_ALL, "");
	run(&t);
	free(t.text);
	free(t.lines);
	return DONE;
}
