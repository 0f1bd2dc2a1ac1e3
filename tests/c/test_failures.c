/* SPDX-License-Identifier: Apache-2.0
 *
 * Every way into the core, while the k-th allocation or the k-th read of the file fails, for every
 * k that there is: each ends in that error, with nothing left behind.
 */
#include "archives.h"
#include "checkpoint_salvage.h"
#include "leaf_walk.h"
#include "pickle_builder.h"
#include "record_gather.h"
#include "second_opinion.h"
#include "sweep.h"
#include "zip_salvage.h"

void suite_failures(void);

static const ptio_limits limits = PTIO_LIMITS_DEFAULT;

/* --- checkpoints ------------------------------------------------------------------------------- */

static ptio_status open_with(const ptio_source *source, const ptio_checkpoint_options *options, ptio_error *err) {
    ptio_checkpoint c;
    ptio_status status = ptio_checkpoint_open(source, options, &c, err);
    ptio_checkpoint_free(&c);
    return status;
}

static ptio_status open_inert(const ptio_source *source, ptio_error *err) {
    const ptio_checkpoint_options options = {.limits = limits, .inert = true};
    return open_with(source, &options, err);
}

static ptio_status open_members(const ptio_source *source, ptio_error *err) {
    const ptio_checkpoint_options options = {
        .limits = limits, .inert = true, .members = {.pickle = "data.pkl", .folder = "data/", .suffix = ""}};
    return open_with(source, &options, err);
}

static ptio_status look_at_archive(const ptio_source *source, ptio_error *err) {
    const ptio_checkpoint_options options = {.limits = limits};
    ptio_checkpoint c;
    ptio_status status = ptio_checkpoint_open_archive(source, &options, &c, err);
    ptio_checkpoint_free(&c);
    return status;
}

static ptio_status all_are_data(void *context, uint32_t global, const uint8_t *module, size_t module_size,
                                const uint8_t *name, size_t name_size, ptio_judgement *judgement, uint16_t *object,
                                ptio_error *err) {
    (void)context, (void)module, (void)module_size, (void)name, (void)err;
    *judgement = global == PTIO_NO_GLOBAL ? PTIO_THEIRS : PTIO_OURS;
    *object = (uint16_t)name_size;
    return PTIO_OK;
}

static ptio_status open_judged(const ptio_source *source, ptio_error *err) {
    const ptio_checkpoint_options options = {.limits = limits, .judge = all_are_data, .torch_values = true};
    return open_with(source, &options, err);
}

static ptio_status count_leaf(void *context, const ptio_path *path, ptio_ref leaf, ptio_error *err) {
    (void)path, (void)leaf, (void)err;
    ++*(unsigned *)context;
    return PTIO_OK;
}

static ptio_status list_leaves(const ptio_source *source, ptio_error *err) {
    const ptio_checkpoint_options options = {.limits = limits, .inert = true};
    ptio_checkpoint c;
    unsigned leaves = 0;
    ptio_status status = ptio_checkpoint_open(source, &options, &c, err);
    if (status == PTIO_OK) status = ptio_walk_leaves(&c, false, count_leaf, &leaves, err);
    if (status == PTIO_OK) ASSERT_TRUE(leaves > 20);
    ptio_checkpoint_free(&c);
    return status;
}

static ptio_status save_what_is_intact(const ptio_source *source, ptio_error *err) {
    const ptio_checkpoint_options options = {.limits = limits};
    const ptio_read_options reading = {.threads = 1};
    ptio_salvage s;
    ptio_status status = ptio_salvage_open(source, &options, &reading, false, &s, err);
    if (status == PTIO_OK) status = ptio_salvage_cut(&s, &limits, err);
    ptio_salvage_free(&s);
    return status;
}

/* Some of everything: lists of the vetting that grow, nested containers, numbers of all sizes. */
#define NUMPY_DTYPE CALL(GLOBAL_OF("numpy", "dtype"), TEXT("f4") FALSE_ TRUE_) "(K\3V<\nNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
#define NUMPY_ARRAY                                                                                       \
    CALL(GLOBAL_OF("numpy.core.multiarray", "_reconstruct"), GLOBAL_OF("numpy", "ndarray") "(K\0tC\1b")   \
    "(K\1(K\1t" NUMPY_DTYPE FALSE_ "C\4\0\0\0\0tb"
#define KEYED "}(" INT("1") "N" REAL("1.5") "N" TUPLE("K\1K\2") "N" INT("99999999999999999999") "N" TRUE_ "Nu"
#define DATED CALL(GLOBAL_OF("datetime", "datetime"), "C\12\x07\xe8\x02\x1d\0\0\0\0\0\0")
#define PLAIN                                                                                             \
    TENSOR "]q\1r\xff\xff\xff\x7f(NNe" KEYED "\x8f(NK\1\x90(K\1\x91" REAL("1.5") PY2("a\\x00")            \
    TEXT("\\u00e9") BYTES("\xff") NUMPY_ARRAY HOOKS "K\1Ns" DATED                                         \
    CALL(UTILS("_rebuild_parameter"), TENSOR TRUE_ HOOKS)                                                 \
    CALL(UTILS("_rebuild_nested_tensor"), TENSOR INDICES INDICES INDICES)
#define UNKNOWNS UNKNOWN OPAQUE "}" TEXT("a") TENSOR "sb" CALL(UNKNOWN, "N")

/* As in open_pickle, but with a compressed pickle; then with one storage missing, without a directory ... */
static void make_archive(zip_archive *zip, const void *pickle, size_t size) {
    zip_begin(zip);
    zip_add(zip, &(zip_member){.name = "m/data.pkl", .content = pickle, .size = size, .deflated = true});
    zip_add(zip, &(zip_member){.name = "m/byteorder", .content = "little", .size = 6, .descriptor = true});
    zip_add(zip, &(zip_member){.name = "m/data/0", .content = "0123456789abcdef", .size = 16, .descriptor = true});
    zip_add(zip, &(zip_member){.name = "m/data/1", .content = "\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0", .size = 16, .deflated = true});
    zip_add(zip, &(zip_member){.name = "m/version", .content = "3\n", .size = 2, .descriptor = true});
}

static void archives_with_a_checkpoint(void) {
    static const sweep_entry entries[] = {
        {"inert", open_inert, PTIO_OK, 8, 8, false},      {"members", open_members, PTIO_OK, 8, 8, false},
        {"judged", open_judged, PTIO_OK, 8, 8, false},    {"refused", sweep_open, PTIO_E_GLOBAL_FORBIDDEN, 8, 8, false},
        {"archive", look_at_archive, PTIO_OK, 7, 8, false}, {"leaves", list_leaves, PTIO_OK, 11, 8, false},
    };
    zip_archive zip;
    make_archive(&zip, LITERAL("\x80\4(" PLAIN UNKNOWNS "t."));
    zip_finish(&zip, true, NULL, 0);
    SWEEP(entries, zip.bytes, zip.size);
    zip_free_archive(&zip);
}

static void bare_pickles(void) {
    static const sweep_entry entries[] = {{"bare", open_inert, PTIO_OK, 2, 2, false}};
    static const char pickle[] = "\x80\4(]q\1(NNe" KEYED UNKNOWN OPAQUE "t.";
    SWEEP(entries, pickle, sizeof pickle - 1);
}

static ptio_status open_parts(const ptio_source *source, ptio_error *err) {
    static const char pickle[] = "\x80\2" TENSOR_OF("(" TEXT("storage") TORCH("FloatStorage") INT("0") TEXT("cpu") INT("4") "tQ",
                                                   "0", INT("4"), INT("1")) ".";
    static const ptio_file_part parts[] = {{.name = "weight", .name_length = 6, .offset = 16, .size = 16}};
    const ptio_checkpoint_options options = {
        .limits = limits,
        .members = {.pickle = "made", .folder = "", .suffix = "", .given = (const uint8_t *)pickle,
                    .given_size = sizeof pickle - 1, .parts = parts, .part_count = 1}};
    return open_with(source, &options, err);
}

static void files_whose_parts_the_caller_lists(void) {
    static const sweep_entry entries[] = {{"parts", open_parts, PTIO_OK, 3, 1, false}};
    static const char file[] = "some header ....0123456789abcdef";
    SWEEP(entries, file, sizeof file - 1);
}

/* --- damaged files ----------------------------------------------------------------------------- */

static void damaged_archives(void) {
    static const sweep_entry entries[] = {{"salvage", save_what_is_intact, PTIO_OK, 20, 15, true}};
    for (int whole = 0; whole < 2; whole++) {
        zip_archive zip;
        make_archive(&zip, LITERAL("\x80\2(" PLAIN CALL(UTILS("_rebuild_parameter"), TENSOR TRUE_ HOOKS) "]" TENSOR "at."));
        if (whole) zip_finish(&zip, true, NULL, 0);
        zip.bytes[zip.places[2].data] ^= 1; /* data/0 is lost */
        SWEEP(entries, zip.bytes, zip.size);
        zip_free_archive(&zip);
    }
}

/* --- records ----------------------------------------------------------------------------------- */

static ptio_status with_index(const ptio_source *source, ptio_status (*then)(const ptio_source *, ptio_zip_index *, ptio_error *),
                              ptio_error *err) {
    ptio_zip_index index;
    ptio_status status = ptio_zip_index_read(source, &limits, &index, err);
    if (status != PTIO_OK) return status;
    status = then(source, &index, err);
    ptio_zip_index_free(&index);
    return status;
}

static ptio_status read_all(const ptio_source *source, ptio_zip_index *index, ptio_error *err) {
    const ptio_read_options options = {.threads = 1, .private_copy = true};
    ptio_wanted wanted[5];
    for (uint32_t i = 0; i < 5; i++) wanted[i] = (ptio_wanted){.record = i, .alignment = 8};
    ptio_status status = ptio_records_read(source, index, wanted, 5, &limits, &options, err);
    for (uint32_t i = 0; i < 5 && status == PTIO_OK; i++) ptio_block_unref(wanted[i].block);
    return status;
}

static ptio_status verify_all(const ptio_source *source, ptio_zip_index *index, ptio_error *err) {
    const ptio_read_options options = {.threads = 1};
    ptio_record_verdict *verdicts = NULL;
    ptio_status status = ptio_records_verify(source, index, &limits, &options, &verdicts, err);
    ptio_verdicts_free(verdicts, index->count);
    return status;
}

static ptio_status gather_one(const ptio_source *source, ptio_zip_index *index, ptio_error *err) {
    const ptio_read_options options = {.threads = 1};
    const ptio_region whole = {.item = 1, .ndim = 1, .sizes = {16}, .strides = {1}, .steps = {1}};
    const ptio_region some = {.item = 1, .ndim = 1, .sizes = {4}, .strides = {4}, .steps = {1}};
    uint8_t out[16];
    PTIO_TRY(ptio_record_gather(source, index, 2, &whole, &options, out, err));
    return ptio_record_gather(source, index, 2, &some, &options, out, err);
}

static ptio_status slurp_one(const ptio_source *source, ptio_zip_index *index, ptio_error *err) {
    for (uint32_t record = 2; record < 4; record++) { /* stored, compressed */
        ptio_block *block = NULL;
        PTIO_TRY(ptio_record_slurp(source, index, record, 16, &limits, &block, err));
        ptio_block_unref(block);
    }
    return PTIO_OK;
}

static ptio_status ask_libzip(const ptio_source *source, ptio_zip_index *index, ptio_error *err) {
    return ptio_second_opinion(source, index, err);
}

static ptio_status run_read(const ptio_source *s, ptio_error *err) { return with_index(s, read_all, err); }
static ptio_status run_verify(const ptio_source *s, ptio_error *err) { return with_index(s, verify_all, err); }
static ptio_status run_gather(const ptio_source *s, ptio_error *err) { return with_index(s, gather_one, err); }
static ptio_status run_slurp(const ptio_source *s, ptio_error *err) { return with_index(s, slurp_one, err); }
static ptio_status run_second(const ptio_source *s, ptio_error *err) { return with_index(s, ask_libzip, err); }

static void records_of_an_archive(void) {
    static const sweep_entry entries[] = {
        {"read", run_read, PTIO_OK, 5, 8, false},     {"verify", run_verify, PTIO_OK, 5, 8, true},
        {"gather", run_gather, PTIO_OK, 3, 5, false}, {"slurp", run_slurp, PTIO_OK, 5, 5, false},
        {"second opinion", run_second, PTIO_OK, 2, 5, false},
    };
    zip_archive zip;
    make_archive(&zip, LITERAL("\x80\2N."));
    zip_finish(&zip, true, NULL, 0);
    SWEEP(entries, zip.bytes, zip.size);
    zip_free_archive(&zip);
}

void suite_failures(void) {
    RUN(archives_with_a_checkpoint);
    RUN(bare_pickles);
    RUN(files_whose_parts_the_caller_lists);
    RUN(damaged_archives);
    RUN(records_of_an_archive);
}
