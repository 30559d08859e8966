/* openings_hear.c - which of the sections behind sni and protocol is it that a client means? */
#include "config/openings.h"

#include <string.h>
#include <strings.h>

/* ---- which there are ---- */

const struct section *openings_of(const struct config *c, const struct section *s)
{
	const struct section *root = &c->sections[c->services[s->service].root];

	if (s->opening.kind)
		return NULL;
	if (s->n_openings > 0)
		return s;
	return s != root && !s->own_pool && root->n_openings > 0 ? root : NULL;
}

const struct section *openings_rest(const struct config *c, const struct section *s)
{
	const struct section *owner = openings_of(c, s);

	if (s->has_pool)
		return s;
	return owner && owner->has_pool ? owner : NULL;
}

const struct section *opening_outer(const struct config *c, const struct section *s)
{
	return s->opening.kind ? &c->sections[s->outer] : s;
}

size_t openings_all(const struct config *c, const struct section *s, const struct section **ret)
{
	const struct section *owner = openings_of(c, s), *rest = openings_rest(c, s);
	size_t n = 0;

	for (uint32_t i = 1; owner && i <= owner->n_openings; i++)
		ret[n++] = owner + i;
	if (rest)
		ret[n++] = rest;
	return n;
}

/* ---- by a name ---- */

/* How well a name of the configuration fits one without a final dot; 0: not at all. Names have at most 255 bytes. */
enum { FIT_NONE = 1, FIT_EXACT = 1000 };

static unsigned int name_fit(const char *said, const char *name, size_t len)
{
	size_t n = strlen(said), any = said[0] == '*' ? 1 : 0;

	if (len == 0)
		return strcmp(said, "none") == 0 ? FIT_NONE : 0;
	if (said[0] != '*' && said[0] != '.')
		return n == len && strncasecmp(said, name, len) == 0 ? FIT_EXACT : 0;
	said += any;
	n -= any;
	if (!any && n == len + 1 && strncasecmp(said + 1, name, len) == 0)
		return FIT_EXACT;
	return len > n && strncasecmp(name + len - n, said, n) == 0 ? (unsigned int)n : 0;
}

static bool alpn_fits(char **wanted, const uint8_t *alpn, size_t n_alpn)
{
	for (; *wanted; wanted++)
		if (hello_offers(alpn, n_alpn, *wanted))
			return true;
	return false;
}

/* Those with a protocol that fits come first. */
static unsigned int sni_fit(const struct opening *o, const char *name, size_t len, const uint8_t *alpn, size_t n_alpn)
{
	unsigned int best = 0;

	if (o->kind != OPENING_SNI || (o->alpn && !alpn_fits(o->alpn, alpn, n_alpn)))
		return 0;
	for (char **said = o->words; *said; said++) {
		unsigned int fit = name_fit(*said, name, len);

		if (fit > best)
			best = fit;
	}
	return best && o->alpn ? best + FIT_EXACT : best;
}

static const struct section *find_name(const struct section *owner, const char *name, const uint8_t *alpn,
                                       size_t n_alpn)
{
	const struct section *best = NULL;
	unsigned int best_fit = 0;
	size_t len = strlen(name);

	if (len > 0 && name[len - 1] == '.')
		len--;
	for (uint32_t i = 1; i <= owner->n_openings; i++) {
		unsigned int fit = sni_fit(&owner[i].opening, name, len, alpn, n_alpn);

		if (fit > best_fit) {
			best = &owner[i];
			best_fit = fit;
		}
	}
	return best;
}

/* ---- by a protocol ---- */

static bool has_names(const struct section *owner)
{
	for (uint32_t i = 1; i <= owner->n_openings; i++)
		if (owner[i].opening.kind == OPENING_SNI)
			return true;
	return false;
}

static const struct section *find_word(const struct section *owner, enum sniff_word word)
{
	for (uint32_t i = 1; i <= owner->n_openings; i++)
		if (owner[i].opening.sniffs & 1u << word)
			return &owner[i];
	return NULL;
}

static struct heard lead_to(const struct section *section, enum sniff_word word)
{
	return (struct heard){.kind = HEARD_SECTION, .section = section, .word = word};
}

static struct heard need(size_t more)
{
	return (struct heard){.kind = HEARD_MORE, .more = more};
}

/* None fits. */
static struct heard lead_to_rest(const struct config *c, const struct section *s, enum sniff_word word, enum why why)
{
	const struct section *rest = openings_rest(c, s);

	if (rest)
		return lead_to(rest, word);
	return (struct heard){.kind = HEARD_NO_ROUTE, .word = word, .why = why};
}

struct heard openings_find(const struct config *c, const struct section *s, enum sniff_word word, const char *name,
                           const uint8_t *alpn, size_t n_alpn)
{
	const struct section *owner = openings_of(c, s), *found = NULL;
	bool by_name = word == SNIFF_TLS && has_names(owner);

	if (by_name)
		found = find_name(owner, name, alpn, n_alpn);
	if (!found)
		found = find_word(owner, word);
	if (!found && !by_name && word != SNIFF_SILENT)
		found = find_word(owner, SNIFF_OTHER);
	if (found)
		return lead_to(found, word);
	return lead_to_rest(c, s, word, by_name ? WHY_SNI : word == SNIFF_SILENT ? WHY_SILENT : WHY_PROTOCOL);
}

struct heard openings_silent(const struct config *c, const struct section *s)
{
	return openings_find(c, s, SNIFF_SILENT, "", NULL, 0);
}

/* ---- by bytes ---- */

/* What they are, as far as that can be told. */
static enum sniff_word word_of(const uint8_t *bytes, size_t n)
{
	size_t more;

	for (enum sniff_word w = SNIFF_TLS; w < SNIFF_OTHER; w++)
		if (sniff_fits(w, bytes, n, &more) == SNIFF_YES)
			return w;
	return SNIFF_OTHER;
}

/* The best pattern that fits; MORE: a better one may. kind HEARD_NO_ROUTE: none does, nor will. */
static struct heard hear_patterns(const struct section *owner, const uint8_t *bytes, size_t n, bool last)
{
	const struct sniff_pattern *best = NULL, *hope = NULL;
	struct heard ret = {.kind = HEARD_NO_ROUTE, .more = SIZE_MAX};

	for (uint32_t i = 1; i <= owner->n_openings; i++) {
		const struct opening *o = &owner[i].opening;

		for (size_t k = 0; k < o->n_patterns; k++) {
			const struct sniff_pattern *p = &o->patterns[k];
			size_t more = 0;
			enum sniff_fit fit = sniff_pattern_fits(p, bytes, n, &more);

			if (fit == SNIFF_YES && (!best || sniff_pattern_compare(p, best) > 0)) {
				best = p;
				ret.section = &owner[i];
			} else if (fit == SNIFF_MAYBE) {
				hope = !hope || sniff_pattern_compare(p, hope) > 0 ? p : hope;
				ret.more = more < ret.more ? more : ret.more;
			}
		}
	}
	if (hope && (!best || sniff_pattern_compare(hope, best) > 0) && !(last && best))
		return need(ret.more);
	return best ? lead_to(ret.section, word_of(bytes, n)) : (struct heard){.kind = HEARD_NO_ROUTE};
}

/* The words that some section is for. */
static struct heard hear_words(const struct section *owner, const uint8_t *bytes, size_t n)
{
	size_t least = SIZE_MAX, more = 0;
	const struct section *found;

	for (enum sniff_word w = SNIFF_TLS; w < SNIFF_OTHER; w++) {
		enum sniff_fit fit;

		found = find_word(owner, w);
		fit = found ? sniff_fits(w, bytes, n, &more) : SNIFF_NO;
		if (fit == SNIFF_YES)
			return lead_to(found, w);
		if (fit == SNIFF_MAYBE && more < least)
			least = more;
	}
	return least < SIZE_MAX ? need(least) : (struct heard){.kind = HEARD_NO_ROUTE};
}

static struct heard hear_name(const struct section *owner, const uint8_t *bytes, size_t n, struct hello_reader *hello)
{
	static const enum why whys[] = {[HELLO_BROKEN] = WHY_HELLO, [HELLO_SIZE] = WHY_SIZE, [HELLO_NAME] = WHY_NAME};
	const struct section *found;
	size_t more = 0;

	if (sniff_fits(SNIFF_TLS, bytes, n, &more) == SNIFF_MAYBE)
		return need(more);
	memset(hello, 0, sizeof(*hello));
	hello_read(hello, bytes, n);
	switch ((enum hello_reading)hello->state) {
	case HELLO_MORE:
		return need(n + hello_wanted(hello));
	case HELLO_WRONG:
		return (struct heard){.kind = HEARD_BAD_TLS, .word = SNIFF_TLS, .why = whys[hello->why]};
	case HELLO_WHOLE:
		found = find_name(owner, hello->name, hello->alpn, hello->n_alpn);
		return found ? lead_to(found, SNIFF_TLS)
		             : (struct heard){.kind = HEARD_NO_ROUTE, .word = SNIFF_TLS, .why = WHY_SNI};
	case HELLO_NONE:
		break;
	}
	return (struct heard){.kind = HEARD_NO_ROUTE};
}

struct heard openings_hear(const struct config *c, const struct section *s, const uint8_t *bytes, size_t n, bool last,
                           struct hello_reader *hello)
{
	const struct section *owner = openings_of(c, s), *other;
	struct heard named = {.kind = HEARD_NO_ROUTE}, heard, words;

	if (has_names(owner))
		named = hear_name(owner, bytes, n, hello);
	if (named.kind != HEARD_NO_ROUTE)
		return named;
	heard = hear_patterns(owner, bytes, n, last);
	if (heard.kind == HEARD_SECTION || (heard.kind == HEARD_MORE && !last))
		return heard;
	words = hear_words(owner, bytes, n);
	if (words.kind == HEARD_SECTION)
		return words;
	if (heard.kind == HEARD_MORE || words.kind == HEARD_MORE)
		return heard.kind == HEARD_MORE ? heard : words;
	other = named.why ? NULL : find_word(owner, SNIFF_OTHER);
	if (other)
		return lead_to(other, word_of(bytes, n));
	return lead_to_rest(c, s, word_of(bytes, n), named.why ? named.why : WHY_PROTOCOL);
}
