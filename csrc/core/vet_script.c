/* SPDX-License-Identifier: Apache-2.0
 *
 * What the archives of TorchScript and torch.package say beyond torch.save: lists and
 * dicts with the type that C++ needs, and objects that only code can make again.
 */
#include "vet.h"

/* build_intlist([1, 2]) and its like: the list. */
ptio_status ptio_vet_typed_list(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    ptio_ref list = vet_item(v, vet_node(v, arguments), 0);
    (void)maker;
    VET_CHECK(v, vet_is(v, list, PTIO_N_LIST), "P8.typed-list", PICKLE_MALFORMED,
              "a typed list is made of %s", ptio_vet_kind_name(v, list));
    ptio_vet_same(v, ref, list);
    return PTIO_OK;
}

/* restore_type_tag(value, "Dict[str, int]"): the value. */
ptio_status ptio_vet_type_tag(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    ptio_ref value = vet_item(v, vet_node(v, arguments), 0), type = vet_item(v, vet_node(v, arguments), 1);
    (void)maker;
    VET_CHECK(v, vet_is(v, type, PTIO_N_STR), "P8.type-tag", PICKLE_MALFORMED, "a type is named by %s",
              ptio_vet_kind_name(v, type));
    ptio_vet_same(v, ref, value);
    return PTIO_OK;
}

/* ("reduce_package", function, arguments), with a number before the function since torch 1.9. */
ptio_status ptio_vet_reduce_package(ptio_vetting *v, ptio_ref ref, const ptio_node *id) {
    VET_CHECK(v, id->count == 3 || id->count == 4, "P10.package", PICKLE_MALFORMED,
              "a persistent id of torch.package has %u items", id->count);
    ptio_ref function = vet_item(v, id, id->count - 2), arguments = vet_item(v, id, id->count - 1);
    VET_CHECK(v, vet_is_unknown(v, function) && vet_is(v, arguments, PTIO_N_TUPLE), "P10.package-call",
              PICKLE_MALFORMED, "an object of torch.package is made by %s from %s",
              ptio_vet_kind_name(v, function), ptio_vet_kind_name(v, arguments));
    ptio_node *node = vet_node(v, ref);
    node->kind = PTIO_N_OPAQUE_CALL;
    node->sub = PTIO_CALL;
    node->a = function;
    node->b = arguments;
    return PTIO_OK;
}
