/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects out of a Checkpoint: the whole one, one tensor of it, or its structure.
 */
#include "module.h"

/* A node and all that it is made of; the whole object for None. */
static int choose_part(const ptio_checkpoint_object *self, PyObject *number, ptio_ref *root,
                       ptio_part *part) {
    ptio_error err;
    if (ptio_checkpoint_check_open(self) < 0) return -1;
    *root = self->checkpoint.graph.root;
    *part = (ptio_part){.refs = NULL};
    if (number == Py_None) return 0;
    if (ptio_checkpoint_node(self, number, root) < 0) return -1;
    if (self->judging.judge == NULL) *root = ptio_follow(&self->checkpoint.graph, *root);
    if (ptio_graph_part(&self->checkpoint.graph, *root, part, &err) == PTIO_OK) return 0;
    PyErr_NoMemory();
    return -1;
}

/* ring NULL: values of NumPy. node: None, or a number of a TensorInfo. */
static PyObject *read_and_build(ptio_checkpoint_object *self, const ptio_read_options *options,
                                ptio_ring *ring, PyObject *node) {
    ptio_state *state = ptio_state_of_type(Py_TYPE(self));
    const char *encoding = PyUnicode_AsUTF8(self->encoding);
    ptio_loaded loaded;
    ptio_part part;
    ptio_ref root;
    if (encoding == NULL || choose_part(self, node, &root, &part) < 0) return NULL;
    if (ptio_storages_load(self, state, options, ring != NULL && ring->without_data, part, &loaded) < 0)
        return NULL;
    ptio_builder builder = {.state = state,
                            .c = &self->checkpoint,
                            .graph = &self->checkpoint.graph,
                            .loaded = &loaded,
                            .values = ring == NULL ? &ptio_numpy_values : &ptio_torch_values,
                            .ring = ring,
                            .judging = &self->judging,
                            .encoding = encoding,
                            .path = self->path};
    PyObject *result = ptio_build(&builder, root);
    ptio_storages_release(&loaded);
    return result;
}

PyObject *ptio_checkpoint_build(ptio_checkpoint_object *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"", "verify", "private", "threads", "progress", NULL};
    ptio_read_options options;
    ptio_ticker ticker;
    PyObject *node, *verify, *progress;
    int private_copy;
    unsigned threads;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O$OpIO:build", names, &node, &verify, &private_copy,
                                     &threads, &progress) ||
        ptio_read_options_set(verify, private_copy, threads, progress, &options, &ticker) < 0)
        return NULL;
    return read_and_build(self, &options, NULL, node);
}

PyObject *ptio_checkpoint_build_torch(ptio_checkpoint_object *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"", "", "", "verify", "private", "threads", "progress", NULL};
    ptio_read_options options;
    ptio_ticker ticker;
    ptio_ring ring;
    PyObject *object, *node, *verify, *progress, *result = NULL;
    int without_data, private_copy;
    unsigned threads;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OpO$OpIO:build_torch", names, &object, &without_data,
                                     &node, &verify, &private_copy, &threads, &progress) ||
        ptio_read_options_set(verify, private_copy, threads, progress, &options, &ticker) < 0)
        return NULL;
    if (self->judging.judge == NULL && node == Py_None) {
        PyErr_SetString(PyExc_TypeError, "build_torch() of a checkpoint that was not opened for torch");
        return NULL;
    }
    if (ptio_ring_init(&ring, object, without_data) == 0 &&
        (node != Py_None || ptio_ring_check_places(&ring, &self->checkpoint) == 0))
        result = read_and_build(self, &options, &ring, node);
    ptio_ring_clear(&ring);
    return result;
}

/* {node of a TensorInfo: object} by the nodes that hold the tensors themselves. */
static PyObject *by_tensor(const ptio_checkpoint_object *self, PyObject *infos) {
    PyObject *result = PyDict_New(), *number, *info;
    Py_ssize_t at = 0;
    while (result != NULL && PyDict_Next(infos, &at, &number, &info)) {
        ptio_ref ref;
        PyObject *tensor = NULL;
        if (ptio_checkpoint_node(self, number, &ref) == 0)
            tensor = PyLong_FromUnsignedLong(ptio_follow(&self->checkpoint.graph, ref));
        if (tensor == NULL || PyDict_SetDefault(result, tensor, info) == NULL) Py_CLEAR(result);
        Py_XDECREF(tensor);
    }
    return result;
}

/* The object with other objects in the place of its tensors. */
PyObject *ptio_checkpoint_build_tree(ptio_checkpoint_object *self, PyObject *given) {
    const char *encoding = PyUnicode_AsUTF8(self->encoding);
    ptio_loaded loaded = {.count = 0};
    if (!PyDict_Check(given)) return PyErr_Format(PyExc_TypeError, "build_tree takes a dict");
    if (encoding == NULL || ptio_checkpoint_check_open(self) < 0) return NULL;
    PyObject *infos = by_tensor(self, given);
    if (infos == NULL) return NULL;
    ptio_builder builder = {.state = ptio_state_of_type(Py_TYPE(self)),
                            .c = &self->checkpoint,
                            .graph = &self->checkpoint.graph,
                            .loaded = &loaded,
                            .values = &ptio_info_values,
                            .infos = infos,
                            .judging = &self->judging,
                            .encoding = encoding,
                            .path = self->path};
    PyObject *result = ptio_build(&builder, self->checkpoint.graph.root);
    ptio_storages_release(&loaded);
    Py_DECREF(infos);
    return result;
}
