/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints whose globals the caller judges, and values that torch makes.
 */
#include "pickle_builder.h"

void suite_vet_judge(void);

/* Names of module "mine" are the caller's, "data" is data, "broken" cannot be judged;
 * "other" is said to be ours, which it is not; the table's own are ours. */
static ptio_status judge(void *context, uint32_t global, const uint8_t *module, size_t module_size,
                         const uint8_t *name, size_t name_size, ptio_judgement *judgement, uint16_t *object,
                         ptio_error *err) {
    static const struct {
        const char *module;
        ptio_judgement judgement;
    } known[] = {{"mine", PTIO_THEIRS}, {"data", PTIO_AS_DATA}, {"other", PTIO_OURS}};
    int *calls = context;
    (void)name;
    if (calls != NULL) ++*calls;
    if (module_size == 6 && memcmp(module, "broken", 6) == 0)
        return ptio_fail(err, PTIO_E_CANCELLED, "test", PTIO_NO_OFFSET, "the judge fails");
    *judgement = global == PTIO_NO_GLOBAL ? PTIO_REFUSED : PTIO_OURS;
    *object = (uint16_t)name_size;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strlen(known[i].module) == module_size && memcmp(known[i].module, module, module_size) == 0)
            *judgement = known[i].judgement;
    return PTIO_OK;
}

static ptio_checkpoint_options judged_options(bool for_torch) {
    ptio_checkpoint_options options = default_options();
    options.judge = judge;
    options.torch_values = for_torch;
    return options;
}

static void open_judged(opened *o, const char *pickle, size_t size, bool for_torch) {
    ptio_error err = {0};
    ptio_checkpoint_options options = judged_options(for_torch);
    ASSERT_OK(open_pickle(o, pickle, size, &options, &err));
}
#define JUDGED(o, pickle) open_judged(&(o), LITERAL(pickle), true)

#define MINE GLOBAL_OF("mine", "Class")

static void every_name_is_judged(void) {
    static const char pickle[] = "(" MINE GLOBAL_OF("data", "x") TORCH("float32") "t.";
    int calls = 0;
    ptio_error err = {0};
    opened o;
    ptio_checkpoint_options options = judged_options(true);
    options.judge_context = &calls;
    ASSERT_OK(open_pickle(&o, LITERAL(pickle), &options, &err));
    ASSERT_EQUAL(calls, 3);
    const ptio_node *tuple = opened_root(&o);
    const ptio_node *first = &o.c.graph.nodes[o.c.graph.refs[tuple->first]];
    ASSERT_EQUAL(first->kind, PTIO_N_FOREIGN);
    ASSERT_EQUAL(first->sub, 5); /* the judge's number of the object */
    ASSERT_EQUAL(o.c.graph.nodes[o.c.graph.refs[tuple->first + 1]].kind, PTIO_N_OPAQUE);
    ASSERT_EQUAL(o.c.graph.nodes[o.c.graph.refs[tuple->first + 2]].kind, PTIO_N_DTYPE);
    opened_free(&o);
}

static void names_that_the_judge_refuses_are_collected(void) {
    static const char *const pickles[] = {"cos\nsystem\n.", GLOBAL_OF("other", "x") "."};
    ptio_checkpoint_options options = judged_options(true);
    for (size_t i = 0; i < COUNT_OF(pickles); i++) {
        ptio_error err = {0};
        opened o;
        ASSERT_FAILS(open_pickle(&o, pickles[i], strlen(pickles[i]), &options, &err), GLOBAL_FORBIDDEN, "P7.allowed",
                     "1 global", 0);
        ASSERT_EQUAL(o.c.forbidden_count, 1);
        opened_free(&o);
    }
}

static void a_judge_may_fail(void) {
    static const char pickle[] = GLOBAL_OF("broken", "x") ".";
    ptio_error err = {0};
    opened o;
    ptio_checkpoint_options options = judged_options(true);
    ASSERT_EQUAL(open_pickle(&o, LITERAL(pickle), &options, &err), PTIO_E_CANCELLED);
    opened_free(&o);
}

static void calls_of_the_callers_code_keep_their_form(void) {
    static const struct {
        const char *pickle;
        size_t size;
        ptio_call_form form;
    } cases[] = {{LITERAL(MINE ")R."), PTIO_CALL},
                 {LITERAL(MINE ")\x81."), PTIO_CALL_NEW},
                 {LITERAL("\x80\4" MINE ")}\x92."), PTIO_CALL_NEW_KEYWORDS},
                 {LITERAL(CALL(GLOBAL_OF("copy_reg", "_reconstructor"), MINE GLOBAL_OF("__builtin__", "object") "N") "."),
                  PTIO_CALL}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        opened o;
        open_judged(&o, cases[i].pickle, cases[i].size, true);
        ASSERT_EQUAL(opened_root(&o)->kind, PTIO_N_FOREIGN_CALL);
        ASSERT_EQUAL(opened_root(&o)->sub, cases[i].form);
        opened_free(&o);
    }
}

/* Nothing of ours is called with what it does not expect, and no result of theirs is called. */
static void what_is_not_the_callers_to_allow(void) {
    static const struct {
        const char *pickle;
        size_t size;
        ptio_status status;
        const char *check;
    } cases[] = {
        {LITERAL(CALL(TORCH("FloatStorage"), INT("9")) "."), PTIO_E_GLOBAL_FORBIDDEN, "P8.constructor"},
        {LITERAL(CALL(TORCH("Tensor"), INT("9")) "."), PTIO_E_GLOBAL_FORBIDDEN, "P8.constructor"},
        {LITERAL(MINE ")R)R."), PTIO_E_PICKLE_MALFORMED, "P8.callee"},
        {LITERAL(CALL(TORCH("Size"), MINE) "."), PTIO_E_PICKLE_MALFORMED, "P8.size"},
        {LITERAL(CALL(GLOBAL_OF("copyreg", "_reconstructor"), MINE TORCH("Tensor") "N") "."), PTIO_E_PICKLE_MALFORMED,
         "P8.reconstructor"},
        {LITERAL(CALL(UTILS("_rebuild_tensor_v2"),
                      FLOATS INT("1") TUPLE(INT("4")) TUPLE(INT("1")) FALSE_ HOOKS) "."), PTIO_E_BOUNDS, "T3.last"},
        {LITERAL(CALL(GLOBAL_OF("torch._tensor", "_rebuild_from_type_v2"),
                      UTILS("_rebuild_tensor_v2") MINE "(" FLOATS INT("1") TUPLE(INT("4")) TUPLE(INT("1")) FALSE_ HOOKS
                      "t}") "."), PTIO_E_BOUNDS, "T3.last"}};
    ptio_checkpoint_options options = judged_options(true);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ptio_error err = {0};
        opened o;
        ASSERT_EQUAL(open_pickle(&o, cases[i].pickle, cases[i].size, &options, &err), cases[i].status);
        ASSERT_TEXT(err.check, cases[i].check);
        opened_free(&o);
    }
}

static void what_torch_makes_stays_a_call(void) {
    static const struct {
        const char *pickle;
        size_t size;
        ptio_maker maker;
    } cases[] = {
        {LITERAL(CALL(TORCH("Size"), TUPLE(INT("2"))) "."), PTIO_MAKE_SIZE},
        {LITERAL(CALL(TORCH("device"), TEXT("cpu")) "."), PTIO_MAKE_DEVICE},
        {LITERAL(CALL(GLOBAL_OF("torch.serialization", "_get_layout"), TEXT("torch.strided")) "."), PTIO_MAKE_LAYOUT},
        {LITERAL(CALL(UTILS("_rebuild_meta_tensor_no_storage"), TORCH("float32") TUPLE(INT("2")) TUPLE(INT("1")) FALSE_)
                 "."), PTIO_MAKE_REBUILD_META},
        {LITERAL(CALL(GLOBAL_OF("torch._tensor", "_rebuild_from_type_v2"),
                      UTILS("_rebuild_tensor_v2") MINE "(" FLOATS INT("0") TUPLE(INT("4")) TUPLE(INT("1")) FALSE_ HOOKS
                      "t}") "."), PTIO_MAKE_REBUILD_FROM_TYPE},
        {LITERAL(CALL(GLOBAL_OF("torch._tensor", "_rebuild_from_type_v2"),
                      UTILS("_rebuild_parameter") MINE "(" TENSOR TRUE_ HOOKS "t}") "."), PTIO_MAKE_REBUILD_FROM_TYPE}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        opened o;
        open_judged(&o, cases[i].pickle, cases[i].size, true);
        ASSERT_EQUAL(opened_root(&o)->kind, PTIO_N_MADE);
        ASSERT_EQUAL(opened_root(&o)->sub, cases[i].maker);
        ASSERT_TRUE(o.c.graph.nodes[opened_root(&o)->b].flags & PTIO_F_NEEDED);
        opened_free(&o);
        open_judged(&o, cases[i].pickle, cases[i].size, false);
        ASSERT_TRUE(opened_root(&o)->kind != PTIO_N_MADE);
        opened_free(&o);
    }
}

#define PARAMETER(extra) CALL(UTILS("_rebuild_parameter"), TENSOR extra HOOKS)
#define NEW_PARAMETER(arguments) CALL(GLOBAL_OF("torch.nn", "Parameter"), arguments)

static void parameters_know_their_data_and_gradient(void) {
    static const struct {
        const char *pickle;
        size_t size;
        bool grad;
    } cases[] = {{LITERAL(PARAMETER(TRUE_) "."), true},
                 {LITERAL(PARAMETER(FALSE_) "."), false},
                 {LITERAL(NEW_PARAMETER(TENSOR) "."), true},
                 {LITERAL(NEW_PARAMETER(TENSOR FALSE_) "."), false},
                 {LITERAL(NEW_PARAMETER(TENSOR) "(" FALSE_ FALSE_ HOOKS "tb."), false}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        opened o;
        open_judged(&o, cases[i].pickle, cases[i].size, true);
        const ptio_node *parameter = opened_root(&o), *data = &o.c.graph.nodes[parameter->a];
        ASSERT_EQUAL(parameter->kind, PTIO_N_PARAMETER);
        ASSERT_EQUAL(parameter->sub, cases[i].grad);
        ASSERT_EQUAL(parameter->b, PTIO_NODE_NONE);
        ASSERT_EQUAL(data->kind, PTIO_N_TENSOR);
        ASSERT_TRUE(data->flags & PTIO_F_NEEDED);
        ASSERT_EQUAL(o.c.tensors[data->a].flags, 0); /* its own gradient flag is another one */
        opened_free(&o);
    }
}

static void parameters_keep_their_state(void) {
    opened o;
    JUDGED(o, CALL(UTILS("_rebuild_parameter_with_state"), TENSOR TRUE_ HOOKS DICT(TEXT("note") INT("7"))) ".");
    const ptio_node *parameter = opened_root(&o);
    ASSERT_EQUAL(parameter->kind, PTIO_N_PARAMETER);
    ASSERT_EQUAL(o.c.graph.nodes[parameter->b].kind, PTIO_N_DICT);
    ASSERT_TRUE(o.c.graph.nodes[parameter->b].flags & PTIO_F_NEEDED);
    opened_free(&o);
}

static void the_callers_objects_may_be_keys_and_be_filled(void) {
    opened o;
    JUDGED(o, "}" MINE ")R" INT("1") "s" MINE INT("2") "s.");
    ASSERT_EQUAL(opened_root(&o)->kind, PTIO_N_DICT);
    opened_free(&o);
    JUDGED(o, "}(" TENSOR "N" TENSOR "Nu."); /* so may torch's tensors, which are hashed by identity */
    ASSERT_EQUAL(opened_root(&o)->kind, PTIO_N_DICT);
    opened_free(&o);
    JUDGED(o, MINE ")R" INT("1") "a" TEXT("k") INT("2") "s(" INT("3") "e}b.");
    ASSERT_EQUAL(opened_root(&o)->kind, PTIO_N_FOREIGN_CALL);
    ASSERT_TRUE(opened_root(&o)->fills != 0);
    opened_free(&o);
}

void suite_vet_judge(void) {
    RUN(every_name_is_judged);
    RUN(names_that_the_judge_refuses_are_collected);
    RUN(a_judge_may_fail);
    RUN(calls_of_the_callers_code_keep_their_form);
    RUN(what_is_not_the_callers_to_allow);
    RUN(what_torch_makes_stays_a_call);
    RUN(parameters_know_their_data_and_gradient);
    RUN(parameters_keep_their_state);
    RUN(the_callers_objects_may_be_keys_and_be_filled);
}
