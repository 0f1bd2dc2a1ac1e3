/* SPDX-License-Identifier: Apache-2.0
 *
 * Fetches what Python hands in as attributes of one object, by a table of their names.
 */
#include "module.h"

static PyObject **place_of(const ptio_attribute *attribute, void *into) {
    return (PyObject **)(void *)((char *)into + attribute->at);
}

int ptio_read_attributes(PyObject *object, const ptio_attribute *attributes, void *into) {
    for (; attributes->name != NULL; attributes++)
        if ((*place_of(attributes, into) = PyObject_GetAttrString(object, attributes->name)) == NULL)
            return -1;
    return 0;
}

void ptio_clear_attributes(const ptio_attribute *attributes, void *into) {
    for (; attributes->name != NULL; attributes++) Py_CLEAR(*place_of(attributes, into));
}
