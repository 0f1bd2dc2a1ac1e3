/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of dtypes, and turning the byte order around.
 */
#include "dtype.h"
#include "pickle_builder.h"

void suite_dtype(void);

static void facts_fit_together(void) {
    for (unsigned i = 0; i < PTIO_DTYPE_COUNT; i++) {
        const ptio_dtype_info *info = ptio_dtype_get((ptio_dtype)i);
        unsigned swap = info->kind == PTIO_KIND_COMPLEX ? info->item_bytes / 2u : info->item_bytes;
        ASSERT_TRUE(info->torch_name[0] != '\0');
        ASSERT_TRUE(info->item_bytes >= 1 && info->item_bytes <= 16);
        ASSERT_EQUAL(info->swap_bytes, swap);
        ASSERT_TRUE(info->per_item == 1 || info->item_bytes == 1);
        for (unsigned j = 0; j < i; j++)
            ASSERT_TRUE(strcmp(info->torch_name, ptio_dtype_get((ptio_dtype)j)->torch_name) != 0);
    }
}

/* What torch.<name> is for each dtype, and "torch <X>Storage" for those that have one. */
static void globals_name_every_dtype(void) {
    static const char *const storages[PTIO_DTYPE_COUNT] = {
#define DTYPE(id, torch, item, per_item, swap, kind, storage, numpy) [PTIO_##id] = storage,
#include "dtypes.def"
#undef DTYPE
    };
    for (unsigned i = 0; i < PTIO_DTYPE_COUNT; i++) {
        static const char *const modules[] = {"torch", "torch.cuda"};
        const char *name = ptio_dtype_get((ptio_dtype)i)->torch_name;
        char class_[64];
        uint32_t global = ptio_global_find((const uint8_t *)"torch", 5, (const uint8_t *)name, strlen(name));
        ASSERT_TRUE(global != PTIO_NO_GLOBAL);
        if (global != PTIO_NO_GLOBAL) {
            ASSERT_EQUAL(ptio_global_get(global)->role, PTIO_ROLE_DTYPE);
            ASSERT_EQUAL(ptio_global_get(global)->value, i);
        }
        if (storages[i][0] == '\0') continue;
        snprintf(class_, sizeof class_, "%sStorage", storages[i]);
        for (size_t m = 0; m < 2; m++) {
            global = ptio_global_find((const uint8_t *)modules[m], strlen(modules[m]), (const uint8_t *)class_,
                                      strlen(class_));
            ASSERT_TRUE(global != PTIO_NO_GLOBAL);
            if (global == PTIO_NO_GLOBAL) continue;
            ASSERT_EQUAL(ptio_global_get(global)->role, PTIO_ROLE_STORAGE);
            ASSERT_EQUAL(ptio_global_get(global)->value, i);
        }
    }
}

static void items_are_swapped_in_place(void) {
    static const struct {
        unsigned unit;
        const char *before, *after;
        size_t size;
    } cases[] = {
        {0, "abcd", "abcd", 4}, /* unit not known */
        {1, "abcd", "abcd", 4},
        {2, "abcdef", "badcfe", 6},
        {4, "abcdefgh", "dcbahgfe", 8},
        {8, "abcdefghijklmnop", "hgfedcbaponmlkji", 16},
        {8, "", "", 0},
        {4, "abcdef", "dcbaef", 6}, /* what is left over stays */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t bytes[16] = {0};
        memcpy(bytes, cases[i].before, cases[i].size);
        ptio_swap_items(bytes, cases[i].size, cases[i].unit);
        ASSERT_BYTES(bytes, cases[i].after, cases[i].size);
    }
}

void suite_dtype(void) {
    RUN(facts_fit_together);
    RUN(globals_name_every_dtype);
    RUN(items_are_swapped_in_place);
}
