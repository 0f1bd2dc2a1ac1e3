/* SPDX-License-Identifier: Apache-2.0
 *
 * Dict keys and set members (invariant P12): which values may be one, and that
 * no file can make hashing quadratic. Python's hashes of numbers and tuples are
 * not keyed, so they are computed here as CPython does; keys whose hash we do
 * not compute count as if all of them collided.
 */
#include <math.h>
#include <stdlib.h>

#include "utf8.h"
#include "vet.h"

enum { MAX_KEY_DEPTH = 8, FREE_KEY_PARTS = 1 << 20 };

/* --- items of a container at this point of the stream ------------------------------- */

static void enter_fill(ptio_items *items, ptio_node_kind kind) {
    const ptio_graph *graph = items->v->graph;
    while (items->fill != 0 && items->fill < items->v->now && graph->nodes[items->fill].kind != kind)
        items->fill = ptio_next_fill(graph, items->container, items->fill);
    if (items->fill != 0 && items->fill < items->v->now) {
        items->at = graph->nodes[items->fill].first;
        items->end = items->at + graph->nodes[items->fill].count;
    } else {
        items->fill = 0;
    }
}

ptio_items ptio_vet_items(const ptio_vetting *v, ptio_ref container, ptio_node_kind fill_kind) {
    const ptio_node *node = vet_node(v, container);
    ptio_items items = {.v = v, .container = container};
    if (node->kind == PTIO_N_TUPLE || node->kind == PTIO_N_FROZENSET) {
        items.at = node->first;
        items.end = node->first + node->count;
    } else {
        items.fill = ptio_first_fill(v->graph, container);
        enter_fill(&items, fill_kind);
    }
    return items;
}

bool ptio_items_next(ptio_items *items, ptio_ref *item) {
    const ptio_graph *graph = items->v->graph;
    while (items->at == items->end) {
        if (items->fill == 0) return false;
        ptio_node_kind kind = graph->nodes[items->fill].kind;
        items->fill = ptio_next_fill(graph, items->container, items->fill);
        enter_fill(items, kind);
        if (items->fill == 0) return false;
    }
    *item = ptio_follow(graph, graph->refs[items->at++]);
    return true;
}

/* --- which values may be keys ---------------------------------------------------------- */

/* Depth is bounded by MAX_KEY_DEPTH, so this recursion is too; the budget keeps
 * one large tuple from being hashed over and over. */
static ptio_status check_key(ptio_vetting *v, ptio_ref ref, unsigned depth) {
    const ptio_node *node = vet_value(v, ref);
    ptio_ref item;
    VET_CHECK(v, depth <= MAX_KEY_DEPTH, "P12.depth", LIMIT, "a key nests tuples deeper than %d",
              MAX_KEY_DEPTH);
    VET_CHECK(v, v->key_parts++ < FREE_KEY_PARTS + 16 * (uint64_t)v->graph->count, "P12.parts", LIMIT,
              "tuples are used as keys too often to be hashed in bounded time");
    switch (node->kind) {
    case PTIO_N_NONE:
    case PTIO_N_FALSE:
    case PTIO_N_TRUE:
    case PTIO_N_INT:
    case PTIO_N_FLOAT:
    case PTIO_N_STR:
    case PTIO_N_BYTES:
    case PTIO_N_PY2_STR:
    case PTIO_N_DTYPE:
    case PTIO_N_NAMED:
    case PTIO_N_OPAQUE:
    case PTIO_N_OPAQUE_STACK:
    case PTIO_N_OPAQUE_CALL:
    case PTIO_N_FOREIGN:
    case PTIO_N_FOREIGN_CALL: return PTIO_OK;
    case PTIO_N_BIG_INT:
    case PTIO_N_BIG_DECIMAL: /* hashed digit by digit */ v->key_parts += node->a / 16; return PTIO_OK;
    case PTIO_N_TUPLE:
    case PTIO_N_FROZENSET:
        for (ptio_items items = ptio_vet_items(v, ptio_follow(v->graph, ref), PTIO_N_APPEND);
             ptio_items_next(&items, &item);)
            PTIO_TRY(check_key(v, item, depth + 1));
        return PTIO_OK;
    case PTIO_N_MARKER: /* the final walk refuses it as a value, with its name */ return PTIO_OK;
    default:
        if (v->options->torch_values && ptio_vet_is_tensor(v, ptio_follow(v->graph, ref))) return PTIO_OK;
        VET_CHECK(v, node->kind == PTIO_N_MADE && (node->flags & PTIO_F_HASHABLE), "P12.hashable",
                  PICKLE_MALFORMED, "%s is used as a dict key or set member", ptio_vet_kind_name(v, ref));
        return PTIO_OK; /* its handler has proven the parts */
    }
}

static ptio_status note_keyed(ptio_vetting *v, ptio_ref container) {
    void *items = v->keyed;
    if (v->keyed_count > 0 && v->keyed[v->keyed_count - 1] == container) return PTIO_OK;
    PTIO_TRY(ptio_arena_grow(&v->graph->arena, &items, &v->keyed_capacity, v->keyed_count + 1,
                             sizeof(ptio_ref), v->err));
    v->keyed = items;
    v->keyed[v->keyed_count++] = container;
    return PTIO_OK;
}

ptio_status ptio_vet_key(ptio_vetting *v, ptio_ref container, ptio_ref key) {
    PTIO_TRY(check_key(v, key, 0));
    return note_keyed(v, container);
}

/* --- Python's hashes ---------------------------------------------------------------------- */

#define HASH_MODULUS ((UINT64_C(1) << 61) - 1)
enum { HASH_BITS = 61 };

static uint64_t finish(uint64_t magnitude, bool negative) {
    uint64_t hash = negative ? 0 - magnitude : magnitude;
    return hash == UINT64_MAX ? UINT64_MAX - 1 : hash; /* -1 becomes -2 */
}

static uint64_t hash_integer(int64_t value) {
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    return finish(magnitude % HASH_MODULUS, value < 0);
}

/* value * 2**bits, modulo 2**61 - 1, of a value that is smaller */
static uint64_t times_power(uint64_t value, unsigned bits) {
    return (value << bits & HASH_MODULUS) | value >> (HASH_BITS - bits);
}

static uint64_t hash_big_int(const uint8_t *bytes, size_t size) {
    bool negative = bytes[size - 1] & 0x80;
    uint64_t magnitude = 0, digit;
    for (size_t i = size; i > 0; i--) { /* a negative one as -(~value) - 1 */
        digit = negative ? (uint8_t)~bytes[i - 1] : bytes[i - 1];
        magnitude = (times_power(magnitude, 8) + digit) % HASH_MODULUS;
    }
    return finish(negative ? (magnitude + 1) % HASH_MODULUS : magnitude, negative);
}

static uint64_t hash_big_decimal(const uint8_t *digits, size_t size) {
    bool negative = digits[0] == '-';
    uint64_t magnitude = 0;
    for (size_t i = negative; i < size; i++) /* 10 = 8 + 2 */
        magnitude = (times_power(magnitude, 3) + times_power(magnitude, 1) + (uint64_t)(digits[i] - '0')) %
                    HASH_MODULUS;
    return finish(magnitude, negative);
}

static uint64_t hash_double(double value) {
    int exponent;
    uint64_t hash = 0;
    if (isinf(value)) return finish(314159, value < 0);
    if (isnan(value)) return 0;
    double rest = frexp(fabs(value), &exponent);
    while (rest != 0) {
        hash = (hash << 28 & HASH_MODULUS) | hash >> (HASH_BITS - 28);
        rest *= 268435456.0; /* 2**28 */
        exponent -= 28;
        uint64_t whole = (uint64_t)rest;
        rest -= (double)whole;
        hash += whole;
        if (hash >= HASH_MODULUS) hash -= HASH_MODULUS;
    }
    unsigned turn =
        (unsigned)(exponent >= 0 ? exponent % HASH_BITS : HASH_BITS - 1 - (-1 - exponent) % HASH_BITS);
    if (turn > 0) hash = (hash << turn & HASH_MODULUS) | hash >> (HASH_BITS - turn);
    return finish(hash, value < 0);
}

/* Python's own is keyed per process, so no file makes texts collide; and it is
 * computed once for each object, so a long key that comes often costs nothing. */
static uint64_t hash_identity(ptio_ref ref) { return UINT64_C(0x9E3779B97F4A7C15) * ref; }

/* One hash for all of a kind: constants, and those whose hash is not computed here. */
static uint64_t hash_kind(const ptio_node *node) {
    return UINT64_C(0xD1B54A32D192ED03) * (node->kind + UINT64_C(64) * node->sub + 1);
}

/* Hashed by their text or bytes, which is keyed; or numbers of 8 bytes at most, of
 * which few share a hash. Complex numbers and pairs of ints are not among them. */
static bool cannot_collide(const ptio_vetting *v, const ptio_node *node) {
    switch (node->sub) {
    case PTIO_MAKE_POSIX_PATH:
    case PTIO_MAKE_WINDOWS_PATH:
    case PTIO_MAKE_DEVICE:
    case PTIO_MAKE_DATE: return true;
    case PTIO_MAKE_DATETIME:
    case PTIO_MAKE_TIME: /* with a time zone: by the difference from UTC */
        return vet_node(v, node->b)->count == 1;
    case PTIO_MAKE_NUMPY_SCALAR: {
        ptio_ref dtype = vet_item(v, vet_node(v, node->b), 0);
        const ptio_numpy_dtype *type = &v->c->numpy_dtypes[vet_node(v, dtype)->a];
        return type->kind == 'S' || type->kind == 'U' || (type->kind != 'c' && type->item_bytes <= 8);
    }
    default: return false;
    }
}

static uint64_t hash_key(const ptio_vetting *v, ptio_ref ref) {
    const uint64_t p1 = UINT64_C(11400714785074694791), p2 = UINT64_C(14029467366897019727),
                   p5 = UINT64_C(2870177450012600261);
    const ptio_node *node = vet_value(v, ref);
    uint64_t hash = p5;
    switch (node->kind) {
    case PTIO_N_FALSE: return 0;
    case PTIO_N_TRUE: return 1;
    case PTIO_N_INT: return hash_integer(node->integer);
    case PTIO_N_FLOAT: return hash_double(node->real);
    case PTIO_N_BIG_INT: return hash_big_int(ptio_text(v->graph, node), node->a);
    case PTIO_N_BIG_DECIMAL: return hash_big_decimal(ptio_text(v->graph, node), node->a);
    case PTIO_N_STR:
    case PTIO_N_BYTES:
    case PTIO_N_PY2_STR: return hash_identity(ptio_follow(v->graph, ref));
    case PTIO_N_TUPLE: /* depth and size were proven when it became a key */
        for (uint32_t i = 0; i < node->count; i++) {
            hash += hash_key(v, vet_item(v, node, i)) * p2;
            hash = (hash << 31 | hash >> 33) * p1;
        }
        return hash + (node->count ^ (p5 ^ UINT64_C(3527539)));
    case PTIO_N_NONE:
    case PTIO_N_DTYPE:
    case PTIO_N_NAMED: return hash_kind(node);
    case PTIO_N_OPAQUE:
    case PTIO_N_OPAQUE_STACK:
    case PTIO_N_OPAQUE_CALL:
    case PTIO_N_FOREIGN:
    case PTIO_N_FOREIGN_CALL:
    case PTIO_N_TENSOR: /* torch's */ return hash_identity(ptio_follow(v->graph, ref));
    case PTIO_N_MADE:
        if (cannot_collide(v, node) || ptio_vet_is_tensor(v, ptio_follow(v->graph, ref)))
            return hash_identity(ptio_follow(v->graph, ref));
        return hash_kind(node);
    default: return hash_kind(node);
    }
}

/* --- the budget ------------------------------------------------------------------------------ */

typedef struct {
    uint64_t *items;
    size_t count, capacity;
} hash_list;

static ptio_status add_hash(ptio_vetting *v, hash_list *hashes, ptio_ref key) {
    void *items = hashes->items;
    PTIO_TRY(ptio_arena_grow(&v->graph->arena, &items, &hashes->capacity, hashes->count + 1, sizeof(uint64_t),
                             v->err));
    hashes->items = items;
    hashes->items[hashes->count++] = hash_key(v, key);
    return PTIO_OK;
}

/* Keys of the pairs that an OrderedDict was made from. */
static ptio_status gather_pairs(ptio_vetting *v, ptio_ref list, hash_list *hashes) {
    ptio_ref pair, key;
    if (vet_is(v, list, PTIO_N_DICT)) return PTIO_OK; /* its keys were counted already */
    for (ptio_items items = ptio_vet_items(v, list, PTIO_N_APPEND); ptio_items_next(&items, &pair);) {
        ptio_items inner = ptio_vet_items(v, pair, PTIO_N_APPEND);
        if (ptio_items_next(&inner, &key)) PTIO_TRY(add_hash(v, hashes, key));
    }
    return PTIO_OK;
}

static ptio_status gather(ptio_vetting *v, ptio_ref container, hash_list *hashes) {
    const ptio_node *node = vet_node(v, container);
    bool pairs = node->kind == PTIO_N_DICT || node->kind == PTIO_N_MADE || node->kind == PTIO_N_OPAQUE_CALL ||
                 node->kind == PTIO_N_FOREIGN_CALL;
    ptio_ref key, ignored;
    hashes->count = 0;
    v->now = PTIO_NO_NODE; /* all fills, to the end of the stream */
    if (vet_is_made(v, container, PTIO_MAKE_ORDERED_DICT) && node->b != PTIO_NODE_NONE)
        PTIO_TRY(gather_pairs(v, vet_item(v, vet_node(v, node->b), 0), hashes));
    ptio_items items = ptio_vet_items(v, container,
                                      node->kind == PTIO_N_SET    ? PTIO_N_ADD
                                      : node->kind == PTIO_N_LIST ? PTIO_N_APPEND
                                                                  : PTIO_N_SETITEM);
    while (ptio_items_next(&items, &key)) {
        PTIO_TRY(add_hash(v, hashes, key));
        if (pairs && !ptio_items_next(&items, &ignored)) break;
    }
    return PTIO_OK;
}

static int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool is_rising(const hash_list *hashes) {
    for (size_t i = 1; i < hashes->count; i++)
        if (hashes->items[i - 1] >= hashes->items[i]) return false;
    return true;
}

static uint64_t count_collisions(hash_list *hashes) {
    uint64_t pairs = 0, run = 0;
    if (is_rising(hashes)) return 0; /* 0, 1, 2, ...: every optimizer's state */
    qsort(hashes->items, hashes->count, sizeof *hashes->items, compare_hashes);
    for (size_t i = 1; i < hashes->count; i++) {
        run = hashes->items[i - 1] == hashes->items[i] ? run + 1 : 0;
        pairs += run;
    }
    return pairs;
}

static int compare_refs(const void *a, const void *b) {
    ptio_ref x = *(const ptio_ref *)a, y = *(const ptio_ref *)b;
    return (x > y) - (x < y);
}

ptio_status ptio_vet_hash_work(ptio_vetting *v) {
    hash_list hashes = {0};
    uint64_t work = 0;
    ptio_status status = PTIO_OK;
    if (v->keyed_count > 1) qsort(v->keyed, v->keyed_count, sizeof *v->keyed, compare_refs);
    for (size_t i = 0; i < v->keyed_count && status == PTIO_OK; i++) {
        if (i > 0 && v->keyed[i] == v->keyed[i - 1]) continue;
        status = gather(v, v->keyed[i], &hashes);
        if (status == PTIO_OK) work += count_collisions(&hashes);
        if (work > v->options->limits.hash_work && ptio_check_is_on("P12.work"))
            status =
                ptio_fail(v->err, PTIO_E_LIMIT, "P12.work", PTIO_NO_OFFSET,
                          "keys with equal hashes would make more than %llu comparisons (limit hash_work)",
                          (unsigned long long)v->options->limits.hash_work);
    }
    return status;
}
