/*
 * fuzz_files.c - questions for files: to the helper, which answers in the version of the question, does what is on its list, and
 * nothing to what is not; and those of a program that is tried, to the supervisor, which only reads.
 *
 * The first byte says who is asked, the rest is a list of questions. All of it takes place in a directory of our own.
 */
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include "files/helper.c" /* hear() is its own */
#include "restart/trial_files.h"
#include "input.h"

static char dir[] = "/tmp/fuzz-files-XXXXXX";
static struct files_list list;
static struct loop loop;
static struct files files;
static struct trial_files trial = {.loop = &loop, .files = &files};
static struct stat secret;

static const char *at(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void make(const char *name, const char *text)
{
	int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	return remove(path);
}

static void remove_all(void)
{
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void begin(void)
{
	log_set_sink(check_line, NULL);
	CHECK(mkdtemp(dir));
	atexit(remove_all);
	CHECK(mkdir(at("conf.d"), 0700) == 0);
	make("read", "port 25\n");
	make("secret", "mine\n");
	make("conf.d/a.conf", "a");
	make("conf.d/b.conf", "b");
	make("conf.d/other", "c");
	CHECK(stat(at("secret"), &secret) == 0);
	files_list_add(&list, FILES_READ, at("read"));
	files_list_add(&list, FILES_APPEND, at("log"));
	files_list_add(&list, FILES_PID, at("pid"));
	files_list_add(&list, FILES_REMOVE, at("gone"));
	files_list_add_directory(&list, at("empty"));
	files_list_add_pattern(&list, at("conf.d/*.conf"));
	self.list = &list;
	memset(self.askers, -1, sizeof(self.askers));
	files.fd = -1;
	CHECK(loop_init(&loop, -1, NULL, 8) == 0);
}

/* ---- questions ---- */

static const char *const names[] = {
        "read",   "log",   "pid",    "gone",         "empty", "conf.d/*.conf", "conf.d/a.conf", "conf.d/../secret",
        "secret", "read/", "conf.d", "conf.d/other", "",      "conf.d/.conf",  "nothing"};

static void put_path(struct input *in, char *path)
{
	uint8_t which = input_u8(in);
	size_t len = input_u8(in) % 40;

	snprintf(path, PATH_MAX, "%s/%s", dir, names[which % ARRAY_LEN(names)]);
	if (which & 128)
		input_bytes(in, path + strlen(dir) + 1, len);
	for (char *c = path + strlen(dir) + 1; which & 128 && *c; c++)
		if (*c == '/' || *c == '.') /* it stays where it is */
			*c = 'a';
}

static size_t put_question(struct input *in, void *to)
{
	struct files_question q = {.version = FILES_VERSION};
	struct files_question_1 old = {.version = FILES_VERSION_1};
	uint8_t kind = input_u8(in);
	size_t len;

	q.verb = old.verb = input_u8(in) % 8;
	q.serial = input_u8(in);
	if (kind < 140) {
		put_path(in, q.path);
		memcpy(to, &q, sizeof(q));
		return offsetof(struct files_question, path) + strlen(q.path) + 1;
	}
	if (kind < 200) {
		put_path(in, old.path);
		if (kind & 1)
			memset(old.path, 'x', sizeof(old.path));
		memcpy(to, &old, sizeof(old));
		return sizeof(old);
	}
	len = input_u16(in) % sizeof(q);
	memset(to, kind & 1 ? 'x' : 0, sizeof(q));
	input_bytes(in, to, len < 40 ? len : 40);
	return len;
}

/* ---- answers ---- */

static void check_fd(int fd)
{
	struct stat st;

	CHECK(fstat(fd, &st) == 0 && (st.st_dev != secret.st_dev || st.st_ino != secret.st_ino));
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static void take_answer(const struct files_question *q, size_t len, int from)
{
	struct files_answer a;
	size_t n_fds = 1;
	int fd = -1, got = sock_recv_message(from, &a, sizeof(a), &fd, &n_fds);

	CHECK(got == sizeof(a) || got == sizeof(a.result));
	CHECK(a.result <= 0 && (n_fds == 0 || a.result == 0));
	if (got == sizeof(a)) {
		CHECK(a.version == FILES_VERSION && len >= offsetof(struct files_question, path));
		CHECK(a.serial == q->serial && memchr(a.why, 0, sizeof(a.why)));
	}
	if (n_fds == 1)
		check_fd(fd);
}

static void ask_helper(struct input *in)
{
	static struct files_question q;
	int pair[2];

	CHECK(sock_message_pair(pair) == 0 && admit(pair[0]) == 0);
	make("gone", "");
	mkdir(at("empty"), 0700);
	for (int n = 0; in->left > 0 && n < 20; n++) {
		size_t len = put_question(in, &q);

		input_send(in, pair[1], &q, len, input_u8(in) % 4);
		hear(&self.askers[0]);
		if (len > 0)
			take_answer(&q, len, pair[1]);
		if (self.askers[0] < 0)
			break;
	}
	close(pair[1]);
	for (size_t i = 0; i < ARRAY_LEN(self.askers); i++)
		for (int n = 0; n < 30 && self.askers[i] >= 0; n++)
			hear(&self.askers[i]);
	unlink(at("log"));
	unlink(at("pid"));
}

static void ask_supervisor(struct input *in)
{
	static struct files_question q;
	int fd = trial_files_start(&trial);

	CHECK(fd >= 0);
	for (int n = 0; in->left > 0 && n < 20; n++) {
		size_t len = put_question(in, &q);

		if (len > 0 && q.verb != FILES_LIST &&
		    memmem(q.path, sizeof(q.path), "secret", 6)) /* that it may read, too */
			q.path[0] = '\0';
		input_send(in, fd, &q, len, input_u8(in) % 4);
		CHECK(loop_turn(&loop, 0) == 0);
		if (!trial.watch.fn || len == 0)
			break;
		take_answer(&q, len, fd);
	}
	close(fd);
	CHECK(loop_turn(&loop, 0) == 0);
	CHECK(!trial.watch.fn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static pid_t owner;
	struct input in = {data, size};
	struct stat now;
	int fds;

	if (!owner)
		begin();
	owner = getpid();
	fds = fds_open();
	if (input_u8(&in) % 3 < 2)
		ask_helper(&in);
	else
		ask_supervisor(&in);
	CHECK(stat(at("secret"), &now) == 0 && now.st_ino == secret.st_ino && now.st_size == secret.st_size);
	CHECK(access(at("read"), F_OK) == 0 && access(at("conf.d/a.conf"), F_OK) == 0);
	CHECK(fds_open() == fds);
	return 0;
}
