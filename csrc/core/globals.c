/* SPDX-License-Identifier: Apache-2.0
 *
 * The allowlist as a sorted table. A name is found by comparing bytes: nothing
 * is imported, split at dots or looked up as an attribute (invariant P7).
 */
#include "vet.h"

static const ptio_global globals[] = {
#define GLOBAL(module, name, role, value) {module, name, PTIO_ROLE_##role, value},
#include "globals.def"
#undef GLOBAL
};

uint32_t ptio_global_count(void) { return sizeof globals / sizeof globals[0]; }

const ptio_global *ptio_global_get(uint32_t global) { return &globals[global]; }

static int compare(const char *entry, const uint8_t *text, size_t size) {
    size_t entry_size = strlen(entry);
    int order = memcmp(entry, text, entry_size < size ? entry_size : size);
    return order != 0 ? order : (entry_size > size) - (entry_size < size);
}

uint32_t ptio_global_find(const uint8_t *module, size_t module_size, const uint8_t *name, size_t name_size) {
    uint32_t low = 0, high = ptio_global_count();
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = compare(globals[middle].module, module, module_size);
        if (order == 0) order = compare(globals[middle].name, name, name_size);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return PTIO_NO_GLOBAL;
}

void ptio_global_name(const ptio_graph *graph, ptio_ref ref, const uint8_t **module, size_t *module_size,
                      const uint8_t **name, size_t *name_size) {
    const ptio_node *node = &graph->nodes[ref];
    if (node->kind == PTIO_N_MARKER) { /* of GLOBAL or of STACK_GLOBAL: vetting keeps its row alone */
        *module = (const uint8_t *)globals[node->sub].module;
        *module_size = strlen(globals[node->sub].module);
        *name = (const uint8_t *)globals[node->sub].name;
        *name_size = strlen(globals[node->sub].name);
        return;
    }
    if (node->kind == PTIO_N_STACK_GLOBAL || node->kind == PTIO_N_OPAQUE_STACK) {
        const ptio_node *first = &graph->nodes[node->a], *second = &graph->nodes[node->b];
        *module = ptio_text(graph, first);
        *module_size = first->a;
        *name = ptio_text(graph, second);
        *name_size = second->a;
        return;
    }
    *module = ptio_text(graph, node);
    *module_size = node->a & 0xFFFF;
    *name = *module + *module_size + 1;
    *name_size = node->a >> 16;
}
