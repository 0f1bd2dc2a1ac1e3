/* SPDX-License-Identifier: Apache-2.0
 *
 * The rule of a caller for the globals that a file names: a Python callable, asked
 * once for each name, and the objects that it gives for those it allows.
 */
#include "module.h"

int ptio_judging_init(ptio_judging *judging, PyObject *judge) {
    memset(judging, 0, sizeof *judging);
    if (judge == Py_None) return 0;
    judging->judge = Py_NewRef(judge);
    judging->of_global = PyMem_Calloc(ptio_global_count(), sizeof *judging->of_global);
    if (judging->of_global == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if ((judging->asked = PyDict_New()) == NULL) return -1;
    return (judging->objects = PyList_New(0)) == NULL ? -1 : 0;
}

void ptio_judging_clear(ptio_judging *judging) {
    Py_CLEAR(judging->judge);
    Py_CLEAR(judging->asked);
    Py_CLEAR(judging->objects);
    PyMem_Free(judging->of_global);
    judging->of_global = NULL;
}

int ptio_judging_traverse(ptio_judging *judging, visitproc visit, void *arg) {
    Py_VISIT(judging->judge);
    Py_VISIT(judging->asked);
    Py_VISIT(judging->objects);
    return 0;
}

/* The number of the object that goes with an answer. What is refused or stays data needs none, and
 * a file may name any number of those; the others are at most what the caller has to give. */
static Py_ssize_t number_object(ptio_judging *judging, int judgement, PyObject *object) {
    Py_ssize_t number = PyList_GET_SIZE(judging->objects);
    if (judgement != PTIO_OURS && judgement != PTIO_THEIRS) return 0;
    if (number > UINT16_MAX) {
        PyErr_SetString(PyExc_OverflowError, "more than 65536 classes and functions are allowed and used");
        return -1;
    }
    return PyList_Append(judging->objects, object) < 0 ? -1 : number;
}

/* Asks for a new name: (judgement, number of its object), which `asked` keeps. */
static PyObject *ask(ptio_judging *judging, PyObject *module, PyObject *name, bool known, PyObject *key) {
    PyObject *answer =
        PyObject_CallFunctionObjArgs(judging->judge, module, name, known ? Py_True : Py_False, NULL);
    PyObject *pair = NULL, *object;
    int judgement;
    if (answer == NULL) return NULL;
    if (!PyTuple_Check(answer))
        PyErr_SetString(PyExc_TypeError, "judge must return (judgement, object)");
    else if (PyArg_ParseTuple(answer, "iO;judge must return (judgement, object)", &judgement, &object)) {
        Py_ssize_t number = number_object(judging, judgement, object);
        if (number >= 0) pair = Py_BuildValue("in", judgement, number);
    }
    if (pair != NULL && PyDict_SetItem(judging->asked, key, pair) < 0) Py_CLEAR(pair);
    Py_DECREF(answer);
    return pair;
}

static PyObject *answer_for(ptio_judging *judging, PyObject *module, PyObject *name, bool known) {
    PyObject *key = PyTuple_Pack(2, module, name);
    PyObject *pair = key == NULL ? NULL : PyDict_GetItemWithError(judging->asked, key);
    Py_XINCREF(pair);
    if (pair == NULL && key != NULL && !PyErr_Occurred()) pair = ask(judging, module, name, known, key);
    Py_XDECREF(key);
    return pair;
}

static int judge(ptio_judging *judging, uint32_t global, PyObject *module, PyObject *name,
                 ptio_judgement *judgement, uint16_t *object) {
    PyObject *pair = name != NULL ? answer_for(judging, module, name, global != PTIO_NO_GLOBAL) : NULL;
    int kind, number;
    bool fine = pair != NULL && PyArg_ParseTuple(pair, "ii", &kind, &number);
    Py_XDECREF(pair);
    if (!fine) return -1;
    *judgement = (ptio_judgement)kind;
    *object = (uint16_t)number;
    if (kind == PTIO_OURS && global != PTIO_NO_GLOBAL) judging->of_global[global] = (uint32_t)number + 1;
    return 0;
}

ptio_status ptio_judge_global(void *context, uint32_t global, const uint8_t *module, size_t module_size,
                              const uint8_t *name, size_t name_size, ptio_judgement *judgement,
                              uint16_t *object, ptio_error *err) {
    ptio_judging *judging = context;
    if (global != PTIO_NO_GLOBAL && judging->of_global[global] != 0) {
        *judgement = PTIO_OURS;
        *object = (uint16_t)(judging->of_global[global] - 1);
        return PTIO_OK;
    }
    if (judging->refused >= PTIO_MOST_NAMES) { /* it fails anyway: asking costs more than all the rest */
        *judgement = PTIO_REFUSED;
        return PTIO_OK;
    }
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *module_text = ptio_shown_text(module, module_size);
    PyObject *name_text = module_text == NULL ? NULL : ptio_shown_text(name, name_size);
    ptio_status status = PTIO_OK;
    if (judge(judging, global, module_text, name_text, judgement, object) < 0)
        status = ptio_python_failed(err);
    else if (*judgement == PTIO_REFUSED)
        judging->refused++;
    Py_XDECREF(module_text);
    Py_XDECREF(name_text);
    PyGILState_Release(gil);
    return status;
}

PyObject *ptio_judged_object(const ptio_judging *judging, uint32_t number) {
    return PyList_GET_ITEM(judging->objects, (Py_ssize_t)number);
}
