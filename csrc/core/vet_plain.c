/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that make plain Python values: builtins, collections, datetime, pathlib
 * and torch's small ones. Each handler proves that Python will accept the
 * arguments, so that building cannot fail.
 */
#include "utf8.h"
#include "vet.h"

#define HANDLER(name) \
    ptio_status ptio_vet_##name(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments)

static uint32_t argument_count(const ptio_vetting *v, ptio_ref arguments) {
    return vet_node(v, arguments)->count;
}

static ptio_ref argument(const ptio_vetting *v, ptio_ref arguments, size_t i) {
    return vet_item(v, vet_node(v, arguments), i);
}

/* What an argument must be, in a message: "date is called with a list". */
#define ARGUMENT_CHECK(v, condition, id, what, ref) \
    VET_CHECK(v, condition, id, PICKLE_MALFORMED, "%s is called with %s", what, ptio_vet_kind_name(v, ref))

static bool is_int(const ptio_vetting *v, ptio_ref ref, int64_t least, int64_t most) {
    const ptio_node *node = vet_node(v, ref);
    return node->kind == PTIO_N_INT && node->integer >= least && node->integer <= most;
}

static bool is_number(const ptio_vetting *v, ptio_ref ref) {
    return vet_is(v, ref, PTIO_N_INT) || vet_is(v, ref, PTIO_N_FLOAT);
}

/* --- bytes --------------------------------------------------------------------------- */

static void set_bytes(ptio_vetting *v, ptio_ref ref, uint64_t text, uint64_t size) {
    ptio_node *node = vet_node(v, ref);
    node->kind = PTIO_N_BYTES;
    node->flags = 0;
    node->a = (uint32_t)size;
    node->text = text;
}

/* UTF-8 text whose code points are bytes -> those bytes, among the unescaped. */
static ptio_status transcode(ptio_vetting *v, ptio_ref ref, const ptio_node *text, size_t characters) {
    ptio_graph *graph = v->graph;
    void *bytes = graph->unescaped;
    size_t begin = graph->unescaped_size;
    PTIO_TRY(ptio_vet_charge(v, characters));
    PTIO_TRY(
        ptio_arena_grow(&v->graph->arena, &bytes, &graph->unescaped_capacity, begin + characters, 1, v->err));
    graph->unescaped = bytes;
    const uint8_t *from = ptio_text(graph, text);
    for (uint32_t at = 0; at < text->a; at++) {
        uint8_t c = from[at];
        if (c >= 0x80) c = (uint8_t)((uint8_t)(c << 6) | (from[++at] & 0x3F));
        graph->unescaped[graph->unescaped_size++] = c;
    }
    set_bytes(v, ref, graph->pickle_size + begin, characters);
    return PTIO_OK;
}

/* _codecs.encode(text, "latin1"): how bytes look in protocols 0 to 2. */
HANDLER(encode) {
    ptio_ref text_ref = argument(v, arguments, 0), codec = argument(v, arguments, 1);
    const ptio_node *text = vet_node(v, text_ref);
    ptio_utf8_facts facts = {0};
    (void)maker;
    ARGUMENT_CHECK(v, text->kind == PTIO_N_STR, "P8.encode", "_codecs.encode", text_ref);
    bool latin1 = ptio_vet_text_is(v, codec, "latin1") || ptio_vet_text_is(v, codec, "latin-1");
    VET_CHECK(v, latin1 && !vet_is(v, codec, PTIO_N_BYTES), "P8.codec", PICKLE_MALFORMED,
              "_codecs.encode with a codec other than latin1");
    if (text->flags & PTIO_F_ASCII) {
        set_bytes(v, ref, text->text, text->a);
        return PTIO_OK;
    }
    bool valid = ptio_utf8_check(ptio_text(v->graph, text), text->a, &facts);
    VET_CHECK(v, valid && facts.largest <= 0xFF, "P8.latin1", PICKLE_MALFORMED,
              "_codecs.encode(..., 'latin1') of a text that is not Latin-1");
    return transcode(v, ref, text, (size_t)facts.characters);
}

HANDLER(bytes) {
    (void)maker;
    (void)arguments;
    set_bytes(v, ref, 0, 0);
    return PTIO_OK;
}

/* bytearray(), bytearray(bytes), bytearray(text, "latin-1") */
HANDLER(bytearray) {
    if (argument_count(v, arguments) == 2) {
        PTIO_TRY(ptio_vet_encode(v, ref, maker, arguments));
    } else if (argument_count(v, arguments) == 1) {
        ptio_ref bytes = argument(v, arguments, 0);
        const ptio_node *node = vet_node(v, bytes);
        ARGUMENT_CHECK(v, node->kind == PTIO_N_BYTES, "P8.bytearray", "bytearray", bytes);
        PTIO_TRY(ptio_vet_charge(v, node->a));
        set_bytes(v, ref, node->text, node->a);
    } else {
        set_bytes(v, ref, 0, 0);
    }
    vet_node(v, ref)->kind = PTIO_N_BYTEARRAY;
    return PTIO_OK;
}

/* --- numbers ---------------------------------------------------------------------------- */

HANDLER(complex) {
    for (size_t i = 0; i < 2; i++)
        ARGUMENT_CHECK(v, is_number(v, argument(v, arguments, i)), "P8.complex", "complex",
                       argument(v, arguments, i));
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

static bool is_any_int(const ptio_vetting *v, ptio_ref ref) {
    const ptio_node *node = vet_node(v, ref);
    return node->kind == PTIO_N_INT || node->kind == PTIO_N_BIG_INT || node->kind == PTIO_N_BIG_DECIMAL;
}

/* 0 is always a small int: the parser takes no needless bytes or digits for a large one. */
static bool is_zero(const ptio_vetting *v, ptio_ref ref) {
    const ptio_node *node = vet_node(v, ref);
    return node->kind == PTIO_N_INT && node->integer == 0;
}

HANDLER(range) {
    uint32_t count = argument_count(v, arguments);
    for (size_t i = 0; i < count; i++)
        ARGUMENT_CHECK(v, is_any_int(v, argument(v, arguments, i)), "P8.range", "range",
                       argument(v, arguments, i));
    VET_CHECK(v, count < 3 || !is_zero(v, argument(v, arguments, 2)), "P8.range-step", PICKLE_MALFORMED,
              "a range with a step of 0");
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

/* A slice only holds its arguments, whatever they are. */
HANDLER(slice) {
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

/* --- containers ---------------------------------------------------------------------------- */

#define SLOT_COST ((uint64_t)48) /* bytes that a copied item takes in a set or dict */

HANDLER(set) {
    ptio_ref item, from;
    ptio_vet_made(v, ref, maker, PTIO_NODE_NONE);
    if (argument_count(v, arguments) == 0) return PTIO_OK;
    from = argument(v, arguments, 0);
    ARGUMENT_CHECK(v, vet_is(v, from, PTIO_N_LIST) || vet_is(v, from, PTIO_N_TUPLE), "P8.set", "set", from);
    for (ptio_items items = ptio_vet_items(v, from, PTIO_N_APPEND); ptio_items_next(&items, &item);) {
        PTIO_TRY(ptio_vet_charge(v, SLOT_COST));
        PTIO_TRY(ptio_vet_key(v, from, item));
    }
    vet_copied(v, from);
    vet_node(v, ref)->b = arguments;
    return PTIO_OK;
}

static bool is_pair(const ptio_vetting *v, ptio_ref ref, ptio_ref *key) {
    ptio_ref value, extra;
    if (!vet_is(v, ref, PTIO_N_LIST) && !vet_is(v, ref, PTIO_N_TUPLE)) return false;
    ptio_items items = ptio_vet_items(v, ref, PTIO_N_APPEND);
    return ptio_items_next(&items, key) && ptio_items_next(&items, &value) &&
           !ptio_items_next(&items, &extra);
}

/* OrderedDict(), OrderedDict([[key, value], ...]) as Python 2 writes it, or of a dict */
HANDLER(ordered_dict) {
    ptio_ref from, item, key;
    ptio_vet_made(v, ref, maker, PTIO_NODE_NONE);
    if (argument_count(v, arguments) == 0) return PTIO_OK;
    from = argument(v, arguments, 0);
    bool dict = vet_is(v, from, PTIO_N_DICT);
    ARGUMENT_CHECK(v, dict || vet_is(v, from, PTIO_N_LIST) || vet_is(v, from, PTIO_N_TUPLE),
                   "P8.ordered-dict", "OrderedDict", from);
    ptio_items items = ptio_vet_items(v, from, dict ? PTIO_N_SETITEM : PTIO_N_APPEND);
    while (ptio_items_next(&items, &item)) {
        PTIO_TRY(ptio_vet_charge(v, 2 * SLOT_COST));
        if (dict) continue;
        ARGUMENT_CHECK(v, is_pair(v, item, &key), "P8.pair", "OrderedDict", item);
        PTIO_TRY(ptio_vet_key(v, ref, key));
    }
    vet_copied(v, from);
    vet_node(v, ref)->b = arguments;
    return PTIO_OK;
}

HANDLER(counter) {
    ptio_ref from, item;
    ptio_vet_made(v, ref, maker, PTIO_NODE_NONE);
    if (argument_count(v, arguments) == 0) return PTIO_OK;
    from = argument(v, arguments, 0);
    ARGUMENT_CHECK(v, vet_is(v, from, PTIO_N_DICT), "P8.counter", "Counter", from);
    for (ptio_items items = ptio_vet_items(v, from, PTIO_N_SETITEM); ptio_items_next(&items, &item);)
        PTIO_TRY(ptio_vet_charge(v, SLOT_COST));
    vet_copied(v, from);
    vet_node(v, ref)->b = arguments;
    return PTIO_OK;
}

/* The factory is a builtin type: the node keeps its global, plus 1. One that is
 * not ours makes the whole dict not ours. */
HANDLER(default_dict) {
    ptio_ref factory = PTIO_NODE_NONE;
    if (argument_count(v, arguments) == 1) factory = argument(v, arguments, 0);
    const ptio_node *node = vet_node(v, factory);
    if (vet_is_not_ours(v, factory)) {
        ptio_vet_not_ours(v, ref, factory);
        return PTIO_OK;
    }
    uint32_t global = 0;
    if (factory != PTIO_NODE_NONE) {
        bool marker = node->kind == PTIO_N_MARKER;
        const ptio_global *type = marker ? ptio_global_get(node->sub) : NULL;
        ARGUMENT_CHECK(v, type != NULL && (type->role == PTIO_ROLE_FACTORY || type->role == PTIO_ROLE_MAKE),
                       "P8.factory", "defaultdict", factory);
        VET_CHECK(v,
                  type->role == PTIO_ROLE_FACTORY ||
                      (type->value >= PTIO_MAKE_BYTES && type->value <= PTIO_MAKE_COMPLEX) ||
                      (type->value >= PTIO_MAKE_ORDERED_DICT && type->value <= PTIO_MAKE_DEQUE),
                  "P8.factory-kind", PICKLE_MALFORMED, "defaultdict cannot call %s.%s", type->module,
                  type->name);
        global = node->sub + 1u;
    }
    ptio_vet_made(v, ref, maker, PTIO_NODE_NONE);
    vet_node(v, ref)->a = global;
    return PTIO_OK;
}

/* deque(), deque(items), deque(items, maxlen) */
HANDLER(deque) {
    ptio_ref item;
    uint32_t count = argument_count(v, arguments);
    ptio_vet_made(v, ref, maker, count == 0 ? PTIO_NODE_NONE : arguments);
    if (count >= 1) {
        ptio_ref from = argument(v, arguments, 0);
        ARGUMENT_CHECK(v, vet_is(v, from, PTIO_N_LIST) || vet_is(v, from, PTIO_N_TUPLE), "P8.deque", "deque",
                       from);
        for (ptio_items items = ptio_vet_items(v, from, PTIO_N_APPEND); ptio_items_next(&items, &item);)
            PTIO_TRY(ptio_vet_charge(v, sizeof(void *)));
        vet_copied(v, from);
    }
    if (count == 2) {
        ptio_ref length = argument(v, arguments, 1);
        ARGUMENT_CHECK(v, length == PTIO_NODE_NONE || is_int(v, length, 0, INT64_MAX), "P8.maxlen", "deque",
                       length);
    }
    return PTIO_OK;
}

/* --- namespaces and attributes ------------------------------------------------------------- */

HANDLER(namespace) {
    (void)arguments;
    ptio_vet_made(v, ref, maker, PTIO_NODE_NONE);
    return PTIO_OK;
}

/* copyreg._reconstructor(class, object, None): NEWOBJ in protocols 0 and 1. */
HANDLER(reconstructor) {
    ptio_ref class_ = argument(v, arguments, 0), base = argument(v, arguments, 1);
    const ptio_node *class_node = vet_node(v, class_), *base_node = vet_node(v, base);
    (void)maker;
    bool object =
        base_node->kind == PTIO_N_MARKER && strcmp(ptio_global_get(base_node->sub)->name, "object") == 0;
    bool theirs = vet_is(v, class_, PTIO_N_FOREIGN) && (object || vet_is(v, base, PTIO_N_FOREIGN));
    if (vet_is_unknown(v, class_) || theirs) {
        ptio_vet_not_ours(v, ref, class_);
        return PTIO_OK;
    }
    const ptio_global *type = class_node->kind == PTIO_N_MARKER ? ptio_global_get(class_node->sub) : NULL;
    bool namespace_ = type != NULL && type->role == PTIO_ROLE_MAKE && type->value == PTIO_MAKE_NAMESPACE;
    ARGUMENT_CHECK(v, namespace_ && object && argument(v, arguments, 2) == PTIO_NODE_NONE, "P8.reconstructor",
                   "copyreg._reconstructor", class_);
    ptio_vet_made(v, ref, (ptio_maker)type->value, PTIO_NODE_NONE);
    return PTIO_OK;
}

/* Attributes of an OrderedDict may not hide what a dict does. */
static bool hides_method(const ptio_vetting *v, ptio_ref key) {
    static const char *const methods[] = {"clear",   "copy",       "fromkeys",    "get",
                                          "items",   "keys",       "move_to_end", "pop",
                                          "popitem", "setdefault", "update",      "values"};
    const ptio_node *node = vet_node(v, key);
    const uint8_t *text = ptio_text(v->graph, node);
    if (node->a >= 2 && text[0] == '_' && text[1] == '_') return true;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (ptio_vet_text_is(v, key, methods[i])) return true;
    return false;
}

ptio_status ptio_vet_build_attributes(ptio_vetting *v, ptio_ref target, ptio_ref state) {
    ptio_ref key, value;
    char quoted[PTIO_QUOTED];
    bool ordered = vet_is_made(v, target, PTIO_MAKE_ORDERED_DICT);
    VET_CHECK(v, vet_is(v, state, PTIO_N_DICT), "P6.state", PICKLE_MALFORMED,
              "BUILD of %s with %s instead of a dict", ptio_vet_kind_name(v, target),
              ptio_vet_kind_name(v, state));
    ptio_items items = ptio_vet_items(v, state, PTIO_N_SETITEM);
    while (ptio_items_next(&items, &key) && ptio_items_next(&items, &value)) {
        VET_CHECK(v, vet_is(v, key, PTIO_N_STR), "P6.attribute", PICKLE_MALFORMED,
                  "an attribute's name is %s", ptio_vet_kind_name(v, key));
        VET_CHECK(v, !ordered || !hides_method(v, key), "P6.shadow", PICKLE_MALFORMED,
                  "attribute '%s' would hide what an OrderedDict does",
                  ptio_quote(quoted, ptio_text(v->graph, vet_node(v, key)), vet_node(v, key)->a));
        PTIO_TRY(ptio_vet_charge(v, SLOT_COST));
    }
    return PTIO_OK;
}

/* --- paths, sizes, devices, layouts ---------------------------------------------------------- */

/* The parts may be the same long text over and over: the path has all of it. */
HANDLER(path) {
    for (size_t i = 0; i < argument_count(v, arguments); i++) {
        ptio_ref part = argument(v, arguments, i);
        ARGUMENT_CHECK(v, vet_is(v, part, PTIO_N_STR), "P8.path", "a path", part);
        PTIO_TRY(ptio_vet_charge(v, 16 + 2 * (uint64_t)vet_node(v, part)->a));
    }
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

/* torch.Size is a tuple of ints: the argument itself, if there is one. */
HANDLER(size) {
    (void)maker;
    if (argument_count(v, arguments) == 0) {
        ptio_vet_same(v, ref, arguments);
        return PTIO_OK;
    }
    ptio_ref tuple = argument(v, arguments, 0);
    ARGUMENT_CHECK(v, vet_is(v, tuple, PTIO_N_TUPLE), "P8.size", "torch.Size", tuple);
    PTIO_TRY(
        ptio_vet_charge(v, sizeof(void *) * (uint64_t)vet_node(v, tuple)->count)); /* pays for the loop */
    for (uint32_t i = 0; i < vet_node(v, tuple)->count; i++)
        ARGUMENT_CHECK(v, vet_is(v, vet_item(v, vet_node(v, tuple), i), PTIO_N_INT), "P8.size-int",
                       "torch.Size", vet_item(v, vet_node(v, tuple), i));
    ptio_vet_same(v, ref, tuple);
    return PTIO_OK;
}

/* torch.device("cuda:0") or torch.device("cuda", 0): becomes a str. */
HANDLER(device) {
    ptio_ref name = argument(v, arguments, 0);
    ARGUMENT_CHECK(v, vet_is(v, name, PTIO_N_STR) || vet_is(v, name, PTIO_N_PY2_STR), "P8.device-name",
                   "torch.device", name);
    if (argument_count(v, arguments) == 1) {
        ptio_vet_same(v, ref, name);
        return PTIO_OK;
    }
    ARGUMENT_CHECK(v, is_int(v, argument(v, arguments, 1), 0, INT8_MAX), "P8.device-index", "torch.device",
                   argument(v, arguments, 1));
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

/* _get_layout("torch.sparse_coo"): becomes that text. */
HANDLER(layout) {
    static const char *const layouts[] = {"torch.strided",    "torch.sparse_coo", "torch.sparse_csr",
                                          "torch.sparse_csc", "torch.sparse_bsr", "torch.sparse_bsc",
                                          "torch.jagged",     "torch._mkldnn"};
    ptio_ref name = argument(v, arguments, 0);
    bool known = false;
    (void)maker;
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        known = known || ptio_vet_text_is(v, name, layouts[i]);
    VET_CHECK(v, known && vet_is(v, name, PTIO_N_STR), "P8.layout-name", VALUE_UNSUPPORTED,
              "a tensor layout that ptio does not know");
    ptio_vet_same(v, ref, name);
    return PTIO_OK;
}

/* --- dates and times ---------------------------------------------------------------------------- */

/* Python's own pickle form: big-endian year, month, day. */
static bool is_date(const uint8_t *bytes, uint8_t month) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year = (unsigned)bytes[0] << 8 | bytes[1];
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1 || year > 9999 || month < 1 || month > 12 || bytes[3] < 1) return false;
    return bytes[3] <= days[month - 1] + (month == 2 && leap);
}

static bool is_time(const uint8_t *bytes, uint8_t hour) {
    uint32_t micro = (uint32_t)bytes[3] << 16 | (uint32_t)bytes[4] << 8 | bytes[5];
    return hour < 24 && bytes[1] < 60 && bytes[2] < 60 && micro < 1000000;
}

/* The state in the first argument, size bytes of it; NULL if it is none. */
static const uint8_t *take_state(const ptio_vetting *v, ptio_ref arguments, uint32_t size) {
    ptio_node *node = vet_node(v, argument(v, arguments, 0));
    return vet_is_data(node) && node->a == size ? ptio_text(v->graph, node) : NULL;
}

/* A time with its zone, if it has one; of a zone that is not ours it is not ours either. */
static ptio_status make_timed(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    ptio_ref zone = argument_count(v, arguments) == 2 ? argument(v, arguments, 1) : PTIO_NODE_NONE;
    if (vet_is(v, zone, PTIO_N_OPAQUE_CALL) || vet_is(v, zone, PTIO_N_FOREIGN_CALL)) {
        ptio_vet_not_ours(v, ref, zone);
        return PTIO_OK;
    }
    ARGUMENT_CHECK(v, zone == PTIO_NODE_NONE || vet_is_made(v, zone, PTIO_MAKE_TIMEZONE), "P8.zone",
                   "a time with its zone", zone);
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

HANDLER(date) {
    const uint8_t *state = take_state(v, arguments, 4);
    ARGUMENT_CHECK(v, state != NULL && is_date(state, state[2]), "P8.date", "date",
                   argument(v, arguments, 0));
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

HANDLER(time) {
    const uint8_t *state = take_state(v, arguments, 6);
    ARGUMENT_CHECK(v, state != NULL && is_time(state, state[0] & 0x7F), "P8.time", "time",
                   argument(v, arguments, 0));
    return make_timed(v, ref, maker, arguments);
}

HANDLER(datetime) {
    const uint8_t *state = take_state(v, arguments, 10);
    ARGUMENT_CHECK(v, state != NULL && is_date(state, state[2] & 0x7F) && is_time(state + 4, state[4]),
                   "P8.datetime", "datetime", argument(v, arguments, 0));
    return make_timed(v, ref, maker, arguments);
}

/* timedelta(days, seconds, microseconds), normalised as Python writes it */
HANDLER(timedelta) {
    static const int64_t least[] = {-999999999, 0, 0}, most[] = {999999999, 86399, 999999};
    for (size_t i = 0; i < 3; i++)
        ARGUMENT_CHECK(v, is_int(v, argument(v, arguments, i), least[i], most[i]), "P8.timedelta",
                       "timedelta", argument(v, arguments, i));
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

/* timezone(offset[, name]): strictly less than a day either way */
HANDLER(timezone) {
    ptio_ref offset = argument(v, arguments, 0);
    ARGUMENT_CHECK(v, vet_is_made(v, offset, PTIO_MAKE_TIMEDELTA), "P8.timezone", "timezone", offset);
    ptio_ref parts = vet_node(v, offset)->b;
    int64_t days = vet_node(v, argument(v, parts, 0))->integer;
    bool midnight =
        vet_node(v, argument(v, parts, 1))->integer == 0 && vet_node(v, argument(v, parts, 2))->integer == 0;
    VET_CHECK(v, days == 0 || (days == -1 && !midnight), "P8.timezone-range", PICKLE_MALFORMED,
              "a timezone a day or more away from UTC");
    if (argument_count(v, arguments) == 2)
        ARGUMENT_CHECK(v, vet_is(v, argument(v, arguments, 1), PTIO_N_STR), "P8.timezone-name", "timezone",
                       argument(v, arguments, 1));
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}
